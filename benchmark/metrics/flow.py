"""How well motion is predicted: the end-point error of optical flow; and TV-L1, which estimates flow from frames.

A flow is backward: its (dx, dy) at a pixel of a frame leads to where the same matter was in the frame before; dx to
the right, dy down, px.
"""

import numpy as np
import torch
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_finite, check_target, described
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError


def clip_aepe(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `aepe` of a clip's predicted flow, with its annotation "flow" as the target: (1, K, P).

    Raises InputError for a prediction without flow.
    """
    if prediction.flow is None:
        raise InputError("aepe needs a predicted flow, the prediction has none")
    return aepe(clip.annotation("flow")[:, None, clip.seen :], prediction.flow)


@torch.no_grad()
def aepe(target: Tensor, prediction: Tensor) -> Tensor:
    """Return the mean end-point error of every predicted flow: the mean over pixels of the difference's length, px.

    target: (B, 1, T, 2, H, W), prediction: (B, K, T, 2, H, W); float, dx and dy.
    Returns (B, K, T) float64, 0 and more. Raises InputError for other shapes or types, and for values that are not
    finite. Source: Otte and Nagel 1994; Baker et al. 2011, section 4.1.
    """
    check_target(target, prediction)
    if prediction.shape[3] != 2 or prediction.numel() == 0:
        raise InputError(f"prediction: flow (B, K, T, 2, H, W) expected, found {described(prediction)}")
    check_finite(target, "target flow")
    check_finite(prediction, "predicted flow")
    return (prediction.double() - target.double()).square().sum(3).sqrt().mean((-2, -1))


@torch.no_grad()
def tvl1(frames: Tensor) -> Tensor:
    """Return the estimated backward flow of all frames but the first: (..., T, C, H, W) to (..., T - 1, 2, H, W).

    TV-L1 (Zach et al. 2007) of scikit-image, with its default settings, on grey (the mean over channels).
    frames: float in [0, 1], T 2 or more. Returns float32; entry t belongs to frame t + 1. Raises InputError for other
    shapes or types.
    """
    from skimage.registration import optical_flow_tvl1  # imported here because that takes a second

    if frames.ndim < 4 or frames.shape[-4] < 2 or not frames.is_floating_point():
        raise InputError(f"float frames (..., T, C, H, W), T 2 or more, expected, found {described(frames)}")
    grey = frames.float().mean(-3).cpu().numpy()
    lead, (height, width) = (*grey.shape[:-3], grey.shape[-3] - 1), grey.shape[-2:]
    flow = np.empty((*lead, 2, height, width), np.float32)
    for index in np.ndindex(lead):
        later = (*index[:-1], index[-1] + 1)
        flow[index] = optical_flow_tvl1(grey[later], grey[index])[::-1]  # its order is dy, dx
    return torch.from_numpy(flow).to(frames.device)
