"""What an exported clip consists of, and what a form of export is."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import ArrayType, Record, find
from mmnist_av.manifest import array_types, format_of

FILE = 200_000_000  # bytes of frames and sound in a tar or parquet file, at most


@dataclass(frozen=True)
class Clip:
    """One clip that is exported or imported."""

    index: int
    frames: NDArray[np.uint8]  # (T, H, W) or (T, H, W, 3)
    audio: NDArray[np.int16]  # (samples,)
    arrays: Mapping[str, NDArray[Any]]  # stored annotations by name
    record: Mapping[str, NDArray[Any]]  # fields of the family's record; {} without one


@dataclass(frozen=True)
class Layout:
    """What each clip of a dataset consists of."""

    format: ClipFormat
    arrays: tuple[str, ...]  # names of stored annotations
    record: Record | None
    types: Mapping[str, ArrayType]  # of frames, audio, stored annotations and the record's fields, by name

    def refuse_large(self, name: str, size: int) -> None:
        """Raise ValueError if `size` bytes, which a file or row called `name` claims, are more than a clip can need.

        It is not read then: a few bytes may claim to hold gigabytes, and memory would be reserved for them.
        """
        record = self.record.fields.values() if self.record else ()
        stored = [kind for name, kind in self.types.items() if self.record is None or name not in self.record.fields]
        values = sum(math.prod(kind.shape) * kind.dtype.itemsize for kind in stored)
        numbers = sum(math.prod(kind.shape) for kind in record)
        most = 2 * values + 64 * numbers + 1024 * (self.format.frames + 64)  # numbers as text; headers, one per picture
        if size > most:
            raise ValueError(f"{name} has {size} bytes; those of a clip of this format are {most} at most")


def layout_of(manifest: Mapping[str, Any]) -> Layout:
    """Return the layout of the clips of a manifest's dataset."""
    clips, types = format_of(manifest), array_types(manifest)
    record = find(manifest["family"]).record(manifest)
    arrays = tuple(name for name in types if name not in clips.arrays)
    return Layout(clips, arrays, record, {**types, **(record.fields if record else {})})


def batched(clips: Iterator[Clip], layout: Layout) -> Iterator[list[Clip]]:
    """Yield as many clips at a time as a file may hold."""
    some: list[Clip] = []
    for clip in clips:
        some.append(clip)
        if (len(some) + 1) * layout.format.clip_bytes > FILE:
            yield some
            some = []
    if some:
        yield some


Writer = Callable[[Path, Layout, str, Iterator[Clip]], None]
Reader = Callable[[Path, Layout, str, int], Iterator[Clip]]


@dataclass(frozen=True)
class Form:
    """A form: how clips are written and read."""

    writer: Writer
    reader: Reader
    mark: str  # a pattern that matches a file of this form, and of no other
    rows: Callable[[Layout], str]  # the rows of the card's table of files
