"""Render the sound of a clip: a telephone tone per digit, scaled by its distance from the lower-left corner."""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from mmnist_av.m3so.spec import BLOCK, WALL, Spec
from mmnist_av.m3so.world import Truth

_AT_ONCE = 128  # frames: their sound (0.4 MB in 32 bits) stays in the processor's cache while it is rendered


def render_audio(truth: Truth, spec: Spec, out: NDArray[np.int16] | None = None) -> NDArray[np.int16]:
    """Return the sound of the clips of `truth`: (N, samples) int16 at `spec.sample_rate`.

    out: a C-contiguous array of that shape to write into; None: a new one.
    """
    if out is None:
        out = np.empty((len(truth), truth.frames * spec.samples_per_frame), np.int16)
    rows = tones(spec)
    which = _tone_numbers(truth, spec).reshape(-1, spec.digits_per_clip)
    gain = gains(truth, spec).reshape(-1, spec.digits_per_clip)
    frames = out.reshape(-1, spec.samples_per_frame)
    mixed, part = np.empty((2, _AT_ONCE, spec.samples_per_frame), np.int32)
    for first in range(0, len(frames), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        count = len(frames[some])
        _scaled_tones(spec, rows, which[some, 0], gain[some, 0], mixed[:count])
        for digit in range(1, spec.digits_per_clip):
            _scaled_tones(spec, rows, which[some, digit], gain[some, digit], part[:count])
            mixed[:count] += part[:count]
        if spec.digits_per_clip > 1:
            mixed[:count] //= spec.digits_per_clip
        frames[some] = mixed[:count]
    return out


def _scaled_tones(
    spec: Spec, tones: NDArray[np.int32], which: NDArray[np.intp], gain: NDArray[np.int32], out: NDArray[np.int32]
) -> None:
    np.take(tones, which, axis=0, out=out, mode="clip")  # numpy would copy `out` to be able to raise
    np.multiply(out, gain[:, None], out=out)  # at most 30000 * 2**15
    np.right_shift(out, spec.gain_bits, out=out)


def keys_in_order(spec: Spec) -> str:
    """Return the keys in the order of `tones`: the key of a digit is at the index of its value."""
    return "0123456789" + spec.wall_key + spec.block_key


def key_hertz(spec: Spec) -> dict[str, tuple[int, int]]:
    """Return the two frequencies of every key, Hz: that of its row and that of its column."""
    return {
        key: (row, column)
        for row, keys in zip(spec.row_hz, spec.keypad, strict=True)
        for column, key in zip(spec.column_hz, keys, strict=True)
    }


@functools.lru_cache(maxsize=4)
def tones(spec: Spec) -> NDArray[np.int32]:
    """Return one second of every key's tone: (keys * fps, samples per frame), one row per frame."""
    second = np.arange(spec.sample_rate)
    sine = {
        hertz: np.sin(2 * np.pi * (hertz * second % spec.sample_rate) / spec.sample_rate)
        for hertz in spec.row_hz + spec.column_hz
    }
    hertz = key_hertz(spec)
    tone = [spec.tone_level * sum(sine[each] for each in hertz[key]) for key in keys_in_order(spec)]
    rows = np.rint(np.stack(tone)).astype(np.int32)
    return rows.reshape(-1, spec.samples_per_frame)


def keys_pressed(truth: Truth, spec: Spec) -> NDArray[np.str_]:
    """Return the telephone key that each digit sounds in each frame, (N, T, D): "0" to "9", "*" (wall), "#" (block)."""
    return np.array(list(keys_in_order(spec)))[_key_numbers(truth, spec)]


def gains(truth: Truth, spec: Spec) -> NDArray[np.int32]:
    """Return how loud each digit is in each frame, (N, T, D), in units of 1/2**15.

    The gain follows the distance of the ink box's centre from the lower-left corner. inverse: 10 px over the distance,
    at most 1. linear: the distance over the canvas's diagonal.
    """
    full, unit = 1 << spec.gain_bits, 2 * spec.subpixels
    twice_centre = 2 * truth.position.astype(np.int64) + spec.subpixels * truth.size[:, None].astype(np.int64)
    # exact: a double's root of an integer below 2**52 never rounds up to the next integer
    distance = np.sqrt((twice_centre**2).sum(axis=-1)).astype(np.int64)
    if spec.amplitude == "linear":
        gain = full * distance // math.isqrt(2 * (unit * spec.canvas) ** 2)
    else:
        gain = np.minimum(full, full * spec.full_gain * unit // distance)
    return gain.astype(np.int32)


def _key_numbers(truth: Truth, spec: Spec) -> NDArray[np.intp]:
    """Return the index of each digit's key in `keys_in_order`, (N, T, D)."""
    keys = keys_in_order(spec)
    key = np.where(truth.event == WALL, keys.index(spec.wall_key), truth.label[:, None].astype(np.intp))
    return np.where(truth.event == BLOCK, keys.index(spec.block_key), key)


def _tone_numbers(truth: Truth, spec: Spec) -> NDArray[np.intp]:
    """Return the row of `tones` that each digit sounds in each frame, (N, T, D)."""
    phase = np.arange(truth.frames) % spec.fps
    return _key_numbers(truth, spec) * spec.fps + phase[:, None]
