"""What a metric may need beside a clip's ground truth and its prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.predictor import ClipShape, Prediction
from benchmark.options import Download
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

# (ground truth of one clip, its prediction) -> (1, K, P), or (1, K, 1) for one value per sample, or (1, 1, P) for one
# value per frame of all pairs; of the metrics of sets: the features (N, D) of the first sample
Measure = Callable[[TargetClip, Prediction], Tensor]


class Unavailable(InputError):
    """A metric cannot be computed here: the message says why, and what to do."""


@dataclass(frozen=True)
class TrainingSamples:
    """Samples that a model generates from clips of the training split: what a judge of the model is trained on."""

    clips: int  # number of clips
    shape: ClipShape
    # indices of clips -> frames (B, T, C, H, W) in [0, 1], audio (B, T, bins, columns), one sample of each clip
    # (B, T - seen, C, H, W)
    draw: Callable[[list[int]], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Resources:
    """Where and from what metrics are computed."""

    device: torch.device
    clips: int  # number of clips that are scored
    weights: Path | Download | None = None  # folder of published weights; None: metrics that need them are left out
    training_samples: TrainingSamples | None = None  # None: the model cannot generate any
    seed: int = 0
