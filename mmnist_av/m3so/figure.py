"""The figure that explains a clip of M3SO, after Sound2Sight's figure 7: frames above the frequency and amplitude."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.sound import gains, key_hertz, keys_pressed
from mmnist_av.m3so.spec import BLOCK, WALL, Spec
from mmnist_av.m3so.world import Truth
from mmnist_av.preview.pictures import draw_strip, strip_aspect

STRIP = 20  # frames in the strip


def explain(dataset: Dataset, split: str, clip: int) -> Figure:
    """Return the figure of a clip: a strip of its frames above frequency and amplitude, contacts and block marked."""
    spec, stored = spec_of(dataset), dataset.split(split)
    truth = truth_of(stored, slice(clip, clip + 1))
    strip_height = 13 * strip_aspect(stored.frames[clip], STRIP)  # inches; the strip is some 13 wide
    figure = Figure(figsize=(14, 6 + strip_height), layout="constrained")
    strip, frequency, amplitude = figure.subplots(3, 1, sharex=True, height_ratios=[strip_height, 2.4, 2.4])
    draw_strip(strip, stored.frames[clip], STRIP)
    strip.set_title(f"{dataset.name} {spec.variant} · {split} clip {clip}".replace("  ", " "))
    _draw_sound(frequency, amplitude, stored.audio[clip].astype(np.float64) / 32768, spec)
    _draw_tones(frequency, amplitude, truth, spec)
    _mark(frequency, truth.event[0], truth.block_first_frame[0], labels=True)
    _mark(amplitude, truth.event[0], truth.block_first_frame[0], labels=False)
    frequency.set(ylabel="frequency, Hz", ylim=(500, 1700))
    amplitude.set(ylabel="sound, gain", xlabel=f"frame (from 0; {spec.fps} per second)")
    frequency.legend(loc="upper right", ncols=4)
    amplitude.legend(loc="upper right", ncols=4)
    return figure


def _draw_sound(frequency: Any, amplitude: Any, audio: NDArray[np.float64], spec: Spec) -> None:
    """Draw the spectrogram and the wave of the sound."""
    spectrum = np.abs(np.fft.rfft(audio.reshape(spec.frames, -1) * np.hanning(spec.samples_per_frame)))
    extent = (-0.5, spec.frames - 0.5, 0, spec.sample_rate / 2)
    frequency.imshow(np.log1p(spectrum).T, origin="lower", aspect="auto", cmap="Greys", extent=extent)
    amplitude.plot(np.arange(len(audio)) / spec.samples_per_frame - 0.5, audio, color="0.8", linewidth=0.5)


def _draw_tones(frequency: Any, amplitude: Any, truth: Truth, spec: Spec) -> None:
    """Draw the two frequencies and the gain of each digit."""
    time = np.arange(spec.frames)
    for digit in range(spec.digits_per_clip):
        keys, name = keys_pressed(truth, spec)[0, :, digit], f"digit {truth.label[0, digit]}"
        for line, hertz in enumerate(np.array([key_hertz(spec)[key] for key in keys]).T):
            label = name if line == 0 else None
            frequency.step(time, hertz, where="mid", color=f"C{digit}", linewidth=1.2, label=label)
        gain = gains(truth, spec)[0, :, digit] / 2**spec.gain_bits
        amplitude.step(time, gain, where="mid", color=f"C{digit}", label=f"{name}, gain")


def _mark(axes: Any, events: NDArray[np.uint8], block: int, labels: bool) -> None:
    """Draw upright lines where a digit touches a wall or the block, and where the block appears."""
    for kind, name, style in ((WALL, "wall", "C7:"), (BLOCK, "block hit", "C3:")):
        for number, frame in enumerate(np.flatnonzero((events == kind).any(axis=1))):
            label = name if labels and number == 0 else None
            axes.axvline(frame, color=style[:2], linestyle=style[2:], linewidth=1, label=label)
    if block >= 0:
        axes.axvline(block - 0.5, color="C3", linewidth=1.5, label="block appears" if labels else None)
