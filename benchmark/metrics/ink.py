"""How much a model shows: predictions that fade, or that spread a haze, have too little brightness or too much."""

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.brightness import in_units
from benchmark.metrics.checks import check_samples, check_target, check_unit_range


@torch.no_grad()
def ink(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the sum of every predicted frame's brightness over that of its target's: 1 for as much as there should be.

    All pixels count, in M3SO those of the block too: they belong to a frame's ink as the digit's do. Brightness is
    summed in whole units (see BRIGHTNESS_UNITS).

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), float in [0, 1]. Returns (B, K, T) float64, 0 and more,
    NaN where the target's frame is black. Raises InputError for shapes that do not match, and for values outside [0, 1]
    or not finite. Source: this benchmark's.
    """
    check_samples(prediction)
    check_target(target, prediction)
    check_unit_range(target, "target")
    check_unit_range(prediction, "prediction")
    shares = torch.empty(prediction.shape[:3], dtype=torch.float64, device=prediction.device)
    for b, t in np.ndindex(len(prediction), prediction.shape[2]):  # K frames at a time stay in a core's cache
        expected, found = (in_units(frames[b, :, t]).sum((1, 2)) for frames in (target, prediction))
        shares[b, :, t] = torch.where(expected > 0, found / expected, torch.nan)
    return shares
