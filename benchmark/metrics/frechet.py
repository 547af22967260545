"""The Frechet distance between two sets of features: FID of frames, FVD of clips."""

import logging
import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.resources import Measure, Resources, Unavailable
from benchmark.networks import weights
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

log = logging.getLogger(__name__)

LEAST = 16  # features in a set below which the distance is refused
FEW = 256  # features in a set below which the distance is mostly sampling error

Features = NDArray[np.floating] | Tensor


def fid(resources: Resources) -> Measure:
    """Return a function of (clip, prediction): Inception-v3's features (P, 2048) of the first sample's P frames.

    `frechet_distance` of all clips' features and the ground truth's is the FID. Raises Unavailable without the
    published weights, or for fewer than LEAST clips.
    """
    state = weights.read("inception", resources.weights)
    _check_clips(resources)
    from benchmark.networks.inception import load_inception  # imported here because torch-fidelity takes seconds

    features = load_inception(state, resources.device)

    def frame_features(clip: TargetClip, prediction: Prediction) -> Tensor:
        return features(prediction.frames[:, 0].flatten(0, 1))

    return frame_features


def fvd(resources: Resources) -> Measure:
    """Return a function of (clip, prediction): I3D's logits (1, 400) of the first sample as a whole.

    `frechet_distance` of all clips' logits and the ground truth's is the FVD. Raises Unavailable without the published
    weights, or for fewer than LEAST clips.
    """
    state = weights.read("i3d", resources.weights)
    _check_clips(resources)
    from benchmark.networks.i3d import load_i3d

    logits = load_i3d(state, resources.device)

    def clip_logits(clip: TargetClip, prediction: Prediction) -> Tensor:
        return logits(prediction.frames[:, 0])

    return clip_logits


def _check_clips(resources: Resources) -> None:
    if resources.clips < LEAST:
        raise Unavailable(f"it needs {LEAST} clips or more, {resources.clips} are scored")
    if resources.clips < FEW:
        _warn_of_few(resources.clips)


@lru_cache
def _warn_of_few(clips: int) -> None:
    """Log a warning, once for each number of clips."""
    log.warning("fid and fvd of only %d clips are too large: compare them for equal numbers of clips alone", clips)


def frechet_distance(target: Features, predicted: Features) -> float:
    """Return the squared Frechet distance between the Gaussians fitted to two sets of features.

    |mu1 - mu2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), with sample covariances (N - 1), in float64.

    target: (N, D), predicted: (M, D), one row for each frame or clip; N and M may be smaller than D.
    Returns 0 or more, 0 for equal sets. Raises InputError for other shapes, fewer than LEAST rows in a set, and
    features that are not finite. Source: Heusel et al. 2017 (FID), equation 6; Unterthiner et al. 2018 (FVD).
    """
    first, second = _checked(target, "target"), _checked(predicted, "predicted")
    if first.shape[1] != second.shape[1]:
        raise InputError(f"features differ in width: target {tuple(first.shape)}, predicted {tuple(second.shape)}")
    means = (first.mean(0) - second.mean(0)).square().sum()
    a, b = _factor(first), _factor(second)
    # With S1 = A'A and S2 = B'B, the eigenvalues of S1 S2 are the squared singular values of AB'. So neither covariance
    # is formed, and no root is taken of what rounding left of a small eigenvalue: exact for every rank and condition.
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(means + a.square().sum() + b.square().sum() - 2 * overlap))


def _factor(features: Tensor) -> Tensor:
    """Return A with A'A the covariance of (N, D) features; A is (N, D) or (D, D), whichever is smaller."""
    centred = (features - features.mean(0)) / math.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else torch.linalg.qr(centred, mode="r").R


def _checked(features: Features, name: str) -> Tensor:
    """Return the features as a float64 tensor on the CPU."""
    if isinstance(features, np.ndarray):
        features = features.astype(np.float64)  # a copy: torch warns of read-only arrays
    values = torch.as_tensor(features, dtype=torch.float64, device="cpu").detach()
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"{name}: features (N, D) expected, found {tuple(values.shape)}")
    if len(values) < LEAST:
        raise InputError(
            f"{name}: a Frechet distance needs {LEAST} features or more, found {len(values)}: score more clips"
        )
    if not values.isfinite().all():
        raise InputError(f"{name}: finite features expected")
    return values
