"""A floor for metrics of bounces: a digit that turns when M3SO's sound says so, but knows no place."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from baselines.bayes import FEATURES, RULES, WORLD, Flags, Floats, SeenDigit, read_audio, read_frames
from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor
from mmnist_av.system.errors import InputError

TRIED = 16  # directions at a turn, of which the first is taken that reaches no border before the next turn
# What it does not use, beside what the references do not: rules of the digit's path, the loudness, and the block
NOT_USED = ("amplitude", "block", "block_frame", "bounce", "canvas", "slowest", "speeds")
KEYS = {name: value for name, value in RULES.items() if name not in NOT_USED}


class Zigzag(Predictor):
    """Shows what the metrics of bounces are worth: it turns in time with the sound, wherever the digit may be.

    The digit goes straight on at the speed that it was seen at. After every frame that sounds the wall's or the block's
    key it takes a random direction, at least 90 degrees from the one that it had. The loudness, which would tell the
    distance from a corner, is not used.
    """

    modality: ClassVar[Literal["AV", "V", "A"]] = "AV"
    stochastic = True
    paper = ""
    needs = frozenset({"seen"})
    world = KEYS

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        if shape.frame[0] != 1 or shape.audio != FEATURES.shape(WORLD.samples_per_frame) or shape.seen < 2:
            raise InputError(
                "zigzag needs two seen frames in grey, and M3SO's audio features: choose another --model or --protocol"
            )

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return frames of random paths; see Predictor.predict. Clips must have one digit."""
        shares = torch.special.ndtr(noise.normal(context.predicted, TRIED).double()).cpu().numpy()
        predicted = [
            predict_clip(read_frames(frames), turns_of(audio), of_clip, tuple(frames.shape[1:]))
            for frames, audio, of_clip in zip(context.frames[:, :, 0], context.audio, shares, strict=True)
        ]
        return Prediction(torch.from_numpy(np.stack(predicted))[:, :, :, None].to(context.frames.device))


def turns_of(audio: Tensor) -> Flags:
    """Return in which frames the wall's or the block's key sounds: (T, bins, columns) to (T,)."""
    return np.isin(read_audio(audio).key, (WORLD.wall_key, WORLD.block_key))


def predict_clip(seen: SeenDigit, turns: Flags, shares: Floats, frame: tuple[int, int]) -> NDArray[np.float32]:
    """Return K samples (K, P, H, W) of frames of the size `frame`, (H, W).

    turns: (F + P,), after which frames the digit turns; shares: (K, P, TRIED), random numbers in (0, 1).
    """
    height, width = seen.ink.shape
    limit = np.array(frame[::-1]) - seen.size
    pictures = np.zeros((*shares.shape[:2], *frame), np.float32)
    for sample, own in enumerate(shares):
        for number, (x, y) in enumerate(np.floor(zigzag(seen, turns, own, limit)).astype(int)):
            pictures[sample, number, frame[0] - y - height : frame[0] - y, x : x + width] = seen.ink
    return pictures


def zigzag(seen: SeenDigit, turns: Flags, shares: Floats, limit: Floats) -> Floats:
    """Return a path (P, 2), px, of the ink box's lower-left corner, y up, within 0 and `limit`.

    turns: (F + P,); shares: (P, TRIED). Where none of a turn's directions stays inside, the path follows the border.
    """
    first, total = len(seen.corner), len(turns)
    velocity, speed = seen_motion(seen, turns)
    position, path = seen.corner[-1] + 0.5, []
    for t in range(first, total):
        if turns[t - 1]:
            later = np.flatnonzero(turns[t:])
            straight = later[0] + 1 if len(later) else total - t  # frames until the next turn
            back = np.arctan2(-velocity[1], -velocity[0])
            angle = back + np.pi * (shares[t - first] - 0.5)
            tried = speed * np.stack([np.cos(angle), np.sin(angle)], -1)
            end = position + straight * tried
            velocity = tried[np.argmax(((end >= 0) & (end <= limit)).all(-1))]
        position = np.clip(position + velocity, 0, limit)
        path.append(position)
    return np.array(path)


def seen_motion(seen: SeenDigit, turns: Flags) -> tuple[Floats, float]:
    """Return the velocity (2,), px a frame, since the last turn before the last seen frame, and the speed."""
    steps = np.diff(seen.corner, axis=0)
    turned = turns[: len(steps)].nonzero()[0]
    velocity = steps[turned[-1] if len(turned) else 0 :].mean(0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    whole = ~turns[1 : len(steps) + 1]  # a step into a wall is shorter
    return velocity, float(lengths[whole].mean() if whole.any() else lengths.max())
