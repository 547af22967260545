"""Where a model believes the digit to be."""

import numpy as np
import torch
from torch import Tensor

from mmnist_av.system.errors import InputError

LEAST_INK = 1.0  # white pixels' worth that a frame must show to have a centre; this benchmark's


@torch.no_grad()
def position_error(target: Tensor, prediction: Tensor) -> Tensor:
    """Distance of the predicted from the true centre of ink, in px, of every predicted frame.

    The centre is the centroid of brightness (mean over channels). Pixels that are NaN in the target are not the
    digit's (they are the true block's) and count in neither. A frame that shows less ink than LEAST_INK has its centre
    in the middle of the canvas, the best blind guess: so a black frame does not go unpunished.

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), float in [0, 1], the target's may be NaN.
    Returns (B, K, T) float64, 0 and more. Raises InputError for shapes that do not match, and for a prediction that is
    not finite. Source: this benchmark's.
    """
    if target.ndim != 6 or prediction.ndim != 6 or target.shape[2:] != prediction.shape[2:] or target.shape[1] != 1:
        shapes = f"{tuple(target.shape)} and {tuple(prediction.shape)}"
        raise InputError(f"(B, 1, T, C, H, W) true and (B, K, T, C, H, W) predicted frames wanted, not {shapes}")
    if not torch.isfinite(prediction).all():
        raise InputError("prediction: finite values wanted")
    counted = ~target.isnan()
    return (centres(target, counted) - centres(prediction, counted)).square().sum(-1).sqrt()


def centres(frames: Tensor, counted: Tensor) -> Tensor:
    """Column and row of the centroid of brightness, px: (B, K, T, 2) float64; arguments as `moments`."""
    height, width = frames.shape[-2:]
    return centroids(moments(frames, counted), height, width)


def centroids(sums: Tensor, height: int, width: int) -> Tensor:
    """What `moments` gave, (..., 3), to column and row, (..., 2); the middle where there is too little ink."""
    ink = sums[..., :1]
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).to(sums)
    return torch.where(ink >= LEAST_INK, sums[..., 1:] / ink, middle)


def moments(frames: Tensor, counted: Tensor) -> Tensor:
    """Sums over the pixels that count of ink, ink times column and ink times row: (B, K, T, 3) float64.

    Ink is the mean over channels. frames: (B, K, T, C, H, W); counted: (B, 1, T, C, H, W) bool.
    """
    channels, height, width = frames.shape[-3:]
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    weights = torch.stack((torch.ones_like(row), column, row), -1).double().expand(channels, -1, -1, -1).flatten(0, 2)
    weights = weights.to(frames.device) / channels
    found = torch.empty(*frames.shape[:3], 3, dtype=torch.float64, device=frames.device)
    for b, t in np.ndindex(len(frames), frames.shape[2]):  # K frames at a time stay in a core's cache
        found[b, :, t] = torch.where(counted[b, :, t], frames[b, :, t], 0).flatten(1).double() @ weights
    return found
