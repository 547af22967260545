"""The interface between a model and the harness: losses by player, and futures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClipShape:
    """What one time step of a clip looks like."""

    frame: tuple[int, int, int]  # channels, height, width
    audio: tuple[int, int]  # spectrogram bins, columns


@dataclass(frozen=True)
class Batch:
    """Clips to learn from."""

    frames: Tensor  # (B, T, C, H, W) in [0, 1]
    audio: Tensor  # (B, T, bins, columns), one log-spectrogram a frame
    seen: int  # frames 0 .. seen-1 are given, the rest are to be predicted


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int  # optimizer steps taken so far
    epoch: int  # full passes over the training clips so far


@dataclass(frozen=True)
class Loss:
    """What one player minimises on one batch."""

    total: Tensor  # scalar, with gradient
    terms: dict[str, Tensor] = field(default_factory=dict)  # scalars to log


@dataclass(frozen=True)
class Player:
    """The parameters that one optimizer (Adam) moves, and how."""

    parameters: list[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = None  # gradients are scaled down to this norm where given


class Noise:
    """Standard normal draws of futures, keyed by (seed, clip, sample).

    No draw depends on which other clips or samples are drawn with it, on their order, or on the device.
    """

    def __init__(self, seed: int, clips: Sequence[int], samples: int, device: torch.device | str = "cpu") -> None:
        self.device = device
        self._streams = [
            [np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, clip, k]))) for k in range(samples)]
            for clip in clips
        ]

    def normal(self, *shape: int) -> Tensor:
        """The next draws of every future: (clips, samples, *shape), float32."""
        draws = [[stream.standard_normal(shape, np.float32) for stream in streams] for streams in self._streams]
        return torch.from_numpy(np.array(draws, np.float32)).to(self.device)


class Predictor(nn.Module):
    """A model: what its players minimise, and the futures it predicts."""

    modality: ClassVar[Literal["AV", "V", "A"]]  # what it looks at: frames, sound, or both
    stochastic: ClassVar[bool]  # whether its futures differ from sample to sample
    paper: ClassVar[str]  # where it was published; "" for floors and ceilings

    def players(self) -> dict[str, Player]:
        """Who minimises what: one optimizer each. Empty for what needs no training."""
        return {}

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """What each player minimises on this batch.

        All players' losses come from one forward pass, before any of them moves; the training loop differentiates
        each with respect to that player's parameters only.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    def predict(self, seen: Tensor, audio: Tensor, samples: int, noise: Noise) -> Tensor:
        """Futures of some clips.

        seen: (B, F, C, H, W) in [0, 1]; audio: (B, T, bins, columns), up to the last frame to predict;
        returns (B, samples, T - F, C, H, W) in [0, 1].
        """
        raise NotImplementedError
