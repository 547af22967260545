"""Simulate what happens in a clip: positions, velocities, bounces and the block, in integers, all clips at once.

Here the clips are the last axis of an array, (2, D, N) or (D, N), so that one step is a few operations on long rows;
axis 0 of a position is x (right) and y (up). In `Truth` the clips are the first axis.
"""

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.families import ArrayType
from mmnist_av.m3so.digits import Digits
from mmnist_av.m3so.philox import uniforms
from mmnist_av.m3so.spec import BLOCK, MOST_CLIPS, NONE, SPLIT_IDS, WALL, Spec

Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]

_DRAWS_AT_ONCE = 430_000  # random numbers, 3 MB: those of 4096 clips of M3SO


def _stored(dtype: type[np.integer], axes: str = "") -> dict[str, Any]:
    """Describe a field of Truth: its type, and its axes after that of the clips (T frames, D digits, 2: x and y)."""
    return {"dtype": np.dtype(dtype), "axes": axes}


@dataclass(frozen=True)
class Truth:
    """What was drawn for N clips of D digits and T frames, and what followed from it."""

    # (N, D) the digit's class, which is its telephone key
    label: NDArray[np.uint8] = field(metadata=_stored(np.uint8, "D"))
    # (N, D) number of the digit's image in the split's pool
    image: NDArray[np.int32] = field(metadata=_stored(np.int32, "D"))
    # (N, T, D, 2) x, y of the ink box's lower-left corner, 1/256 px, y up
    position: NDArray[np.int16] = field(metadata=_stored(np.int16, "TD2"))
    # (N, D, 2) width and height of the ink box, px
    size: NDArray[np.int16] = field(metadata=_stored(np.int16, "D2"))
    # (N, T, D) 0 nothing, 1 wall, 2 block
    event: NDArray[np.uint8] = field(metadata=_stored(np.uint8, "TD"))
    # (N, 2) x, y of the block's lower-left corner, px, y up; -1 without a block
    block_place: NDArray[np.int16] = field(metadata=_stored(np.int16, "2"))
    # (N,) px, both sides; 0 without a block
    block_size: NDArray[np.int16] = field(metadata=_stored(np.int16))
    # (N,) index of the first frame that shows the block; -1 without a block
    block_first_frame: NDArray[np.int16] = field(metadata=_stored(np.int16))

    def __len__(self) -> int:
        return len(self.label)

    def clips(self, which: slice) -> "Truth":
        """Return the truth of some of the clips, as views."""
        return Truth(**{name: array[which] for name, array in self.arrays().items()})

    @property
    def frames(self) -> int:
        """T."""
        return self.position.shape[1]

    def until(self, frames: int) -> "Truth":
        """Return the truth of the first `frames` frames, as views; the block may appear later."""
        return replace(self, position=self.position[:, :frames], event=self.event[:, :frames])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every field by its name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def truth_types(spec: Spec) -> dict[str, ArrayType]:
    """Return the shape and type that each field of Truth has for one clip of `spec`."""
    sizes = {"T": spec.frames, "D": spec.digits_per_clip, "2": 2}
    return {
        f.name: ArrayType(tuple(sizes[axis] for axis in f.metadata["axes"]), f.metadata["dtype"]) for f in fields(Truth)
    }


def simulate(digits: Digits, spec: Spec, seed: int, split: str, indexes: NDArray[np.integer]) -> Truth:
    """Simulate the clips `indexes` (N,) of `split` under `seed`, with the split's pool `digits`; return their truth.

    A clip depends on its own index, not on the other clips that are simulated with it. Raises IndexError for an index
    that is not within 0 and 2**32 - 1.
    """
    if len(indexes) and not 0 <= indexes.min() <= indexes.max() < MOST_CLIPS:
        raise IndexError(f"clips are numbered 0 to {MOST_CLIPS - 1}, not {indexes.min()} to {indexes.max()}")
    streams = np.uint64(SPLIT_IDS[split] * 2**32) + indexes.astype(np.uint64)
    count = max(1, _DRAWS_AT_ONCE // _draws(spec))
    parts = [
        _simulate(digits, spec, seed, streams[first : first + count]) for first in range(0, max(len(streams), 1), count)
    ]
    return Truth(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Truth)})


def _simulate(digits: Digits, spec: Spec, seed: int, streams: NDArray[np.uint64]) -> Truth:
    count, clips = spec.digits_per_clip, len(streams)
    draws = uniforms(seed, streams, _draws(spec))
    which, start, pace, direction, turns = _split_draws(draws, count)
    image = _floor(which * len(digits))
    size = digits.size[image].transpose(2, 0, 1).astype(np.int32)
    extent = size * spec.subpixels
    limit = spec.canvas * spec.subpixels - extent
    position = _floor(start * (limit + 1))
    speed = _floor(pace * spec.speeds)
    velocity = _velocity(spec, speed, _floor(direction * spec.turn))
    block = _Block(spec, clips, draws[5 * count])
    positions = np.empty((spec.frames, 2, count, clips), np.int16)
    events = np.full((spec.frames, count, clips), NONE, np.uint8)
    positions[0] = position
    for t in range(1, spec.frames):
        moved = position + velocity
        contact = _hit_walls(moved, limit)
        events[t][contact.any(axis=0)] = WALL
        events[t][block.hit(position, moved, contact, extent)] = BLOCK
        position = positions[t] = moved
        _turn_round(spec, velocity, speed, contact, turns[t - 1])
        block.appear(t, position, extent)
    return Truth(
        label=digits.label[image].T.copy(),
        image=image.T.copy(),
        position=positions.transpose(3, 0, 2, 1).copy(),
        size=size.transpose(2, 1, 0).astype(np.int16),
        event=events.transpose(2, 0, 1).copy(),
        block_place=block.place.T.astype(np.int16),
        block_size=np.where(block.first_frame >= 0, spec.block, 0).astype(np.int16),
        block_first_frame=block.first_frame.astype(np.int16),
    )


