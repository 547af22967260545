"""How well a model foresees where M3SO's block will be."""

import torch
from torch import Tensor

from mmnist_av.system.errors import InputError

BRIGHTNESS_UNITS = 255 * 2**14  # in 1.0: a level k / 255 of an 8-bit picture, rounded to float32, is whole again


@torch.no_grad()
def block_iou(block: Tensor, prediction: Tensor, size: int = 16) -> Tensor:
    """Intersection over union of the true block with the brightest window of the final predicted frame.

    The predicted block is the `size` x `size` window with the highest mean brightness over pixels and channels, the
    first of equals in reading order (top row first, then from the left). Brightness is summed in whole units, 2**14 to
    an 8-bit level (2.4e-7), so that equal sums are equal whatever they are sums of, and in whatever order.

    block: (B, 2) px, lower-left corner (x, y) of the true square, y up, any number type; -1 (or NaN) in a clip
    without a block. prediction: (B, K, T, C, H, W) float in [0, 1], H and W at least `size`.
    Returns (B, K, 1) float64 in [0, 1], NaN in clips without a block (they are left out of averages).
    Raises InputError for other shapes, frames smaller than the block, a block that leaves the frame, and values
    outside [0, 1] or not finite. Source: Sound2Sight (Chatterjee and Cherian 2020) reports this IoU without saying
    how the block is found; the rule is this benchmark's.
    """
    _check(block, prediction, size)
    height = prediction.shape[-2]
    corners = _top_left(block, height, size)
    clips = [_clip_iou(place, frames[:, -1], size) for place, frames in zip(corners, prediction, strict=True)]
    return torch.stack(clips).unsqueeze(-1)


def _top_left(block: Tensor, height: int, size: int) -> Tensor:
    """(B, 2) row and column of the true square's upper-left pixel, NaN where there is no block; row 0 is the top."""
    x, y = block.double().unbind(-1)
    corner = torch.stack((height - size - y, x), -1)
    return torch.where(_shown(block)[:, None], corner, torch.nan)


def _shown(block: Tensor) -> Tensor:
    return (block >= 0).all(-1)  # a NaN is not


def _clip_iou(corner: Tensor, frames: Tensor, size: int) -> Tensor:
    """(K,) IoU of the square at `corner` (row, column) with the brightest window of each of (K, C, H, W)."""
    overlap = (size - (brightest_window(frames, size) - corner.to(frames.device)).abs()).clamp(min=0).prod(-1)
    return overlap / (2 * size**2 - overlap)


def brightest_window(frames: Tensor, size: int) -> Tensor:
    """(N, 2) row and column of the upper-left pixel of the brightest window of each of (N, C, H, W), values in [0, 1].

    `size` x `size` px, the first of equals in reading order.
    """
    units = (frames.double() * BRIGHTNESS_UNITS).round().long().sum(1)
    integral = torch.nn.functional.pad(units, (1, 0, 1, 0)).cumsum(1).cumsum(2)
    rows = integral[:, size:] - integral[:, :-size]
    sums = rows[:, :, size:] - rows[:, :, :-size]
    first = _first_maximum(sums.flatten(1))
    return torch.stack((first // sums.shape[2], first % sums.shape[2]), -1)


def _first_maximum(values: Tensor) -> Tensor:
    """(N,) index of the first maximum of each row; torch's own argmax may give any of equals."""
    places = torch.arange(values.shape[1], device=values.device)
    return torch.where(values == values.amax(1, keepdim=True), places, values.shape[1]).amin(1)


def _check(block: Tensor, prediction: Tensor, size: int) -> None:
    if prediction.ndim != 6 or not prediction.is_floating_point() or block.shape != (prediction.shape[0], 2):
        found = f"{tuple(block.shape)} and {tuple(prediction.shape)}"
        raise InputError(f"block (B, 2) and float prediction (B, K, T, C, H, W) wanted, not {found}")
    if prediction.numel() == 0:
        raise InputError(f"no frames: prediction {tuple(prediction.shape)}")
    height, width = prediction.shape[-2:]
    if min(height, width) < size:
        raise InputError(f"frames of at least {size}x{size} wanted, not {height}x{width}")
    furthest = torch.tensor([width - size, height - size], device=block.device)
    if (_shown(block)[:, None] & (block > furthest)).any():
        raise InputError(f"a block of {size} px leaves the {width}x{height} frame: {block.tolist()}")
    low, high = (bound.item() for bound in prediction[:, :, -1].aminmax())
    if not (low >= 0 and high <= 1):  # a NaN fails too
        raise InputError(f"prediction: values in [0, 1] wanted, not {low:g} to {high:g}")
