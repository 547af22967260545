"""Where a model believes the digit to be."""

import torch
from torch import Tensor

from mmnist_av.errors import InputError

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
    """Column and row of the centroid of brightness: (..., C, H, W), of which some pixels count, to (..., 2) float64."""
    ink = torch.where(counted, frames, 0).double().mean(-3)
    height, width = ink.shape[-2:]
    column, row = torch.arange(width).to(ink), torch.arange(height).to(ink)
    total = ink.sum((-2, -1))
    centroid = torch.stack(((ink.sum(-2) * column).sum(-1), (ink.sum(-1) * row).sum(-1)), -1) / total[..., None]
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).to(ink)
    return torch.where((total >= LEAST_INK)[..., None], centroid, middle)
