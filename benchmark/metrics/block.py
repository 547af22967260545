"""How well a model predicts the place of M3SO's block."""

import torch
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.brightness import in_units, window_sums
from benchmark.metrics.checks import check_samples, check_unit_range
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

BLOCK = 16  # px, the side of M3SO's block and of the window that is compared with it


def clip_block_iou(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `block_iou` of a clip's annotation "block" and its predicted frames: (1, K, 1)."""
    return block_iou(clip.annotation("block"), prediction.frames)


@torch.no_grad()
def block_iou(block: Tensor, prediction: Tensor, size: int = BLOCK) -> Tensor:
    """Return the intersection over union of the true block with the brightest window of the last predicted frame.

    The predicted block is the `size` x `size` window with the highest mean brightness over pixels and channels; of
    equal windows the first in reading order (top row first, then from the left). Brightness is summed in whole units,
    2**14 to an 8-bit level (2.4e-7): see BRIGHTNESS_UNITS.

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
    clips = [_clip_iou(corner, frames[:, -1], size) for corner, frames in zip(corners, prediction, strict=True)]
    return torch.stack(clips).unsqueeze(-1)


def _top_left(block: Tensor, height: int, size: int) -> Tensor:
    """Return row and column of the true square's upper-left pixel, (B, 2); NaN without a block. Row 0 is the top."""
    x, y = block.double().unbind(-1)
    corner = torch.stack((height - size - y, x), -1)
    return torch.where(_has_block(block)[:, None], corner, torch.nan)


def _has_block(block: Tensor) -> Tensor:
    return (block >= 0).all(-1)  # False for NaN


def _clip_iou(corner: Tensor, frames: Tensor, size: int) -> Tensor:
    """Return (K,) IoU of the square at `corner` (row, column) with the brightest window of each of (K, C, H, W)."""
    overlap = (size - (brightest_window(frames, size) - corner.to(frames.device)).abs()).clamp(min=0).prod(-1)
    return overlap / (2 * size**2 - overlap)


def brightest_window(frames: Tensor, size: int) -> Tensor:
    """Return row and column of the upper-left pixel of each frame's brightest window: (N, C, H, W) to (N, 2).

    The windows are `size` x `size` px; of equal ones the first in reading order is taken. frames: values in [0, 1].
    """
    sums = window_sums(in_units(frames), size, size)
    first = _first_maximum(sums.flatten(1))
    return torch.stack((first // sums.shape[2], first % sums.shape[2]), -1)


def _first_maximum(values: Tensor) -> Tensor:
    """Return the index of the first maximum of each row, (N,); torch.argmax may return any of equal ones."""
    indices = torch.arange(values.shape[1], device=values.device)
    return torch.where(values == values.amax(1, keepdim=True), indices, values.shape[1]).amin(1)


def _check(block: Tensor, prediction: Tensor, size: int) -> None:
    check_samples(prediction)
    if block.shape != (prediction.shape[0], 2):
        raise InputError(
            f"block (B, 2) for a prediction (B, K, T, C, H, W) expected, "
            f"found {tuple(block.shape)} and {tuple(prediction.shape)}"
        )
    height, width = prediction.shape[-2:]
    if min(height, width) < size:
        raise InputError(f"prediction: frames of at least {size}x{size} expected, found {height}x{width}")
    furthest = torch.tensor([width - size, height - size], device=block.device)
    if (_has_block(block)[:, None] & (block > furthest)).any():
        raise InputError(f"block: a square of {size} px leaves the {width}x{height} frame: {block.tolist()}")
    check_unit_range(prediction[:, :, -1], "prediction")
