"""What the entries of dataset.json may be.

Others may have written the file: its names become paths, and its numbers become sizes of arrays.
"""

import math
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from mmnist_av.system.errors import InputError

LIMIT = 2**63  # of clips, of bytes and of an array's values: numpy counts them in 64 bits
MOST_AXES = 63  # of one clip's part of an array: numpy has 64, and one is that of the clips
DTYPE = r"[<|][a-zA-Z]\d{1,9}(\[\w{1,9}\])?"  # as numpy writes a type of little-endian numbers: <f4, |u1, <M8[s]


def _inside(name: str) -> str:
    """Return the name of a file that lies in the dataset's folder. Raises InputError for any other name."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or name == "." or not name.isprintable():
        raise InputError(f"the file '{name}' does not lie in the dataset's folder")
    return name


def _shape(shape: list[int]) -> list[int]:
    """Return the shape of an array that a disk may hold. Raises InputError for any other."""
    if len(shape) > MOST_AXES or math.prod(shape) >= LIMIT:
        raise InputError(f"no array has the shape {shape}")
    return shape


def _dtype(text: str) -> str:
    """Return numpy's name of a type of little-endian numbers. Raises InputError for any other text."""
    try:
        usable = re.fullmatch(DTYPE, text) and np.dtype(text).newbyteorder("<").str == text
        usable = usable and not np.dtype(text).hasobject
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise InputError(f"no array has the dtype '{text}'")
    return text


def _shard(shard: list[int]) -> list[int]:
    """Return a shard's number and the number of shards. Raises InputError for other lists."""
    if len(shard) != 2 or not 1 <= shard[0] <= shard[1]:
        raise InputError(f"its number, from 1, and the number of shards are expected, not {shard}")
    return shard


Size = Annotated[int, Field(ge=0, lt=LIMIT)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, AfterValidator(_inside)]


class FileEntry(TypedDict):
    """A file of the dataset."""

    bytes: Size
    sha256: Sha256


class ArrayEntry(TypedDict):
    """The type of one clip's part of a stored annotation."""

    shape: Annotated[list[Size], AfterValidator(_shape)]
    dtype: Annotated[str, AfterValidator(_dtype)]
    per_frame: NotRequired[bool]


class ManifestEntries(TypedDict):
    """The entries of every dataset; a family has further ones of its own."""

    dataset: str  # its name
    family: str
    spec: dict[str, Any]
    sizes: dict[str, Size]  # clips by split
    format: dict[str, Any]  # see ClipFormat, which checks it
    annotations: list[str]
    arrays: NotRequired[dict[str, ArrayEntry]]
    shard: NotRequired[Annotated[list[Size], AfterValidator(_shard)]]
    files: dict[FileName, FileEntry]
    beside: dict[FileName, FileEntry]
    generator: str
    fingerprint: Sha256
    checksum: Sha256
