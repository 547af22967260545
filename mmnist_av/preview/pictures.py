"""Show clips: a clip's movie with sound, its GIF, its family's figure of it, and a contact sheet of many clips."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset, refuse_inside_dataset
from mmnist_av.exchange.codecs import to_wav
from mmnist_av.families import find
from mmnist_av.manifest import shard_in_words
from mmnist_av.preview.movie import write_movie
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_once
from mmnist_av.system.progress import track

MOVIE_SIDE = 384  # px; a movie's frames are enlarged to at least this side
GIF_SIDE = 192  # px
PLAYABLE = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "44100"]  # ffmpeg's options
SHEET_STRIP = 10  # frames per clip on the sheet
SHEET_CLIPS = 16

Frames = NDArray[np.uint8]  # (T, H, W) grey or (T, H, W, 3) colour


def preview(dataset: Dataset, split: str, clips: Sequence[int], out: Path) -> list[Path]:
    """Write movies and pictures of some clips of `split`, and a sheet of its first clips, to the folder `out`.

    Returns their paths. Raises InputError for a clip that the split does not have, if `out` is a dataset or lies in
    one, and if it has other files of the same names.
    """
    stored = dataset.split(split)
    if not len(stored):
        raise InputError(f"the split '{split}' of {dataset.path} has no clips: choose another --split")
    for clip in clips:
        if not 0 <= clip < len(stored):
            raise InputError(f"the split '{split}' of {dataset.path} has clips 0 to {len(stored) - 1}, not {clip}")
    sheet_path = out / f"{split}-sheet.png"
    refuse_inside_dataset(sheet_path)
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for clip in track(clips, "preview, clips", len(clips)):
        movie, gif, png = (out / f"{split}-{clip:06d}.{kind}" for kind in ("mp4", "gif", "png"))
        write_clip(movie, stored.frames[clip], stored.audio[clip], dataset.format.fps, dataset.format.sample_rate)
        write_gif(gif, stored.frames[clip], dataset.format.fps)
        paths += movie, gif
        figure = find(dataset.family).explain(dataset, split, clip)
        if figure is not None:
            write_figure(png, figure)
            paths.append(png)
    write_figure(sheet_path, sheet(dataset, split))
    return [*paths, sheet_path]


def enlarge(frames: Frames, side: int) -> Frames:
    """Return frames enlarged by a whole factor to at least `side` px, each pixel as a square."""
    factor = -(-side // (2 * min(frames.shape[1:3]))) * 2  # even, because movies need even sides
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def write_clip(path: Path, frames: Frames, audio: NDArray[np.int16], fps: int, sample_rate: int) -> None:
    """Write an .mp4 of frames with their sound (samples,), as H.264 and AAC, which players and browsers can show."""
    with written_once(path) as part, TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        wav.write_bytes(to_wav(audio, sample_rate))
        write_movie(part, enlarge(frames, MOVIE_SIDE), fps, PLAYABLE, wav)


def write_gif(path: Path, frames: Frames, fps: int) -> None:
    """Write a .gif of frames that repeats without end."""
    with written_once(path) as part:
        # in memory first: of a full disk, imageio's own files report a second time when they are deleted
        part.write_bytes(
            imageio.imwrite("<bytes>", enlarge(frames, GIF_SIDE), extension=".gif", duration=1000 / fps, loop=0)
        )


def write_figure(path: Path, figure: Figure) -> None:
    """Write a .png of a figure."""
    with written_once(path) as part:
        figure.savefig(part, format="png", dpi=120)


def sheet(dataset: Dataset, split: str) -> Figure:
    """Return a contact sheet of the first clips of a split: a strip and a caption per clip."""
    family, stored = find(dataset.family), dataset.split(split)
    clips = min(len(stored), SHEET_CLIPS)
    row_height = max(0.5, 10 * strip_aspect(stored.frames[0], SHEET_STRIP))  # inches; a strip is some 10 wide
    figure = Figure(figsize=(11, 0.5 + clips * row_height), layout="constrained")
    rows = figure.subplots(clips, 1, squeeze=False, sharex=True)[:, 0]
    for clip, row in enumerate(rows):
        draw_strip(row, stored.frames[clip], SHEET_STRIP)
        row.set_ylabel(family.caption(dataset, split, clip), rotation=0, ha="right", va="center", fontsize=8)
    parts = shard_in_words(dataset.manifest), family.label(dataset.manifest), split
    rows[0].set_title(" · ".join(filter(None, parts)))
    return figure


def draw_strip(axes: Any, frames: Frames, count: int) -> None:
    """Draw at most `count` frames side by side, in their own proportions, above the numbers of all frames.

    Each picture is the middle one of the frames that it represents; the last may reach beyond the end of the clip.
    """
    every = _frames_per_picture(frames, count)
    for first in range(0, len(frames), every):
        middle = min(first + every // 2, len(frames) - 1)
        extent = (first - 0.5, first + every - 0.5, 0, 1)
        axes.imshow(frames[middle], cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
        axes.axvline(extent[1], color="white", linewidth=1.5)
    axes.set(xlim=(-0.5, extent[1]), ylim=(0, 1), yticks=[])
    axes.set_box_aspect(strip_aspect(frames, count))


def strip_aspect(frames: Frames, count: int) -> float:
    """Return the height of the strip that `draw_strip` draws, as a fraction of its width."""
    height, width = frames.shape[1:3]
    pictures = -(-len(frames) // _frames_per_picture(frames, count))
    return height / (width * pictures)


def _frames_per_picture(frames: Frames, count: int) -> int:
    return -(-len(frames) // count)
