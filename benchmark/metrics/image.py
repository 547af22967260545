"""Metrics of one predicted frame against its target: PSNR, and SSIM as defined and as Sound2Sight computed it.

Why SSIM is not a plain convolution: two 1-D depthwise convolutions (torch's conv2d) over stacked moments take 2.5 to
3.0 times the CPU time of this file's functions in float32, and 3.1 to 6.6 times in float64. That is on one core, for
100 samples of 20 frames against one target, 48x48x1 and 64x64x3, the minimum of short runs in turns on a busy machine
(`perf/metrics.py` measures it again). They agree with these functions to 3e-8 on random frames, but not bit for bit:
rounded to float32, as scores are kept, 98% of `ssim_uniform` and 81% of `ssim` differ at 48x48x1, so that results of
earlier runs could not be reproduced.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.metrics.checks import check_unit_range, described
from mmnist_av.system.errors import InputError

PSNR_FLOOR = 1e-6  # the least mean squared error: 60 dB at most
K1, K2 = 0.01, 0.03  # Wang et al. 2004, section III.B
BLOCK_VALUES = 2**16  # pixel values processed at once: they and their moments stay in a core's cache
# SSIM is computed in float32, and again in float64 where float32 may be too inexact. With d = y - x it is the mean over
# windows of
#   (1 - E[d]^2 / (mu_x^2 + mu_y^2 + c1)) (1 - q),   q = var_d / V,   V = var_x + var_y + c2.
# A variance is a difference of moments, so its error is a share of the moment, not of itself, and q is wrong by
#   r u (E[d^2] + q E[x^2 + y^2]) / V,   u = 2^-24:
# much where flat regions differ, nothing where they are equal. The second moment is about the target frame's mean, so
# that it is small in bright frames. A frame's doubt is the mean over the windows of the factor after r u. If all
# roundings had the same sign, r would be below 100; measured over flat, noisy, stepped and real frames, the error was
# at most 9 u (1 + doubt), 5e-6 at this limit, and below 1e-6 on frames of this benchmark, of which none was in doubt.
DOUBT = 8.0

Reference = tuple[Tensor, ...]  # what is kept of a block of target frames while their predictions are scored
Runs = list[tuple[slice, slice]]  # rows of a block of predicted frames; their target frames: one for all, or one each


def psnr(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of every predicted frame: 10 log10(1 / MSE), the MSE at least 1e-6.

    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3; the leading shapes broadcast.
    Returns float64 dB in [0, 60], of the broadcast leading shape; the MSE is over pixels and channels.
    Raises InputError for other shapes or types, no frames, and values outside [0, 1] or not finite.
    """
    error = _frame_scores(target, prediction, _SquaredError, window=1, fast=False)
    return -10 * error.clamp(min=PSNR_FLOOR).log10()


def psnr_exact(target: Tensor, prediction: Tensor) -> Tensor:
    """Return 1 for each predicted frame that has `psnr`'s highest value, its MSE being PSNR_FLOOR or less, else 0.

    The mean of `psnr` over frames says little where many have that value: it is a mean of the cap, which is arbitrary.
    Arguments, shape and errors as `psnr`. Returns float64.
    """
    return (_frame_scores(target, prediction, _SquaredError, window=1, fast=False) <= PSNR_FLOOR).double()


