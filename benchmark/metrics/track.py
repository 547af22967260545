"""How far the predicted digit is from the true one."""

import numpy as np
import torch
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_finite, check_target
from benchmark.scoring.ground_truth import TargetClip

LEAST_INK = 1.0  # white pixels' worth of ink below which a frame has no centre of its own; this benchmark's choice


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
    block, and count in neither frame. A frame with less ink than LEAST_INK has its centre in the middle of the canvas,
    the best blind guess: so a black frame has an error, too.

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), float in [0, 1]; the target may be NaN.
    Returns (B, K, T) float64, 0 and more. Raises InputError for shapes that do not match, and for a prediction that is
    not finite. Source: this benchmark's.
    """
    check_target(target, prediction)
    check_finite(prediction, "prediction")
    counted = ~target.isnan()
    return (centres(target, counted) - centres(prediction, counted)).square().sum(-1).sqrt()


def centres(frames: Tensor, counted: Tensor) -> Tensor:
    """Return column and row of the centroid of brightness, px: (B, K, T, 2) float64; arguments as `moments`."""
    height, width = frames.shape[-2:]
    return centroids(moments(frames, counted), height, width)


def centroids(sums: Tensor, height: int, width: int) -> Tensor:
    """Return column and row, (..., 2), for what `moments` returned, (..., 3); the middle where there is little ink."""
    ink = sums[..., :1]
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).to(sums)
    return torch.where(ink >= LEAST_INK, sums[..., 1:] / ink, middle)


def moments(frames: Tensor, counted: Tensor) -> Tensor:
    """Return the sums of ink, ink times column and ink times row over the counted pixels: (B, K, T, 3) float64.

    Ink is the mean over channels. frames: (B, K, T, C, H, W); counted: (B, 1, T, C, H, W) bool.
    """
    channels, height, width = frames.shape[-3:]
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    weights = torch.stack((torch.ones_like(row), column, row), -1).double().expand(channels, -1, -1, -1).flatten(0, 2)
    weights = weights.to(frames.device) / channels
    sums = torch.empty(*frames.shape[:3], 3, dtype=torch.float64, device=frames.device)
    for b, t in np.ndindex(len(frames), frames.shape[2]):  # K frames at a time stay in a core's cache
        sums[b, :, t] = torch.where(counted[b, :, t], frames[b, :, t], 0).flatten(1).double() @ weights
    return sums
