"""Render the frames of a clip, the masks of its digits and its block, and its optical flow."""

import numpy as np
from numpy.typing import NDArray

from mmnist_av.m3so.digits import Digits
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import Truth
from mmnist_av.system.errors import InputError

_AT_ONCE = 2_000_000  # pixels, those of 8 clips of M3SO: they stay in the processor's cache while they are rendered
_WHITE = 255

Flags = NDArray[np.bool_]


def render_frames(truth: Truth, digits: Digits, spec: Spec, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the frames of the clips of `truth`: (N, T, canvas, canvas) uint8, row 0 at the top.

    digits: the pool of the clips' split; out: a C-contiguous array of that shape to render into, None: a new one.
    """
    if out is None:
        out = np.empty((len(truth), truth.frames, spec.canvas, spec.canvas), np.uint8)
    scratch = _scratch(truth, spec)
    for some in _some_at_once(truth, spec):
        part, frames = truth.clips(some), out[some]
        frames[...] = _draw_digit(part, 0, digits, spec, scratch)
        for digit in range(1, spec.digits_per_clip):
            np.maximum(frames, _draw_digit(part, digit, digits, spec, scratch), out=frames)
        _draw_block(part, spec, frames)
    return out


def block_mask(truth: Truth, spec: Spec) -> Flags:
    """Return the mask of the block: (N, T, canvas, canvas), row 0 at the top."""
    x, y = truth.block_place[:, :, None].transpose(1, 0, 2).astype(np.int32)
    first = truth.block_first_frame[:, None].astype(np.int32)
    shown = (first >= 0) & (np.arange(truth.frames) >= first)
    column, row = np.arange(spec.canvas), spec.canvas - 1 - np.arange(spec.canvas)
    columns = (column >= x) & (column < x + truth.block_size[:, None])
    rows = (row >= y) & (row < y + truth.block_size[:, None])
    return shown[:, :, None, None] & (rows[:, :, None] & columns[:, None, :])[:, None]


def ink_masks(truth: Truth, digits: Digits, spec: Spec) -> Flags:
    """Return the mask of each digit's ink: (N, T, D, canvas, canvas), row 0 at the top; `digits`: the split's pool.

    The ink of two digits may overlap; the frame shows the brighter one.
    """
    return _ink(truth, digits, spec) > 0


def backward_flow(truth: Truth, spec: Spec, digits: Digits | None = None) -> NDArray[np.float32]:
    """Return the backward flow (N, T - 1, 2, canvas, canvas): dx (right) and dy (down), px.

    Entry t belongs to frame t + 1: frame[t + 1][row, column] is frame[t][row + dy, column + dx]. The pixels of ink
    boxes move, all others have flow 0. Where ink boxes overlap, the flow is that of the brighter digit, for which the
    split's pool `digits` is needed. Raises InputError for several digits without a pool.
    """
    if spec.digits_per_clip > 1 and digits is None:
        raise InputError("the flow of several digits needs their images: give the split's pool of digits")
    left, bottom = np.moveaxis(truth.position // spec.subpixels, -1, 0).astype(np.int32)
    step = np.stack([left[:, :-1] - left[:, 1:], bottom[:, 1:] - bottom[:, :-1]], axis=2)  # (N, T - 1, 2, D)
    shown = _boxes(truth, spec)[:, 1:]
    if digits is not None and spec.digits_per_clip > 1:
        ink = np.where(shown, _ink(truth, digits, spec)[:, 1:].astype(np.int16), -1)
        brightest = ink.argmax(axis=2)[:, :, None]
        shown &= np.arange(spec.digits_per_clip)[:, None, None] == brightest
    flow = np.zeros((len(truth), truth.frames - 1, 2, spec.canvas, spec.canvas), np.float32)
    for digit in range(spec.digits_per_clip):
        flow += step[..., digit, None, None] * shown[:, :, None, digit]
    return flow


def _boxes(truth: Truth, spec: Spec) -> Flags:
    """Return the mask of each digit's ink box: (N, T, D, canvas, canvas)."""
    x, y = np.moveaxis(truth.position // spec.subpixels, -1, 0)[..., None]
    width, height = np.moveaxis(truth.size[:, None], -1, 0)[..., None]
    column, row = np.arange(spec.canvas), spec.canvas - 1 - np.arange(spec.canvas)
    columns, rows = (column >= x) & (column < x + width), (row >= y) & (row < y + height)
    boxes: Flags = rows[..., :, None] & columns[..., None, :]
    return boxes


def _ink(truth: Truth, digits: Digits, spec: Spec) -> NDArray[np.uint8]:
    """Return each digit on black: (N, T, D, canvas, canvas)."""
    ink = np.empty((len(truth), truth.frames, spec.digits_per_clip, spec.canvas, spec.canvas), np.uint8)
    scratch = _scratch(truth, spec)
    for some in _some_at_once(truth, spec):
        for digit in range(spec.digits_per_clip):
            ink[some, :, digit] = _draw_digit(truth.clips(some), digit, digits, spec, scratch)
    return ink


def _some_at_once(truth: Truth, spec: Spec) -> list[slice]:
    count = max(1, _AT_ONCE // (truth.frames * spec.canvas**2))
    return [slice(first, first + count) for first in range(0, len(truth), count)]


def _scratch(truth: Truth, spec: Spec) -> NDArray[np.uint8]:
    """Return room for the frames of as many clips, and for one frame more, since stamps reach past the last."""
    clip = truth.frames * spec.canvas**2
    return np.empty(max(1, _AT_ONCE // clip) * clip + spec.canvas**2, np.uint8)


def _draw_digit(truth: Truth, digit: int, digits: Digits, spec: Spec, scratch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw one digit of each clip on black in `scratch`; return the frames (N, T, canvas, canvas).

    A stamp is the digit's 20 rows, each as long as a row of the canvas, copied in one piece to the digit's upper left
    corner. Its black margin also overwrites the start of the next row, where the digit has no ink, and the top of the
    next frame. So frames must be written in their order: the places ascend, and numpy assigns in that order.
    """
    canvas, (clips, frames) = spec.canvas, truth.position.shape[:2]
    stamps = np.zeros((clips, spec.ink, canvas), np.uint8)
    stamps[:, :, : spec.ink] = digits.tiles[truth.image[:, digit]]
    left, bottom = np.moveaxis(truth.position[:, :, digit] // spec.subpixels, -1, 0)
    top = canvas - bottom - truth.size[:, None, digit, 1]
    frame = np.arange(clips * frames).reshape(clips, frames)
    places = (frame * canvas + top) * canvas + left
    scratch.fill(0)
    _windows(scratch, spec.ink * canvas)[places] = stamps.reshape(clips, -1).view(f"V{spec.ink * canvas}")
    return scratch[: clips * frames * canvas**2].reshape(clips, frames, canvas, canvas)


def _draw_block(truth: Truth, spec: Spec, frames: NDArray[np.uint8]) -> None:
    """Draw the block onto the frames, whose pixels are black there: block and digits never overlap."""
    first = truth.block_first_frame[:, None]
    clip, frame = np.nonzero((first >= 0) & (np.arange(truth.frames) >= first))
    x, y = truth.block_place[clip].T
    row = spec.canvas - spec.block - y[:, None] + np.arange(spec.block)
    places = ((clip * truth.frames + frame)[:, None] * spec.canvas + row) * spec.canvas + x[:, None]
    white = np.full(spec.block, _WHITE, np.uint8).view(f"V{spec.block}")
    _windows(frames.reshape(-1), spec.block)[places] = white


def _windows(pixels: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """View every run of `width` pixels as one element, (len(pixels) - width + 1,), so that numpy copies whole runs."""
    return np.ndarray(len(pixels) - width + 1, f"V{width}", buffer=pixels.data, strides=(1,))
