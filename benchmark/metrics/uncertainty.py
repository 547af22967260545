"""Whether a model that says how wrong its frames may be knows which of them are."""

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from mmnist_av.system.errors import InputError


@torch.no_grad()
def uncertainty_rank(target: Tensor, prediction: Tensor) -> Tensor:
    """Spearman's rank correlation of a future's expected errors with those that it makes, over its frames.

    The error of a frame is its mean squared error; equals share their mean rank; 0 where all frames' errors, expected
    or made, are equal.

    target: (B, 1, T, C, H, W). prediction: (B, K, T, C + 1, H, W), behind the frame's channels the squared error that
    the model expects, at every pixel. Float and finite, T 2 or more. Returns (B, K, 1) float64 in [-1, 1].
    Raises InputError for other shapes, types or values.
    Source: figure 4 of PUQ (2021) sets the two side by side; the coefficient is this benchmark's choice.
    """
    shapes = f"{tuple(target.shape)} and {tuple(prediction.shape)}"
    if target.ndim != 6 or prediction.ndim != 6 or target.shape[2] < 2 or not prediction.numel():
        raise InputError(f"frames (B, 1, T, C, H, W), T 2 or more, and (B, K, T, C + 1, H, W) wanted, not {shapes}")
    frames, expected = prediction[:, :, :, :-1], prediction[:, :, :, -1]
    if target.shape != (len(frames), 1, *frames.shape[2:]):
        raise InputError(f"frames (B, 1, T, C, H, W) and (B, K, T, C + 1, H, W) wanted, not {shapes}")
    for name, values in (("target", target), ("prediction", prediction)):
        if not values.is_floating_point() or not values.isfinite().all():
            raise InputError(f"{name}: finite floats wanted")
    made = (frames.double() - target.double()).square().mean((3, 4, 5))
    ranks = [rankdata(errors.cpu().numpy(), axis=-1) for errors in (expected.double().mean((3, 4)), made)]
    first, second = (each - each.mean(-1, keepdims=True) for each in ranks)
    spread = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    found = np.divide((first * second).sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)
    return torch.from_numpy(found)[..., None].to(prediction.device)
