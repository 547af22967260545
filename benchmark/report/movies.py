"""Movies with sound: ground truth, mean, best and one sample of a clip, side by side."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFont

from benchmark.report.examples import Examples, Frames
from mmnist_av.preview.movie import write_movie
from mmnist_av.preview.pictures import PLAYABLE, enlarge

SIDE = 192  # px, the least side of an enlarged picture
GAP = 8  # px between pictures
BAR = 28  # px, height of the captions above and below; even, as movies must be
THREADS = ["-threads", "1"]  # the encoder's bytes depend on their number


def write_example(path: Path, examples: Examples, number: int, mean: str) -> tuple[int, int]:
    """Write the movie of one example, an .mp4, and return its width and height in px. Raises OSError.

    mean: the caption of the averaged samples.
    """
    frames = side_by_side(examples, number, mean)
    with TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        soundfile.write(wav, examples.audio[number], examples.sample_rate, subtype="PCM_16")
        write_movie(path, frames, examples.fps, [*PLAYABLE, *THREADS], wav)
    return frames.shape[2], frames.shape[1]


def side_by_side(examples: Examples, number: int, mean: str) -> Frames:
    """Return an example's captioned pictures, (T, H, W) or, in colour, (T, H, W, 3); every one begins as seen."""
    target, seen = examples.target[number], examples.seen
    pictures = {"ground truth": target}
    predicted = {mean: examples.mean[number], "best PSNR": examples.best[number]}
    if examples.random.shape[1]:
        predicted["one sample"] = examples.random[number, 0]
    pictures |= {name: np.concatenate([target[:seen], frames]) for name, frames in predicted.items()}
    large = [enlarge(_channels_last(frames), SIDE) for frames in pictures.values()]
    width = large[0].shape[2]
    between = np.full((*large[0].shape[:2], GAP, *large[0].shape[3:]), 64, np.uint8)
    row = np.concatenate([part for frames in large for part in (frames, between)][:-1], axis=2)
    above = _bar(row.shape[2], [(column * (width + GAP), name) for column, name in enumerate(pictures)])
    captions = [f"frame {t + 1}, {'seen' if t < seen else 'predicted'}" for t in range(len(row))]
    below = np.stack([_bar(row.shape[2], [(0, caption)]) for caption in captions])
    parts = [np.broadcast_to(above, below.shape), row, below]
    if row.ndim == 4:
        parts = [part if part.ndim == 4 else np.repeat(part[..., None], 3, axis=3) for part in parts]
    return np.concatenate(parts, axis=1)


def _channels_last(frames: Frames) -> Frames:
    """Return (T, C, H, W) as (T, H, W) if grey, else as (T, H, W, 3)."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.transpose(0, 2, 3, 1)


def _bar(width: int, captions: Sequence[tuple[int, str]]) -> Frames:
    """Return captions in white on black, each at its own x in px: (BAR, width)."""
    bar = Image.new("L", (width, BAR))
    for x, caption in captions:
        ImageDraw.Draw(bar).text((x + 4, 4), caption, fill=255, font=ImageFont.load_default(18))
    return np.asarray(bar)
