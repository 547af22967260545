"""What a clip looks like: its frames, and which pixels of them are what and come from where."""

import numpy as np
from numpy.typing import NDArray

from mmnist_av.m3so.digits import Digits
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import Truth
from mmnist_av.system.errors import InputError

_AT_ONCE = 2_000_000  # pixels, those of 8 clips of M3SO: they stay in the processor's cache while they are drawn
_WHITE = 255

Flags = NDArray[np.bool_]


def render_frames(truth: Truth, digits: Digits, spec: Spec, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The frames of the clips of `truth`: (N, T, canvas, canvas), 0..255, row 0 at the top.

    `digits` is the pool of the clips' own split. `out`, C-contiguous and of that shape, is drawn into if given.
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
    """Which pixels are the block's: (N, T, canvas, canvas), row 0 at the top."""
    x, y = truth.block_place[:, :, None].transpose(1, 0, 2).astype(np.int32)
    first = truth.block_first_frame[:, None].astype(np.int32)
    shown = (first >= 0) & (np.arange(truth.frames) >= first)
    column, row = np.arange(spec.canvas), spec.canvas - 1 - np.arange(spec.canvas)
    columns = (column >= x) & (column < x + truth.block_size[:, None])
    rows = (row >= y) & (row < y + truth.block_size[:, None])
    return shown[:, :, None, None] & (rows[:, :, None] & columns[:, None, :])[:, None]


def ink_masks(truth: Truth, digits: Digits, spec: Spec) -> Flags:
    """Which pixels each digit inks: (N, T, D, canvas, canvas), row 0 at the top; `digits`: the split's pool.

    Two digits may ink one pixel; the picture shows the brighter.
    """
    return _ink(truth, digits, spec) > 0


def backward_flow(truth: Truth, spec: Spec, digits: Digits | None = None) -> NDArray[np.float32]:
    """Where the matter at a pixel was one frame earlier: (N, T - 1, 2, canvas, canvas), dx (right) and dy (down), px.

    Entry t is about frame t + 1: frame[t + 1][row, column] is frame[t][row + dy, column + dx]. The matter is the ink
    boxes; all else is 0. Where boxes overlap, it is the brighter digit's, for which the split's pool is needed.
    Raises InputError without it if there is more than one digit.
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
    """Which pixels each digit's ink box covers: (N, T, D, canvas, canvas)."""
    x, y = np.moveaxis(truth.position // spec.subpixels, -1, 0)[..., None]
    width, height = np.moveaxis(truth.size[:, None], -1, 0)[..., None]
    column, row = np.arange(spec.canvas), spec.canvas - 1 - np.arange(spec.canvas)
    columns, rows = (column >= x) & (column < x + width), (row >= y) & (row < y + height)
    boxes: Flags = rows[..., :, None] & columns[..., None, :]
    return boxes


def _ink(truth: Truth, digits: Digits, spec: Spec) -> NDArray[np.uint8]:
    """Each digit on black: (N, T, D, canvas, canvas)."""
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
    """Room for the frames of as many clips, and for a frame more, as stamps reach over."""
    clip = truth.frames * spec.canvas**2
    return np.empty(max(1, _AT_ONCE // clip) * clip + spec.canvas**2, np.uint8)


def _draw_digit(truth: Truth, digit: int, digits: Digits, spec: Spec, scratch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One digit of each clip on black: (N, T, canvas, canvas), drawn in `scratch`.

    A stamp is the digit's 20 rows at the canvas's pitch, written in one piece from its upper left corner. Its black
    runs over the left of the next row, where the digit is not, and over the top of the next frame. So later frames
    must be written later: the places ascend, and numpy assigns in their order.
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
    """The block over what is there, which is black: the block and the digits never overlap."""
    first = truth.block_first_frame[:, None]
    clip, frame = np.nonzero((first >= 0) & (np.arange(truth.frames) >= first))
    x, y = truth.block_place[clip].T
    row = spec.canvas - spec.block - y[:, None] + np.arange(spec.block)
    places = ((clip * truth.frames + frame)[:, None] * spec.canvas + row) * spec.canvas + x[:, None]
    white = np.full(spec.block, _WHITE, np.uint8).view(f"V{spec.block}")
    _windows(frames.reshape(-1), spec.block)[places] = white


def _windows(pixels: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """Every run of `width` pixels as one element, so that numpy copies a run at a time: (len(pixels) - width + 1,)."""
    return np.ndarray(len(pixels) - width + 1, f"V{width}", buffer=pixels.data, strides=(1,))