def _draws(spec: Spec) -> int:
    """Return the number of random numbers per clip."""
    return 1 + 5 * spec.digits_per_clip + (spec.frames - 1) * spec.digits_per_clip


def _floor(values: NDArray[np.float64]) -> Ints:
    return np.floor(values).astype(np.int32)


def _split_draws(draws: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], ...]:
    """Split a clip's draws: image (D, N), start (2, D, N), speed and direction (D, N), turns (T - 1, D, N)."""
    image, x, y, speed, direction = draws[: 5 * count].reshape(count, 5, -1).transpose(1, 0, 2)
    turns = draws[5 * count + 1 :].reshape(-1, count, draws.shape[1])
    return image, np.stack([x, y]), speed, direction, turns


@functools.lru_cache(maxsize=4)
def _velocities(spec: Spec) -> Ints:
    """Return every possible velocity, (2, speeds, turn), 1/256 px per frame."""
    angle = 2 * np.pi * np.arange(spec.turn) / spec.turn
    speed = spec.subpixels * (spec.slowest + np.arange(spec.speeds))[:, None]
    return np.rint(np.stack([speed * np.cos(angle), speed * np.sin(angle)])).astype(np.int32)


def _velocity(spec: Spec, speed: Ints, direction: Ints) -> Ints:
    return _velocities(spec)[:, speed, direction]


def _hit_walls(moved: Ints, limit: Ints) -> NDArray[np.int8]:
    """Move `moved` (2, D, N) back inside the walls, in place; return the contact per axis, inwards: +1, 0 or -1."""
    contact = (moved < 0).astype(np.int8) - (moved > limit).astype(np.int8)
    np.clip(moved, 0, limit, out=moved)
    return contact


@functools.lru_cache(maxsize=4)
def _bounces(spec: Spec) -> tuple[Ints, Ints]:
    """Return centre and half width of the directions after a contact, (3, 3) each, indexed by its x and y plus 1."""
    eighth = spec.turn // 8
    right, up = np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij")
    centre = np.rint(np.arctan2(up, right) / (np.pi / 4)).astype(np.int32) % 8 * eighth
    half = np.where((right != 0) & (up != 0), spec.corner_spread, spec.wall_spread).astype(np.int32)
    return centre, half


def _turn_round(spec: Spec, velocity: Ints, speed: Ints, contact: NDArray[np.int8], turn: NDArray[np.float64]) -> None:
    """Turn the velocities of the digits in contact away from it, in place; `turn` (D, N) is in [0, 1)."""
    if spec.bounce == "specular":
        np.copyto(velocity, contact * np.abs(velocity), where=contact != 0)
        return
    touched = contact.any(axis=0)
    x, y = contact[:, touched]
    centre, half = (table[x + 1, y + 1] for table in _bounces(spec))
    direction = (centre + _floor((2 * turn[touched] - 1) * half)) % spec.turn
    velocity[:, touched] = _velocity(spec, speed[touched], direction)


class _Block:
    """The block of every clip: it has not appeared yet, or it stays where it is."""

    def __init__(self, spec: Spec, clips: int, draw: NDArray[np.float64]) -> None:
        self.spec = spec
        self.draw = draw  # (N,) in [0, 1): the random number that decides its place
        self.place = np.full((2, clips), -1, np.int32)  # px
        self.first_frame = np.full(clips, -1, np.int32)

    def hit(self, position: Ints, moved: Ints, contact: NDArray[np.int8], extent: Ints) -> Flags:
        """Move digits that ran into the block back to the face they hit, in place; return which did, (D, N)."""
        unit = self.spec.subpixels
        near = self.place[:, None] * unit
        far = near + self.spec.block * unit
        ran_in = (self.first_frame >= 0) & ((moved + extent > near) & (moved < far)).all(axis=0)
        if ran_in.any():
            to_near = ran_in & (position + extent <= near)
            to_far = ran_in & (position >= far)
            np.copyto(moved, near - extent, where=to_near)
            np.copyto(moved, far, where=to_far)
            contact[to_near] = -1
            contact[to_far] = 1
        hit: Flags = ran_in
        return hit

    def appear(self, t: int, position: Ints, extent: Ints) -> None:
        """Place the blocks that are due after the step of frame `t` where no ink box is; without room they stay due."""
        if not self.spec.obstacle or t < self.spec.block_frame:
            return
        due = np.flatnonzero(self.first_frame < 0)
        if not len(due):
            return
        free = self._free_places(position[:, :, due], extent[:, :, due])
        count = free.sum(axis=1)
        chosen = _floor(self.draw[due] * count)
        number = (np.cumsum(free, axis=1, dtype=np.int16) <= chosen[:, None]).sum(axis=1)
        placed = count > 0
        side = self.spec.canvas - self.spec.block + 1
        self.place[:, due[placed]] = np.stack([number % side, number // side])[:, placed]
        self.first_frame[due[placed]] = t

    def _free_places(self, position: Ints, extent: Ints) -> Flags:
        """Return which places (N, places), in px, sorted by y, then x, overlap no ink box."""
        unit = self.spec.subpixels
        near = np.arange(self.spec.canvas - self.spec.block + 1) * unit
        lower = position[..., None]
        overlap = (near < lower + extent[..., None]) & (near + self.spec.block * unit > lower)  # (2, D, N, places)
        in_x, in_y = overlap
        taken = (in_y[..., :, None] & in_x[..., None, :]).any(axis=0)
        return ~taken.reshape(len(taken), -1)
