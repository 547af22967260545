"""The interface between a model and the harness: losses by player, and futures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

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
class Prediction:
    """The futures of some clips, and what else a model may say of them."""

    frames: Tensor  # (B, samples, predicted, C, H, W) in [0, 1]
    flow: Tensor | None = None  # (B, samples, predicted, 2, H, W): px, (dx, dy) from a pixel to where it was before
    variance: Tensor | None = None  # (B, samples, predicted): the mean squared error that the model expects of a frame


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int  # optimizer steps taken so far
    epoch: int  # full passes over the training clips so far
    stage: str = ""  # which of Predictor.stages
    share: float = 0.0  # of the stage's steps, those taken so far: 0 to 1


@dataclass(frozen=True)
class Loss:
    """What one player minimises on one batch."""

    total: Tensor  # scalar, with gradient
    terms: dict[str, Tensor] = field(default_factory=dict)  # scalars to log


def constant(progress: Progress) -> float:
    """The schedule of a learning rate that stays as it is."""
    return 1.0


@dataclass(frozen=True)
class Player:
    """The parameters that one optimizer (Adam) moves, and how."""

    parameters: list[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = None  # gradients are scaled down to this norm where given
    schedule: Callable[[Progress], float] = constant  # what multiplies the learning rate
    scaled: Mapping[float, Sequence[nn.Parameter]] = field(default_factory=dict)  # what multiplies it for some of them


@dataclass(frozen=True)
class Stage:
    """A part of the training in which some of the players move."""

    name: str  # what Progress.stage says
    players: tuple[str, ...]
    share: float = 1.0  # of all steps; those of a model's stages add up to 1


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
    ablated: ClassVar[dict[str, Any]] = {}  # the settings that the model's name stands for, which no user may change

    def players(self) -> dict[str, Player]:
        """Who minimises what: one optimizer each. Empty for what needs no training."""
        return {}

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the training, one after the other; one with all players, unless a model says otherwise."""
        return (Stage("", tuple(self.players())),)

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """What each player of the stage minimises on this batch: means over clips.

        A stage that keeps another's batch norms as they are puts them in eval mode here, at every step.
        All players' losses come from one forward pass, before any of them moves; the training loop differentiates
        each with respect to that player's parameters only.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    def predict(self, seen: Tensor, audio: Tensor, samples: int, noise: Noise) -> Prediction:
        """Futures of some clips, T - F frames each.

        seen: (B, F, C, H, W) in [0, 1]; audio: (B, T, bins, columns), up to the last frame to predict.
        """
        raise NotImplementedError
