"""The Frechet distance between two sets of features: FID of frames, FVD of clips."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmnist_av.system.errors import InputError

LEAST = 16  # rows a side below which the distance is refused
FEW = 256  # rows a side below which it is mostly sampling error, and must not be read without their number

Features = NDArray[np.floating] | Tensor


def frechet_distance(true: Features, predicted: Features) -> float:
    """Squared Frechet distance between the Gaussians fitted to two sets of features.

    |mu1 - mu2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), with sample covariances (N - 1), in float64.

    true: (N, D), predicted: (M, D), a row a frame or a clip; N and M may be smaller than D.
    Returns 0 or more, 0 for equal sets. Raises InputError for other shapes, fewer than LEAST rows a side, and features
    that are not finite. Source: Heusel et al. 2017 (FID), equation 6; Unterthiner et al. 2018 (FVD).
    """
    first, second = _checked(true, "true"), _checked(predicted, "predicted")
    if first.shape[1] != second.shape[1]:
        raise InputError(f"features differ in width: true {tuple(first.shape)}, predicted {tuple(second.shape)}")
    means = (first.mean(0) - second.mean(0)).square().sum()
    a, b = _factor(first), _factor(second)
    # With S1 = A'A and S2 = B'B, the eigenvalues of S1 S2 are the squared singular values of AB'. So neither covariance
    # is formed, nor a root taken of what rounding left of a small eigenvalue: exact for every rank and condition.
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(means + a.square().sum() + b.square().sum() - 2 * overlap))


def _factor(features: Tensor) -> Tensor:
    """A with A'A the covariance of (N, D) features; (N, D) or (D, D), whichever is smaller."""
    centred = (features - features.mean(0)) / math.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else torch.linalg.qr(centred, mode="r").R


def _checked(features: Features, name: str) -> Tensor:
    if isinstance(features, np.ndarray):
        features = features.astype(np.float64)  # a copy: torch warns of arrays that are mapped to be read only
    values = torch.as_tensor(features, dtype=torch.float64, device="cpu").detach()
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"{name}: features (N, D) wanted, not {tuple(values.shape)}")
    if len(values) < LEAST:
        raise InputError(f"{name}: a Frechet distance needs {LEAST} features at least, not {len(values)}: score more")
    if not values.isfinite().all():
        raise InputError(f"{name}: finite features wanted")
    return values
