"""Floors: trivial predictions that every learned model must beat."""

from typing import ClassVar, Literal

import torch
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


class Scatter(Predictor):
    """Shows what was seen last at places that have nothing to do with where it goes: what the best of K is worth.

    The bounding box of the last seen frame's ink, its pixels above 0, is put on black, anywhere inside the frame with
    equal probability, in every sample and frame anew.
    """

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"
    stochastic = True
    paper = ""
    needs = frozenset({"seen"})

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        last = context.frames[:, -1]
        ink = (last > 0).any(1)
        share = torch.special.ndtr(noise.normal(context.predicted, 2).double())  # (B, K, P, 2), in (0, 1)
        rows, in_rows = scattered(ink.any(2), share[..., 0])
        columns, in_columns = scattered(ink.any(1), share[..., 1])
        clip = torch.arange(len(last), device=last.device)[:, None, None, None, None]
        frames = last.movedim(1, -1)[clip, rows[..., :, None], columns[..., None, :]].movedim(-1, 3)
        return Prediction(frames * (in_rows[..., :, None] & in_columns[..., None, :])[:, :, :, None])


def scattered(ink: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return, along one axis, which pixel each pixel of a prediction shows, and whether it lies inside the moved box.

    ink: (B, size), whether a pixel's row or column has ink. share: (B, K, P) in (0, 1), which of the possible places
    the box has. Both results are (B, K, P, size); pixels outside the box show any pixel.
    """
    size = ink.shape[1]
    first = ink.int().argmax(1)[:, None, None]
    length = size - ink.flip(1).int().argmax(1)[:, None, None] - first
    place = (share * (size - length + 1)).long()
    along = torch.arange(size, device=ink.device) - place[..., None]
    return (along + first[..., None]) % size, (along >= 0) & (along < length[..., None])
