"""Floors: trivial predictions that every learned model must beat."""

from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import override

from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor


class Floor(Predictor):
    """Predicts one still frame, repeated."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"
    stochastic = False
    paper = ""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()

    def still(self, seen: Tensor) -> Tensor:
        """Return the frame to repeat, (B, C, H, W), given the seen frames (B, F, C, H, W)."""
        raise NotImplementedError

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        still = self.still(context.frames)[:, None, None]
        return Prediction(still.expand(-1, samples, context.predicted, -1, -1, -1))


class Black(Floor):
    """Predicts black frames."""

    @override
    def still(self, seen: Tensor) -> Tensor:
        return seen.new_zeros(seen.shape[0], *seen.shape[2:])


class CopyLast(Floor):
    """Repeats the last seen frame, so the flow that it predicts is 0."""

    needs = frozenset({"seen"})
    predicts = frozenset({"flow"})

    @override
    def still(self, seen: Tensor) -> Tensor:
        return seen[:, -1]

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        frames = super().predict(context, samples, noise).frames
        return Prediction(frames, flow=frames.new_zeros(1).expand(*frames.shape[:3], 2, *frames.shape[4:]))


class MeanSeen(Floor):
    """Repeats the mean of the seen frames."""

    needs = frozenset({"seen"})

    @override
    def still(self, seen: Tensor) -> Tensor:
        return seen.mean(1)
