"""What a clip looks like: its frames."""

import numpy as np
from numpy.typing import NDArray

from mmnist_av.m3so.digits import Digits
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import Truth

_AT_ONCE = 8  # clips: their frames (2 MB) stay in the processor's cache while they are drawn
_WHITE = 255


def render_frames(truth: Truth, digits: Digits, spec: Spec, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The frames of the clips of `truth`: (N, T, canvas, canvas), 0..255, row 0 at the top.

    `digits` is the pool of the clips' own split. `out`, C-contiguous and of that shape, is drawn into if given.
    """
    if out is None:
        out = np.empty((len(truth), spec.frames, spec.canvas, spec.canvas), np.uint8)
    scratch = np.empty((_AT_ONCE * spec.frames + 1) * spec.canvas**2, np.uint8)  # a frame more: stamps reach over
    for first in range(0, len(truth), _AT_ONCE):
        part, frames = truth.clips(slice(first, first + _AT_ONCE)), out[first : first + _AT_ONCE]
        frames[...] = _draw_digit(part, 0, digits, spec, scratch)
        for digit in range(1, spec.digits_per_clip):
            np.maximum(frames, _draw_digit(part, digit, digits, spec, scratch), out=frames)
        _draw_block(part, spec, frames)
    return out


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
    clip, frame = np.nonzero((first >= 0) & (np.arange(spec.frames) >= first))
    x, y = truth.block_place[clip].T
    row = spec.canvas - spec.block - y[:, None] + np.arange(spec.block)
    places = ((clip * spec.frames + frame)[:, None] * spec.canvas + row) * spec.canvas + x[:, None]
    white = np.full(spec.block, _WHITE, np.uint8).view(f"V{spec.block}")
    _windows(frames.reshape(-1), spec.block)[places] = white


def _windows(pixels: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """Every run of `width` pixels as one element, so that numpy copies a run at a time: (len(pixels) - width + 1,)."""
    return np.ndarray(len(pixels) - width + 1, f"V{width}", buffer=pixels.data, strides=(1,))
