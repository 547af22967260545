"""To look at and listen to: a clip's movie and GIF, the figure that explains it, and a sheet of many clips.

The figure is Sound2Sight's figure 7, drawn from the truth: frames above the frequency and amplitude of their sound.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio.v3 as imageio
import numpy as np
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset
from mmnist_av.m3so.sound import gains, key_hertz, keys_pressed
from mmnist_av.m3so.spec import BLOCK, WALL
from mmnist_av.preview.movie import write_movie
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_whole
from mmnist_av.system.progress import track

MOVIE_SIDE = 384  # px that a movie's frames are enlarged to, at least
GIF_SIDE = 192  # px
PLAYABLE = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "44100"]  # ffmpeg's options
STRIP = 20  # frames in the figure's strip
SHEET_STRIP = 10  # frames a clip on the sheet
SHEET_CLIPS = 16

Frames = NDArray[np.uint8]


def preview(dataset: Dataset, split: str, clips: Sequence[int], out: Path) -> list[Path]:
    """Write the pictures and movies of some clips of `split`, and the sheet of the split's first, to the folder `out`.

    Returns their paths. Raises InputError for a clip that is not there.
    """
    there = len(dataset.split(split))
    if not there:
        raise InputError(f"the split '{split}' of {dataset.path} has no clips: choose another --split")
    for clip in clips:
        if not 0 <= clip < there:
            raise InputError(f"the split '{split}' of {dataset.path} has clips 0 to {there - 1}, not {clip}")
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for clip in track(clips, "preview, clips", len(clips)):
        frames, audio = dataset.split(split).frames[clip], dataset.split(split).audio[clip]
        named = {kind: out / f"{split}-{clip:06d}.{kind}" for kind in ("mp4", "gif", "png")}
        write_clip(named["mp4"], frames, audio, dataset.spec.fps, dataset.spec.sample_rate)
        write_gif(named["gif"], frames, dataset.spec.fps)
        write_figure(named["png"], explain(dataset, split, clip))
        paths += named.values()
    paths.append(out / f"{split}-sheet.png")
    write_figure(paths[-1], sheet(dataset, split))
    return paths


def enlarge(frames: Frames, side: int) -> Frames:
    """Frames (T, H, W) by a whole factor, to at least `side` px, each pixel a square."""
    factor = -(-side // (2 * min(frames.shape[1:3]))) * 2  # even, as movies must be
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def write_clip(path: Path, frames: Frames, audio: NDArray[np.int16], fps: int, sample_rate: int) -> None:
    """An .mp4 of grey frames (T, H, W) with their sound (samples,): H.264 and AAC, which players and browsers know."""
    with written_whole(path) as part, TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        soundfile.write(wav, audio, sample_rate, subtype="PCM_16")
        write_movie(part, enlarge(frames, MOVIE_SIDE), fps, PLAYABLE, wav)


def write_gif(path: Path, frames: Frames, fps: int) -> None:
    """An endless .gif of grey frames (T, H, W)."""
    with written_whole(path) as part:
        imageio.imwrite(part, enlarge(frames, GIF_SIDE), extension=".gif", duration=1000 / fps, loop=0)


def write_figure(path: Path, figure: Figure) -> None:
    """A .png of a figure."""
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=120)


def explain(dataset: Dataset, split: str, clip: int) -> Figure:
    """The figure of a clip: a strip of its frames above frequency and amplitude, contacts and block marked."""
    spec, stored = dataset.spec, dataset.split(split)
    truth = stored.truth_of(slice(clip, clip + 1))
    frames, audio = stored.frames[clip], stored.audio[clip].astype(np.float64) / 32768
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    strip, frequency, amplitude = figure.subplots(3, 1, sharex=True, height_ratios=[0.55, 2, 2])  # square frames
    _draw_strip(strip, frames, STRIP)
    strip.set_title(f"{dataset.manifest['dataset']} {spec.variant} · {split} clip {clip}".replace("  ", " "))
    spectrum = np.abs(np.fft.rfft(audio.reshape(spec.frames, -1) * np.hanning(spec.samples_per_frame)))
    top = spec.sample_rate / 2
    frequency.imshow(
        np.log1p(spectrum).T, origin="lower", aspect="auto", cmap="Greys", extent=(-0.5, spec.frames - 0.5, 0, top)
    )
    amplitude.plot(np.arange(len(audio)) / spec.samples_per_frame - 0.5, audio, color="0.8", linewidth=0.5)
    time = np.arange(spec.frames)
    for digit in range(spec.digits_per_clip):
        keys, name = keys_pressed(truth, spec)[0, :, digit], f"digit {truth.label[0, digit]}"
        for line, hertz in enumerate(np.array([key_hertz(spec)[key] for key in keys]).T):
            label = name if line == 0 else None
            frequency.step(time, hertz, where="mid", color=f"C{digit}", linewidth=1.2, label=label)
        gain = gains(truth, spec)[0, :, digit] / 2**spec.gain_bits
        amplitude.step(time, gain, where="mid", color=f"C{digit}", label=f"{name}, gain")
    _mark(frequency, truth.event[0], truth.block_first_frame[0], labels=True)
    _mark(amplitude, truth.event[0], truth.block_first_frame[0], labels=False)
    frequency.set(ylabel="frequency, Hz", ylim=(500, 1700))
    amplitude.set(ylabel="sound, gain", xlabel=f"frame (from 0; {spec.fps} a second)", xlim=(-0.5, spec.frames - 0.5))
    frequency.legend(loc="upper right", ncols=4)
    amplitude.legend(loc="upper right", ncols=4)
    return figure


def sheet(dataset: Dataset, split: str) -> Figure:
    """An overview of the first clips of a split: a strip of each, and what happens in it."""
    stored = dataset.split(split)
    truth = stored.truth_of(slice(0, SHEET_CLIPS))
    figure = Figure(figsize=(11, 0.5 + len(truth)), layout="constrained")
    rows = figure.subplots(len(truth), 1, squeeze=False, sharex=True)[:, 0]
    for clip, row in enumerate(rows):
        _draw_strip(row, stored.frames[clip], SHEET_STRIP)
        digits = ", ".join(map(str, truth.label[clip]))
        events = [f"{(truth.event[clip] == kind).sum()} {name}" for kind, name in ((WALL, "walls"), (BLOCK, "block"))]
        told = f"clip {clip}\n{digits}\n{', '.join(events if dataset.spec.obstacle else events[:1])}"
        row.set_ylabel(told, rotation=0, ha="right", va="center", fontsize=8)
    rows[0].set_title(f"{dataset.manifest['dataset']} {dataset.spec.variant} · {split}".replace("  ", " "))
    return figure


def _draw_strip(axes: Any, frames: Frames, count: int) -> None:
    """At most `count` frames side by side, each in the middle of the frames that it stands for."""
    every = -(-len(frames) // count)
    for first in range(0, len(frames), every):
        middle = min(first + every // 2, len(frames) - 1)
        extent = (first - 0.5, min(first + every, len(frames)) - 0.5, 0, 1)
        axes.imshow(frames[middle], cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
        axes.axvline(extent[1], color="white", linewidth=1.5)
    axes.set(xlim=(-0.5, len(frames) - 0.5), ylim=(0, 1), yticks=[])


def _mark(axes: Any, events: NDArray[np.uint8], block: int, labels: bool) -> None:
    """Upright lines where a digit touches a wall or the block, and where the block appears."""
    for kind, name, style in ((WALL, "wall", "C7:"), (BLOCK, "block hit", "C3:")):
        for number, frame in enumerate(np.flatnonzero((events == kind).any(axis=1))):
            label = name if labels and number == 0 else None
            axes.axvline(frame, color=style[:2], linestyle=style[2:], linewidth=1, label=label)
    if block >= 0:
        axes.axvline(block - 0.5, color="C3", linewidth=1.5, label="block appears" if labels else None)
