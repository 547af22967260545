"""Floors: what needs neither training nor thought, and what every learned model must clear."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor


class Floor(Predictor):
    """One still frame, repeated."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"
    stochastic = False
    paper = ""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()

    def still(self, seen: Tensor) -> Tensor:
        """The frame to repeat: (B, F, C, H, W) -> (B, C, H, W)."""
        raise NotImplementedError

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """The still frame as every frame of every future; see Predictor.predict."""
        still = self.still(context.frames)[:, None, None]
        return Prediction(still.expand(-1, samples, context.predicted, -1, -1, -1))


class Black(Floor):
    """Predicts black frames."""

    def still(self, seen: Tensor) -> Tensor:
        """Black."""
        return torch.zeros_like(seen[:, -1])


class CopyLast(Floor):
    """Repeats the last seen frame."""

    needs = frozenset({"seen"})
    predicts = frozenset({"flow"})

    def still(self, seen: Tensor) -> Tensor:
        """The last seen frame."""
        return seen[:, -1]

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """The last seen frame, from which nothing moves: its flow is 0."""
        frames = super().predict(context, samples, noise).frames
        return Prediction(frames, flow=frames.new_zeros(1).expand(*frames.shape[:3], 2, *frames.shape[4:]))


class MeanSeen(Floor):
    """Repeats the mean of the seen frames."""

    needs = frozenset({"seen"})

    def still(self, seen: Tensor) -> Tensor:
        """The mean of the seen frames."""
        return seen.mean(1)
