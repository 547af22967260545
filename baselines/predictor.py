"""The interface between a model and the harness: what a model is given, learns from, and predicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClipShape:
    """The shape of the clips that a model is built for."""

    frame: tuple[int, int, int]  # channels, height, width
    audio: tuple[int, int]  # of one frame's audio features: bins, columns
    seen: int  # frames given to the model, at training and at test
    train_frames: int  # frames of a training clip: seen and predicted
    fps: float  # frames per second


@dataclass(frozen=True)
class Context:
    """What a model is given at test: the seen frames, and the audio up to the last frame to predict."""

    frames: Tensor  # (B, F, C, H, W) in [0, 1]: the F seen frames
    audio: Tensor  # (B, T, bins, columns): the audio features of all T frames, seen and to be predicted
    flow: Tensor | None = None  # (B, F, 2, H, W): backward flow of the seen frames, px; for models that need "flow"

    @property
    def seen(self) -> int:
        """F, the number of seen frames."""
        return self.frames.shape[1]

    @property
    def predicted(self) -> int:
        """T - F, the number of frames to predict."""
        return self.audio.shape[1] - self.frames.shape[1]


@dataclass(frozen=True)
class Batch:
    """Clips that a model learns from."""

    frames: Tensor  # (B, T, C, H, W) in [0, 1]
    audio: Tensor  # (B, T, bins, columns): audio features, one spectrogram per frame
    seen: int  # frames 0 .. seen - 1 are the context, the rest are to be predicted
    flow: Tensor | None = None  # (B, T, 2, H, W): backward flow, px, 0 in frame 0; for models that need "flow"
    centres: Tensor | None = None  # (B, T, D, 2): x, y of each digit's centre, px; for models that need "centres"


@dataclass(frozen=True)
class Prediction:
    """K samples of the frames to be predicted, and what else a model may say about them."""

    frames: Tensor  # (B, K, P, C, H, W) in [0, 1]
    flow: Tensor | None = None  # (B, K, P, 2, H, W): px, (dx, dy) from a pixel to where it was one frame earlier
    variance: Tensor | None = None  # (B, K, P): the mean squared error that the model expects of each frame


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int  # optimizer steps taken so far
    epoch: int  # full passes over the training clips so far
    stage: str = ""  # the name of the current one of Predictor.stages
    share: float = 0.0  # the part of the stage's steps that are done: 0 to 1
    players: tuple[str, ...] = ()  # whose losses are computed now; see Turn


@dataclass(frozen=True)
class Loss:
    """What one player minimises on one batch."""

    total: Tensor  # scalar, with gradient
    terms: dict[str, Tensor] = field(default_factory=dict)  # scalars to log


def constant(progress: Progress) -> float:
    """Return 1: the schedule of a learning rate that does not change."""
    return 1.0


@dataclass(frozen=True)
class OwnRate:
    """Some of a player's parameters, which learn at the player's rate times a factor."""

    parameters: list[nn.Parameter]
    factor: Callable[[Progress], float]


@dataclass(frozen=True)
class Player:
    """Parameters that one optimizer (Adam) updates, and how."""

    parameters: list[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = None  # the largest norm of the gradient; None: not clipped
    schedule: Callable[[Progress], float] = constant  # multiplies the learning rate
    own_rates: Sequence[OwnRate] = ()  # of some of the parameters
    # What happens where the loss or a gradient is infinite or NaN: training stops, or such gradients are set to 0.
    on_nonfinite: Literal["stop", "zero"] = "stop"


@dataclass(frozen=True)
class Turn:
    """Players that are updated together, on losses from one forward pass."""

    players: tuple[str, ...]
    every: int = 1  # the turn is taken at every such step of the stage
    may_skip: bool = False  # whether `losses` may leave a player out, which is then not updated at this step


@dataclass(frozen=True)
class EarlyStop:
    """When a stage ends before its share of the steps is used up: when a validation metric stops improving."""

    metric: str  # name of a metric, its mean over samples and predicted frames
    patience: int  # validations without a better value after which the stage ends


@dataclass(frozen=True)
class Stage:
    """A part of the training in which some of the players are updated."""

    name: str  # Progress.stage
    players: tuple[str, ...]
    share: float = 1.0  # of all steps; the shares of a model's stages add up to 1
    stop: EarlyStop | None = None  # None: the stage takes all its steps
    frozen: tuple[str, ...] = ()  # names of submodules kept as they are: parameters without gradient, in eval mode
    turns: tuple[Turn, ...] = ()  # taken one after the other at each step; empty: one turn with all the stage's players


class Noise:
    """Standard normal noise of samples, keyed by (seed, clip, sample).

    No number depends on which other clips or samples are drawn beside it, on their order, or on the device.
    """

    def __init__(self, seed: int, clips: Sequence[int], samples: int, device: torch.device | str = "cpu") -> None:
        self.device = device
        self._streams = [
            [np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, clip, k]))) for k in range(samples)]
            for clip in clips
        ]

    def normal(self, *shape: int) -> Tensor:
        """Return the next numbers of every sample: (clips, samples, *shape), float32."""
        draws = [[stream.standard_normal(shape, np.float32) for stream in streams] for streams in self._streams]
        return torch.from_numpy(np.array(draws, np.float32)).to(self.device)


class Predictor(nn.Module):
    """A model: the losses of its players, and the samples that it predicts.

    A class that needs published weights takes them as the keyword `weights` of its constructor: name -> state dict.
    """

    modality: ClassVar[Literal["AV", "V", "A"]]  # what it is given: frames (V), audio (A), or both
    stochastic: ClassVar[bool]  # whether its samples of one clip differ
    paper: ClassVar[str]  # where it was published; "" for floors and references
    # What it cannot do without: "seen" (a seen frame), "flow" (Context.flow and Batch.flow), "centres" (Batch.centres),
    # "weights:NAME" (published weights). The harness provides it, or says why it cannot.
    needs: ClassVar[frozenset[str]] = frozenset()
    # The rules that it knows of the dataset's world: values that the dataset's spec must have, else it is not run.
    world: ClassVar[Mapping[str, object]] = {}
    predicts: ClassVar[frozenset[str]] = frozenset()  # what its Prediction has beside frames: "flow", "variance"
    # Whether it keeps state from clip to clip. If so it is given clips in order: in training, row i of a batch follows
    # on row i of the batch before. The state is held in registered, persistent buffers, without gradient, whose first
    # dimension is the number of clips: it is part of the checkpoint, so that a resumed training continues exactly.
    carries_state: ClassVar[bool] = False
    settling: ClassVar[int] = 0  # the number of batches of training clips that `settle` is given

    def players(self) -> dict[str, Player]:
        """Return one player per optimizer, by name; none for a model that is not trained."""
        return {}

    def stages(self) -> tuple[Stage, ...]:
        """Return the parts of the training in their order; by default one stage with all players."""
        return (Stage("", tuple(self.players())),)

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Return the loss of each of `progress.players` on this batch: means over clips.

        The losses of one turn come from one forward pass, before any of its players is updated. The training loop
        differentiates each loss with respect to its own player's parameters only.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    def settle(self, batches: Sequence[Batch]) -> None:
        """Learn from training clips what depends on the weights, such as statistics; no weight may change.

        Called before every validation and at the end of the training, with `settling` batches; by default with none.
        """

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return `samples` samples of the frames that follow the context, P = context.predicted frames each.

        All randomness comes from `noise`, so that a sample does not depend on what is drawn beside it.
        """
        raise NotImplementedError

    def predict_windows(self, context: Context, samples: int, noise: Noise) -> Iterator[Prediction]:
        """Yield the prediction in windows of consecutive frames; by default in one.

        A model that predicts more frames than fit in memory overrides this method instead of `predict`.
        """
        yield self.predict(context, samples, noise)

    def reset(self) -> None:
        """Forget the state that a model with `carries_state` keeps from clip to clip.

        Called before the first clip of a split: in training before every epoch, at test before clip 0.
        """
