"""Metrics of one predicted frame against the true one: PSNR, and SSIM as defined and as Sound2Sight computed it."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mmnist_av.errors import InputError

PSNR_FLOOR = 1e-6  # of the mean squared error: 60 dB at most
K1, K2 = 0.01, 0.03  # Wang et al. 2004, section III.B
BLOCK_VALUES = 2**16  # pixel values worked on at once: they and what is derived from them stay in a core's cache
# Not float32: a variance is a difference of moments, and in flat bright regions float32 moved a frame's SSIM by 4e-5.
PRECISION = torch.float64

Reference = tuple[Tensor, ...]  # what is kept of a block of true frames while their predictions are scored


def psnr(target: Tensor, prediction: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of every predicted frame: 10 log10(1 / MSE), the MSE floored at 1e-6.

    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3; the leading shapes broadcast.
    Returns float64 dB in [0, 60], of the broadcast leading shape; the MSE is over pixels and channels.
    Raises InputError for other shapes or types, no frames, and values outside [0, 1] or not finite.
    """
    error = _frame_scores(target, prediction, lambda true: (true,), _squared_error, window=1)
    return -10 * error.clamp(min=PSNR_FLOOR).log10()


def ssim(target: Tensor, prediction: Tensor) -> Tensor:
    """Structural similarity of every predicted frame, as Wang et al. 2004 define it.

    Gaussian window 11x11 of sigma 1.5, range 1, population covariance, valid region, mean over channels.
    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3, H and W at least 11; the leading shapes broadcast.
    Returns float64 in [-1, 1], of the broadcast leading shape. Raises InputError as `psnr`, and for smaller frames.
    """
    weights = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    return _ssim(target, prediction, tuple(weight / sum(weights) for weight in weights), K1**2, K2**2)


def ssim_uniform(target: Tensor, prediction: Tensor) -> Tensor:
    """Structural similarity as scikit-image 0.15 gave it for float images: the figure in Sound2Sight's tables.

    Uniform window 7x7, range 2 (although frames span 1), sample covariance, valid region, mean over channels.
    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3, H and W at least 7; the leading shapes broadcast.
    Returns float64 in [-1, 1], of the broadcast leading shape. Raises InputError as `psnr`, and for smaller frames.
    """
    sample_covariance = 49 / 48  # over the population's; in the quotient that is the same as a smaller second constant
    return _ssim(target, prediction, (1 / 7,) * 7, (2 * K1) ** 2, (2 * K2) ** 2 / sample_covariance)


def _ssim(target: Tensor, prediction: Tensor, taps: tuple[float, ...], c1: float, c2: float) -> Tensor:
    """SSIM with the separable window `taps` x `taps`: Wang et al. 2004, equation 13."""

    def filtered(frames: Tensor) -> Tensor:
        return _filtered(frames, taps)

    def moments(true: Tensor) -> Reference:
        mean = filtered(true)
        return 2 * true, 2 * mean, mean.square() + c1, filtered(true.square()) + (c1 + c2)

    def similarity(reference: Reference, frames: Tensor) -> Tensor:
        double_x, double_mean_x, luminance_x, square_x = reference
        mean, square, cross = filtered(frames), filtered(frames.square()), filtered(frames * double_x)
        numerator = double_mean_x * mean
        cross.sub_(numerator).add_(c2)  # 2 cov_xy + c2
        numerator.add_(c1).mul_(cross)
        mean.square_().add_(luminance_x)  # mu_x^2 + mu_y^2 + c1
        square.add_(square_x).sub_(mean)  # var_x + var_y + c2
        return numerator.div_(mean.mul_(square)).flatten(1).mean(1)

    return _frame_scores(target, prediction, moments, similarity, window=len(taps))


def _squared_error(reference: Reference, frames: Tensor) -> Tensor:
    return (frames - reference[0]).square_().flatten(1).mean(1)


def _filtered(frames: Tensor, taps: tuple[float, ...]) -> Tensor:
    """A X A^T of every picture X of (N, C, H, W): `taps` along both axes, valid region only."""
    pictures = frames.flatten(0, 1)
    rows = _band(taps, pictures.shape[1], frames.device).expand(len(pictures), -1, -1)
    columns = _band(taps, pictures.shape[2], frames.device).T.expand(len(pictures), -1, -1)
    return torch.bmm(torch.bmm(rows, pictures), columns).unflatten(0, frames.shape[:2])