def ssim(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the structural similarity of every predicted frame, as Wang et al. 2004 define it.

    Gaussian window 11x11 of sigma 1.5, range 1, population covariance, valid region, mean over channels.
    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3, H and W at least 11; the leading shapes broadcast.
    Returns float64 in [-1, 1], of the broadcast leading shape, within 1e-5 (float64 frames: 1e-9). Raises InputError as
    `psnr`, and for smaller frames.
    """
    weights = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    return _ssim(target, prediction, tuple(weight / sum(weights) for weight in weights), K1**2, K2**2)


def ssim_uniform(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the structural similarity of scikit-image 0.15 for float images: the figure in Sound2Sight's tables.

    Uniform window 7x7, range 2 (although frames span 1), sample covariance, valid region, mean over channels.
    target, prediction: (..., C, H, W) float in [0, 1], C 1 or 3, H and W at least 7; the leading shapes broadcast.
    Returns float64 in [-1, 1], of the broadcast leading shape, within 1e-5 (float64 frames: 1e-9). Raises InputError as
    `psnr`, and for smaller frames.
    """
    sample_covariance = 49 / 48  # over the population's; in the quotient this equals a smaller second constant
    return _ssim(target, prediction, (1 / 7,) * 7, (2 * K1) ** 2, (2 * K2) ** 2 / sample_covariance)


def _ssim(target: Tensor, prediction: Tensor, taps: tuple[float, ...], c1: float, c2: float) -> Tensor:
    comparison = partial(_Similarity, taps=taps, c1=c1, c2=c2)
    return _frame_scores(target, prediction, comparison, window=len(taps), fast=True).clamp(-1, 1)


class _SquaredError:
    """Computes mean squared errors, one block of `frames` after another."""

    def __init__(self, block: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.frames = torch.zeros(block, dtype=dtype, device=device)  # filled by the caller, overwritten by `scores`

    def reference(self, target: Tensor) -> Reference:
        return (target,)

    def scores(self, reference: Reference, runs: Runs) -> Tensor:
        for rows, target in runs:
            self.frames[rows].sub_(reference[0][target])
        return self.frames.square_().flatten(1).mean(1)


class _Similarity:
    """Computes SSIM, one block of `frames` after another, window `taps` x `taps`: Wang et al. 2004, equation 13.

    All memory is allocated once: new pages of the system's memory would cost as much time as the sums.
    """

    def __init__(
        self,
        block: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        taps: tuple[float, ...],
        c1: float,
        c2: float,
    ) -> None:
        count, channels, height, width = block
        self.c1, self.c2 = c1, c2
        self.down = _band(taps, height, dtype, device).expand(count * channels, -1, -1)
        self.across = _band(taps, width, dtype, device).T.contiguous().expand(count * channels, -1, -1)
        zeros = partial(torch.zeros, dtype=dtype, device=device)
        inner = (count, channels, self.down.shape[1], self.across.shape[2])
        self.frames, self.difference, self.squares = (zeros(block) for _ in range(3))
        self.halfway = zeros(count * channels, inner[2], width)
        self.room = [zeros(inner) for _ in range(6)]

    def reference(self, target: Tensor) -> Reference:
        """Return the moments of a block of target frames.

        Moments of a target and of its prediction are about the target's mean: they are smaller, so that less is lost.
        """
        centre = target.flatten(1).mean(1)[:, None, None, None]
        centred = target - centre
        mean = self.filtered(centred, torch.empty_like(self.room[0]))
        luminance = (mean + centre).square_().add_(self.c1)
        return target, centre, centred.square_().add_(self.c2), mean, mean.square(), luminance

    def scores(self, reference: Reference, runs: Runs) -> Tensor:
        """Return one score for each of `frames`; NaN where float32 is too inexact.

        Each step rounds once (no addcmul), so that a score's bits do not depend on the position of values in memory.
        """
        x, centre, square_x, mean_x, square_mean_x, luminance_x = reference
        y, d = self.frames, self.difference
        mean, square, energy, mean_y, luminance, contrast = self.room
        for rows, target in runs:
            torch.sub(y[rows], x[target], out=d[rows])
            torch.sub(y[rows], centre[target], out=self.squares[rows]).square_().add_(square_x[target])
        self.filtered(d, mean)
        self.filtered(d.square_(), square)
        self.filtered(self.squares, energy)  # E[x^2 + y^2] + c2, both centred
        for rows, target in runs:
            torch.add(mean_x[target], mean[rows], out=mean_y[rows])
            torch.mul(mean_y[rows], mean_y[rows], out=contrast[rows]).add_(square_mean_x[target])
            torch.add(mean_y[rows], centre[target], out=luminance[rows])
            luminance[rows].square_().add_(luminance_x[target])  # mu_x^2 + mu_y^2 + c1, not centred
        torch.sub(energy, contrast, out=contrast)  # var_x + var_y + c2
        mean.square_()
        loss = torch.sub(square, mean, out=mean_y).div_(contrast)
        scores = mean.div_(luminance).sub_(1).mul_(torch.sub(loss, 1, out=luminance)).flatten(1).mean(1)
        if scores.dtype == torch.float32:
            doubt = loss.mul_(energy).add_(square).div_(contrast).flatten(1).mean(1)
            scores.masked_fill_(~(doubt < DOUBT), torch.nan)
        return scores

    def filtered(self, frames: Tensor, out: Tensor) -> Tensor:
        """Write A X A^T of every picture X of (N, C, H, W) to `out`: `taps` along both axes, valid region only."""
        torch.bmm(self.down, frames.flatten(0, 1), out=self.halfway)
        torch.bmm(self.halfway, self.across, out=out.flatten(0, 1))
        return out


@lru_cache(maxsize=32)
def _band(taps: tuple[float, ...], size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the (size - len(taps) + 1, size) matrix that filters `size` values with `taps`, valid region only."""
    band = torch.zeros(size - len(taps) + 1, size, dtype=dtype)
    for row, line in enumerate(band):
        line[row : row + len(taps)] = torch.tensor(taps, dtype=dtype)
    return band.to(device)


Comparison = _SquaredError | _Similarity


class _Pairs(NamedTuple):
    """Pairs of frames: equally many predicted ones with the first target frame, then with the second, and so on."""

    target: Tensor  # (N, C, H, W)
    predicted: Tensor  # (M, C, H, W)
    order: Tensor  # (pairs,): the index of each pair's predicted frame


@torch.no_grad()
def _frame_scores(
    target: Tensor,
    prediction: Tensor,
    comparison: Callable[[tuple[int, ...], torch.dtype, torch.device], Comparison],
    window: int,
    fast: bool,
) -> Tensor:
    """Return one score per predicted frame. If `fast`, float32 frames are scored in float32 where that is exact enough.

    window: the least height and width of a frame.
    """
    shape = _checked_shape(target, prediction, window)
    targets, predicted = (frames.reshape(-1, *frames.shape[-3:]) for frames in (target, prediction))
    positions = _frame_indices(target.shape[:-3], shape).argsort(stable=True).to(target.device)
    pairs = _Pairs(targets, predicted, _frame_indices(prediction.shape[:-3], shape).to(target.device)[positions])
    block = (max(2, BLOCK_VALUES // target.shape[-3:].numel()), *target.shape[-3:])
    # A GPU's float32 products may be rounded to fewer bits.
    fast = fast and target.device.type == "cpu" and torch.float64 not in (target.dtype, prediction.dtype)
    with _full_precision(target.device):
        scores = _scores(pairs, comparison(block, torch.float32 if fast else torch.float64, target.device))
        doubtful = scores.isnan().nonzero()[:, 0]
        if len(doubtful):
            exact = comparison(block, torch.float64, target.device)
            for part in doubtful.split(block[0]):
                own = targets[part // (len(positions) // len(targets))]
                scores[part] = _scores(_Pairs(own, predicted, pairs.order[part]), exact)
    return torch.empty_like(scores).index_copy_(0, positions, scores).reshape(shape)


def _scores(pairs: _Pairs, comparison: Comparison) -> Tensor:
    """Return one score per pair, computed in blocks that fit the cache.

    Each target frame is prepared once, whatever the number of its predictions. Every block has the same number of
    frames (an incomplete one ends with frames of the block before), so that not even the last bit of a score depends on
    the frames scored beside it.
    """
    frames = comparison.frames
    target_frames = torch.zeros_like(frames)
    size, repeats = len(frames), len(pairs.order) // len(pairs.target)
    scores = torch.empty(len(pairs.order), dtype=torch.float64, device=frames.device)
    for start in range(0, len(pairs.target), size):
        stop = min(start + size, len(pairs.target))
        target_frames[: stop - start] = pairs.target[start:stop]
        reference = comparison.reference(target_frames)
        begin, end = start * repeats, stop * repeats
        for first in range(begin, end, size):
            last = min(first + size, end)
            frames[: last - first] = pairs.predicted.index_select(0, pairs.order[first:last])
            block_scores = comparison.scores(reference, _runs(first - begin, last - begin, repeats))
            scores[first:last] = block_scores[: last - first]
    return scores


def _runs(first: int, last: int, repeats: int) -> Runs:
    """Return the runs of the pairs `first` to `last` of a block of target frames with `repeats` predicted ones each."""
    if repeats == 1:
        return [(slice(last - first), slice(first, last))]
    runs = []
    for target in range(first // repeats, -(-last // repeats)):
        rows = slice(max(target * repeats, first) - first, min((target + 1) * repeats, last) - first)
        runs.append((rows, slice(target, target + 1)))
    return runs


def _frame_indices(own: torch.Size, common: torch.Size) -> Tensor:
    """Return the index of each frame of the leading shape `common` in a tensor of the leading shape `own`."""
    return torch.arange(own.numel()).reshape(own).broadcast_to(common).reshape(-1)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Compute float32 products in full float32 in this block, whatever precision was set before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _checked_shape(target: Tensor, prediction: Tensor, window: int) -> torch.Size:
    """Return the broadcast leading shape; raise InputError where the two cannot be compared."""
    for name, frames in (("target", target), ("prediction", prediction)):
        if frames.ndim < 3 or not frames.is_floating_point():
            raise InputError(f"{name}: (..., C, H, W) float frames expected, found {described(frames)}")
    if target.shape[-3:] != prediction.shape[-3:]:
        raise InputError(f"frames differ in shape: target {described(target)}, prediction {described(prediction)}")
    channels, height, width = target.shape[-3:]
    if channels not in (1, 3) or min(height, width) < window:
        raise InputError(
            f"frames of 1 or 3 channels and at least {window}x{window} expected, found {described(target)}"
        )
    try:
        shape = torch.broadcast_shapes(target.shape[:-3], prediction.shape[:-3])
    except RuntimeError:
        message = f"leading shapes do not match: target {described(target)}, prediction {described(prediction)}"
        raise InputError(message) from None
    if shape.numel() == 0:
        raise InputError(f"no frames: target {described(target)}, prediction {described(prediction)}")
    for name, frames in (("target", target), ("prediction", prediction)):
        check_unit_range(frames, name)
    return shape
