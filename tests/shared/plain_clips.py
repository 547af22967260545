"""A small dataset that is nothing like M3SO: a coloured square moves, and sounds a tone; no generator, no truth."""

import numpy as np

from mmnist_av.dataset import ClipFormat
from mmnist_av.families import ArrayType
from mmnist_av.writing import Clips, SingleClips, request, write_once

COLOUR = ClipFormat(frames=90, channels=3, height=64, width=64, fps=30, sample_rate=44100)  # 3 s
SIZES = {"train": 4, "val": 2, "test": 3}
HERTZ = (440, 660, 880)  # of a red, a green and a blue square


def make_plain(out, sizes=SIZES, format=COLOUR, flow=False, name="squares"):
    """Write the dataset to `out`, with sizes by split; with `flow`, it stores the annotation "flow" (T, 2, H, W)."""
    arrays = {"flow": ArrayType((format.frames, 2, format.height, format.width), np.dtype(np.float32))} if flow else {}
    requested = request(name, format, sizes, arrays=arrays)
    return write_once(
        out, requested, SingleClips("plain_clips", lambda *which: square(format, flow, *which), requested)
    )


def square(format, flow, split, number):
    """Return clip `number`: a square that bounces off the walls, louder the further to the right it is."""
    rng = np.random.default_rng([("train", "val", "test").index(split), number])
    side, colour = format.height // 4, int(rng.integers(3))
    limit = np.array([format.height, format.width]) - side
    path = rng.integers(0, limit) + np.arange(format.frames)[:, None] * rng.integers(1, 4, 2)  # row, column
    corner = np.abs((path + limit) % (2 * limit) - limit)
    frames = np.zeros((1, format.frames, *format.frame_shape), np.uint8)
    backward = np.zeros((1, format.frames, 2, format.height, format.width), np.float32)
    for t, (row, column) in enumerate(corner):
        place = np.s_[row : row + side, column : column + side]
        brightness = np.eye(3, dtype=np.uint8)[colour] * 200 + 40 if format.channels == 3 else 80 * (colour + 1)
        frames[0, t][place] = brightness
        backward[0, t, :, *place] = (corner[max(t - 1, 0)] - corner[t])[::-1, None, None]  # x and y
    loudness = np.repeat(corner[:, 1] / limit[1], format.samples_per_frame)
    wave = np.sin(2 * np.pi * HERTZ[colour] * np.arange(format.samples) / format.sample_rate)
    audio = (8000 * (0.2 + loudness) * wave).astype(np.int16)[None]
    return Clips(frames, audio, {"flow": backward} if flow else {})
