"""Scores on disk while they are computed: one record per clip, appended as soon as it is known.

A file is a line of JSON with its CRC-32, then records of one size: float32 arrays and their CRC-32. What a killed
process left half written, and whatever follows it, is cut off when the file is opened again.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.floating]]
CHECKSUM = "checksum"


class Recorder:
    """Appends the records of the clips 0, 1, ... to a file; keeps what an earlier process wrote for the same purpose.

    about: what the records are, any JSON value; records about anything else are discarded. count: the number of clips.
    Every clip's arrays must have the same names and shapes.
    """

    def __init__(self, path: Path, about: object, count: int) -> None:
        self.path, self.about, self.count = path, about, count
        self._header, self.done = _whole(path, about, count)  # done: clips with a record
        self._file: BinaryIO = path.open("r+b" if self.done else "wb")
        if self.done:
            self._file.truncate(len(self._header) + self.done * _layout(self._header).itemsize)
            self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, arrays: Arrays) -> None:
        """Write the record of the next clip. Raises ValueError where its arrays are not like those before."""
        single = {name: np.asarray(values, np.float32) for name, values in arrays.items()}
        if not self._header:
            self._header = _make_header(self.about, single)
            self._file.write(self._header)
        layout = _layout(self._header)
        content = b"".join(single[name].tobytes() for name in layout.names or () if name != CHECKSUM)
        record = content + zlib.crc32(content).to_bytes(4, "little")
        if len(record) != layout.itemsize:
            raise ValueError(f"a record of {len(record)} bytes among records of {layout.itemsize}")
        self._file.write(record)
        self._file.flush()
        self.done += 1

    def records(self) -> NDArray[Any]:
        """Return the records of all clips, (count,) with named fields, mapped into memory; once all are written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        mapped: NDArray[Any] = np.memmap(self.path, _layout(self._header), "r", len(self._header), (self.count,))
        return mapped


def _make_header(about: object, arrays: Arrays) -> bytes:
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
    """Return the file's header and the number of whole records at its start; nothing and 0 where it is of no use."""
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
