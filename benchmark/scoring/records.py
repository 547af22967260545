"""Scores on disk while they come: one record a clip, appended as soon as it is there.

A file is a line of JSON and its CRC-32, then records of one size: float32 arrays and their CRC-32. What a
process that was killed left half written, and whatever lies behind it, is cut off when the file is opened again.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmnist_av.system.progress import track

Arrays = Mapping[str, NDArray[np.floating]]
CHECKSUM = "checksum"


def record_all(measure: Callable[[int], Arrays], count: int, path: Path, about: object, doing: str) -> NDArray[Any]:
    """The records of the clips 0 .. count - 1, (count,) of named fields, mapped into memory.

    What an earlier call for the same things `about` (whatever JSON can say) left in `path` is kept; the other clips
    are measured and appended. Every clip's arrays must have the same names and shapes.
    """
    header, done = _whole(path, about, count)
    with path.open("r+b" if done else "wb") as file:
        if done:
            file.truncate(len(header) + done * _layout(header).itemsize)
            file.seek(0, os.SEEK_END)
        for index in track(range(done, count), doing, count, done):
            arrays = {name: np.asarray(values, np.float32) for name, values in measure(index).items()}
            if not header:
                header = _header(about, arrays)
                file.write(header)
            _append(file, arrays, _layout(header))
        file.flush()
        os.fsync(file.fileno())
    records: NDArray[Any] = np.memmap(path, _layout(header), "r", len(header), (count,))
    return records


def _append(file: BinaryIO, arrays: Arrays, layout: np.dtype[Any]) -> None:
    content = b"".join(arrays[name].tobytes() for name in layout.names or () if name != CHECKSUM)
    record = content + zlib.crc32(content).to_bytes(4, "little")
    if len(record) != layout.itemsize:
        raise ValueError(f"a record of {len(record)} bytes among records of {layout.itemsize}")
    file.write(record)
    file.flush()


def _header(about: object, arrays: Arrays) -> bytes:
    fields = {name: values.shape for name, values in arrays.items()}
    content = json.dumps({"about": about, "fields": fields}).encode()
    return content + b" %08x\n" % zlib.crc32(content)


def _layout(header: bytes) -> np.dtype[Any]:
    fields = _read_header(header)["fields"].items()
    return np.dtype([*((name, "<f4", tuple(shape)) for name, shape in fields), (CHECKSUM, "<u4")])


def _read_header(header: bytes) -> Any:
    content, _, checksum = header.rstrip(b"\n").rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        raise ValueError("the header has changed")
    return json.loads(content)


def _whole(path: Path, about: object, count: int) -> tuple[bytes, int]:
    """The header of the file and how many whole records are at its start; nothing and 0 where it is no use."""
    try:
        with path.open("rb") as file:
            header = file.readline()
            if _read_header(header)["about"] != json.loads(json.dumps(about)):
                return b"", 0
            size, done = _layout(header).itemsize, 0
            while done < count and len(record := file.read(size)) == size:
                if zlib.crc32(record[:-4]) != int.from_bytes(record[-4:], "little"):
                    break
                done += 1
    except (OSError, ValueError):
        return b"", 0
    return (header, done) if done else (b"", 0)
