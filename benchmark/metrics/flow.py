"""How well motion is predicted: the end-point error of optical flow, and the flow of real video to compare with.

A flow is backward: its (dx, dy) at a pixel of a frame leads to where the same matter was in the frame before; dx to
the right, dy down, px.
"""

import numpy as np
import torch
from torch import Tensor

from mmnist_av.system.errors import InputError


@torch.no_grad()
def aepe(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean end-point error of every predicted flow: the mean over pixels of the length of the difference, px.

    target: (B, 1, T, 2, H, W), such as m3so.picture.backward_flow's (N, T, 2, H, W) with an axis put in;
    prediction: (B, K, T, 2, H, W); float, dx and dy. Returns (B, K, T) float64, 0 and more.
    Raises InputError for other shapes or types, and for values that are not finite.
    Source: Otte and Nagel 1994; Baker et al. 2011, section 4.1.
    """
    clips, _, *flow_shape = prediction.shape
    complete = prediction.ndim == 6 and prediction.shape[3] == 2 and prediction.numel() > 0
    if not complete or target.shape != (clips, 1, *flow_shape):
        found = f"{tuple(target.shape)} and {tuple(prediction.shape)}"
        raise InputError(f"true flow (B, 1, T, 2, H, W) and predicted flow (B, K, T, 2, H, W) wanted, not {found}")
    for name, flow in (("target", target), ("prediction", prediction)):
        if not flow.is_floating_point() or not flow.isfinite().all():
            raise InputError(f"{name}: finite float flow wanted")
    return (prediction.double() - target.double()).square().sum(3).sqrt().mean((-2, -1))


@torch.no_grad()
def tvl1(frames: Tensor) -> Tensor:
    """Backward flow of every frame but the first, estimated: (..., T, C, H, W) to (..., T - 1, 2, H, W) float32.

    TV-L1 (Zach et al. 2007) as scikit-image has it, with its own settings, on grey (the mean over channels).
    frames: float in [0, 1], T 2 or more. Entry t is about frame t + 1. Raises InputError for other shapes or types.
    """
    from skimage.registration import optical_flow_tvl1  # here, because it takes a second to import

    if frames.ndim < 4 or frames.shape[-4] < 2 or not frames.is_floating_point():
        raise InputError(f"float frames (..., T, C, H, W) wanted, T 2 or more, not {tuple(frames.shape)}")
    grey = frames.float().mean(-3).cpu().numpy()
    lead, (height, width) = (*grey.shape[:-3], grey.shape[-3] - 1), grey.shape[-2:]
    flow = np.empty((*lead, 2, height, width), np.float32)
    for place in np.ndindex(lead):
        later = (*place[:-1], place[-1] + 1)
        flow[place] = optical_flow_tvl1(grey[later], grey[place])[::-1]  # it gives dy, dx
    return torch.from_numpy(flow).to(frames.device)
