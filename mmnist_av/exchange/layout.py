"""What an exported clip consists of, and what a form of export is."""

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
