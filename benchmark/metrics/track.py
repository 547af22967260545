"""Whether a predicted frame shows a digit, and how far that is from the true one."""

import numpy as np
import torch
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.brightness import in_units, window_sums
from benchmark.metrics.checks import check_samples, check_target, check_unit_range
from benchmark.scoring.ground_truth import TargetClip

MARGIN = 1  # px around the true digit's box: room for a digit that is blurred
FADED = 3  # a digit with less than one part in FADED of the true one's ink is not visible
CONTRAST = 3  # nor is one that is less than so many times as bright as the rest of its frame


def clip_digit_visible(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `digit_visible` of a clip's predicted frames, without the true block's pixels: (1, K, P)."""
    return digit_visible(frames_without_block(clip)[:, :, clip.seen :], prediction.frames)


@torch.no_grad()
def digit_visible(target: Tensor, prediction: Tensor) -> Tensor:
    """Return 1 for each predicted frame in which enough ink for the digit lies in one place, else 0.

    The place is the window with the most ink of all windows as large as the box around the true frame's ink, and
    MARGIN px more on every side. It shows a digit if it has a third of the true frame's ink more than so many px have
    in the rest of its frame on average, and is CONTRAST times as bright as that rest. So no frame counts that is black
    or faded to less than a third, and no haze, but a digit does before a haze. Which digit it is and where it is does
    not matter. Pixels that are NaN in the target belong to the true block, and count in neither frame; a block that is
    predicted elsewhere counts as ink. Of several digits the box holds all.

    Measured with MNIST digits on 400 frames of M3SO-NB and 500 of M3SO after its block has appeared. Visible are all
    true frames, also dimmed to 34% or blurred by Gaussians of sigma 1 to 5 px; 98% of other clips' frames; and 99% of
    true frames before the haze of all the places that a block can have, 95% if they are blurred by 3 px. Never visible
    are frames dimmed to 33%, any grey and the mean of all clips' frames, however bright.

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), float in [0, 1]; the target may be NaN.
    Returns (B, K, T) float64, NaN where the target has no ink. Raises InputError for shapes that do not match, and for
    a prediction outside [0, 1] or not finite. Source: this benchmark's.
    """
    _check(target, prediction)
    return find_visible(target, prediction)


def _check(target: Tensor, prediction: Tensor) -> None:
    check_samples(prediction)
    check_target(target, prediction)
    check_unit_range(prediction, "prediction")


def find_visible(target: Tensor, prediction: Tensor) -> Tensor:
    """Return `digit_visible` of frames that were checked before, which takes as long as the rest."""
    visible = torch.full(prediction.shape[:3], torch.nan, dtype=torch.float64, device=prediction.device)
    for b, t in np.ndindex(len(prediction), prediction.shape[2]):  # K frames at a time stay in a core's cache
        counted = ~target[b, :, t].isnan()
        true, shown = (in_units(torch.where(counted, frames[b, :, t], 0)) for frames in (target, prediction))
        if true.any():
            height, width = _window(true[0])
            outside = max(true[0].numel() - height * width, 1)  # px
            most = window_sums(shown, height, width).amax((1, 2))
            even = (shown.sum((1, 2)) - most) * (height * width)  # as bright as the rest; these are all whole numbers,
            most, least = most * outside, true.sum() * outside  # as there is no division by `outside`
            visible[b, :, t] = ((FADED * (most - even) >= least) & (most >= CONTRAST * even)).double()
    return visible


def _window(ink: Tensor) -> tuple[int, int]:
    """Return height and width of the box around the ink in (H, W), with its margin, at most those of the frame."""
    lengths = [int(filled.nonzero().max() - filled.nonzero().min()) + 1 for filled in (ink.any(1), ink.any(0))]
    height, width = (min(length + 2 * MARGIN, side) for length, side in zip(lengths, ink.shape, strict=True))
    return height, width


def clip_position_error(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `position_error` of a clip's predicted frames, without the true block's pixels: (1, K, P)."""
    return position_error(frames_without_block(clip)[:, :, clip.seen :], prediction.frames)


def frames_without_block(clip: TargetClip) -> Tensor:
    """Return all frames of a clip, (1, 1, T, C, H, W), NaN where its annotation "block_mask" is True."""
    return clip.frames.masked_fill(clip.annotation("block_mask")[:, :, None], torch.nan)[:, None]


@torch.no_grad()
def position_error(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the distance of the predicted from the true centre of ink, in px, of every predicted frame.

    The centre is the centroid of brightness (mean over channels). Pixels that are NaN in the target belong to the true
    block, and count in neither frame. A frame without a visible digit has no position: its error is NaN, and
    `digit_visible` says how often that is so. A guess of the middle of the canvas in its place, 12 px off on average,
    would make black frames better than a digit that has lost its way.

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), float in [0, 1]; the target may be NaN.
    Returns (B, K, T) float64, 0 and more, NaN where `digit_visible` is not 1. Raises InputError as that does.
    Source: this benchmark's.
    """
    _check(target, prediction)
    visible = find_visible(target, prediction) == 1
    counted = ~target.isnan()
    error = (centres(target, counted) - centres(prediction, counted)).square().sum(-1).sqrt()
    return error.where(visible, torch.nan)


def centres(frames: Tensor, counted: Tensor) -> Tensor:
    """Return column and row of the centroid of brightness over the counted pixels, px: (B, K, T, 2) float64.

    It is NaN where no ink is counted. frames: (B, K, T, C, H, W); counted: (B, 1, T, C, H, W) bool.
    """
    sums = _moments(frames, counted)
    return sums[..., 1:] / sums[..., :1]


def _moments(frames: Tensor, counted: Tensor) -> Tensor:
    """Return the sums of ink, ink times column and ink times row over the counted pixels: (B, K, T, 3) float64.

    Ink is the mean over channels.
    """
    channels, height, width = frames.shape[-3:]
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    weights = torch.stack((torch.ones_like(row), column, row), -1).double().expand(channels, -1, -1, -1).flatten(0, 2)
    weights = weights.to(frames.device) / channels
    sums = torch.empty(*frames.shape[:3], 3, dtype=torch.float64, device=frames.device)
    for b, t in np.ndindex(len(frames), frames.shape[2]):  # K frames at a time stay in a core's cache
        sums[b, :, t] = torch.where(counted[b, :, t], frames[b, :, t], 0).flatten(1).double() @ weights
    return sums
