"""Sums of brightness, in whole units, so that a sum does not depend on the order of its terms."""

from torch import Tensor
from torch.nn.functional import pad

# Units of brightness in a value of 1.0. The level k / 255 of an 8-bit picture, rounded to float32, is a whole number
# of them.
BRIGHTNESS_UNITS = 255 * 2**14


def in_units(frames: Tensor) -> Tensor:
    """Return the brightness of every pixel, summed over channels: (..., C, H, W) in [0, 1] to (..., H, W).

    It is in whole units, in float64, which holds their sums over 2 * 10**9 values without rounding.
    """
    return (frames.double() * BRIGHTNESS_UNITS).round_().sum(-3)


def window_sums(brightness: Tensor, height: int, width: int) -> Tensor:
    """Return the sums over all windows of `height` x `width` px, by their upper-left pixel.

    brightness: (N, H, W) in units, H and W at least those of a window. Returns (N, H - height + 1, W - width + 1).
    """
    integral = pad(brightness, (1, 0, 1, 0)).cumsum(1).cumsum(2)
    rows = integral[:, height:] - integral[:, :-height]
    return rows[:, :, width:] - rows[:, :, :-width]