@lru_cache(maxsize=32)
def _band(taps: tuple[float, ...], size: int, device: torch.device) -> Tensor:
    """The (size - len(taps) + 1, size) matrix that filters a line of `size` values with `taps`, valid region only."""
    band = torch.zeros(size - len(taps) + 1, size, dtype=PRECISION)
    for row, line in enumerate(band):
        line[row : row + len(taps)] = torch.tensor(taps, dtype=PRECISION)
    return band.to(device)


@torch.no_grad()
def _frame_scores(
    target: Tensor,
    prediction: Tensor,
    prepare: Callable[[Tensor], Reference],
    compare: Callable[[Reference, Tensor], Tensor],
    window: int,
) -> Tensor:
    """One score a predicted frame, `compare(prepare(true frames), predicted frames)`, in blocks that fit the cache.

    Each true frame is prepared once, whatever the number of its predictions. Every block is filled up to the same
    number of frames, so that no score depends, not even in its last bit, on what was scored beside it.
    """
    shape = _checked_shape(target, prediction, window)
    true_frames, predicted_frames = (frames.reshape(-1, *frames.shape[-3:]) for frames in (target, prediction))
    true, predicted = _frame_numbers(target.shape[:-3], shape), _frame_numbers(prediction.shape[:-3], shape)
    places = true.argsort(kind="stable").reshape(len(true_frames), -1)  # row i: where true frame i is compared
    size = max(2, BLOCK_VALUES // target.shape[-3:].numel())
    scores = torch.empty(true.size, dtype=PRECISION, device=target.device)
    for start in range(0, len(true_frames), size):
        stop = min(start + size, len(true_frames))
        reference = prepare(_taken(true_frames, np.arange(start, stop), size).to(PRECISION))
        todo = places[start:stop].reshape(-1)
        for where in np.split(todo, range(size, len(todo), size)):
            own = _own(reference, true[where] - start, size)
            frames = _taken(predicted_frames, predicted[where], size).to(PRECISION)
            scores[torch.from_numpy(where).to(scores.device)] = compare(own, frames)[: len(where)]
    return scores.reshape(shape)


def _frame_numbers(own: torch.Size, common: torch.Size) -> np.ndarray:
    """For each place of the common leading shape, in order, which frame of a tensor of leading shape `own` it takes."""
    return np.broadcast_to(np.arange(own.numel()).reshape(own), common).reshape(-1)


def _taken(frames: Tensor, numbers: np.ndarray, size: int) -> Tensor:
    """The frames of these numbers, filled up to `size` with the last one."""
    if len(numbers) < size:
        numbers = np.pad(numbers, (0, size - len(numbers)), mode="edge")
    return frames.index_select(0, torch.from_numpy(numbers).to(frames.device))


def _own(reference: Reference, numbers: np.ndarray, size: int) -> Reference:
    """What was kept of the true frames of these (ascending) numbers."""
    if numbers[0] == numbers[-1]:  # one true frame for all, as with many samples: nothing to copy
        return tuple(part[numbers[0] : numbers[0] + 1] for part in reference)
    return tuple(_taken(part, numbers, size) for part in reference)


def _checked_shape(target: Tensor, prediction: Tensor, window: int) -> torch.Size:
    """The broadcast leading shape; InputError if the two cannot be compared."""
    for name, frames in (("target", target), ("prediction", prediction)):
        if frames.ndim < 3 or not frames.is_floating_point():
            raise InputError(f"{name}: (..., C, H, W) float frames wanted, not {_described(frames)}")
    if target.shape[-3:] != prediction.shape[-3:]:
        raise InputError(f"frames differ in shape: target {_described(target)}, prediction {_described(prediction)}")
    channels, height, width = target.shape[-3:]
    if channels not in (1, 3) or min(height, width) < window:
        raise InputError(f"frames of 1 or 3 channels and at least {window}x{window} wanted, not {_described(target)}")
    try:
        shape = torch.broadcast_shapes(target.shape[:-3], prediction.shape[:-3])
    except RuntimeError:
        message = f"leading shapes do not match: target {_described(target)}, prediction {_described(prediction)}"
        raise InputError(message) from None
    if shape.numel() == 0:
        raise InputError(f"no frames: target {_described(target)}, prediction {_described(prediction)}")
    for name, frames in (("target", target), ("prediction", prediction)):
        low, high = (bound.item() for bound in frames.detach().aminmax())
        if not (low >= 0 and high <= 1):  # a NaN fails too
            raise InputError(f"{name}: values in [0, 1] wanted, not {low:g} to {high:g}")
    return shape


def _described(frames: Tensor) -> str:
    return f"{tuple(frames.shape)} {str(frames.dtype).removeprefix('torch.')}"
