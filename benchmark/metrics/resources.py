"""What a metric may need beside a clip's truth and its futures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.predictor import ClipShape
from mmnist_av.system.errors import InputError

# (truth of the metric's kind, prediction (B, K, T, C, H, W)) -> (B, K, T); (B, K, 1) where it is one value a future
Measure = Callable[[Any, Tensor], Tensor]

DOWNLOAD = Path("download")  # what --weights says for the weights' public homes


class Unavailable(InputError):
    """A metric cannot be had here: says why, and how to get it."""


@dataclass(frozen=True)
class Practice:
    """What a judge of a model's futures may learn from: the training split, never the test's."""

    clips: int
    shape: ClipShape
    seen: int  # frames given
    # clips by number -> frames (B, T, C, H, W) in [0, 1], sound (B, T, bins, columns), a future (B, T - seen, C, H, W)
    draw: Callable[[list[int]], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Setting:
    """Where metrics are computed."""

    device: torch.device
    clips: int  # that are scored
    digits: int  # in each clip
    weights: Path | None = None  # folder of published weights, or DOWNLOAD; None: there are none
    practice: Practice | None = None  # None: the model cannot be asked about training clips
    seed: int = 0
