"""Whole files or none: write aside, fsync, rename."""

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mmnist_av.system.errors import InputError

LOCK = ".lock"

_CHUNK = 1 << 24  # bytes read at a time


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(part: Path, path: Path) -> None:
    """Give the finished file `part` its final name `path` (same folder), durably and at once."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make `folder` and let no other process, on this machine or another, be its writer while the block runs.

    Raises InputError if another is, or if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)  # network file systems lock files, not folders
    try:
        if not _locked(descriptor, lock):
            raise InputError(f"{folder} is being written by another process: wait for it, or choose another --out")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, lock: Path) -> bool:
    """Whether the open file is ours alone now, and still the one that others find."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == lock.stat().st_ino
    except (BlockingIOError, FileNotFoundError):  # held, or removed by the writer that held it
        return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; it becomes `path` when the block ends, and is removed if the block fails."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether `path` is what a process that was killed left: half a file of `written_whole`, or a lock."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(".part"))


def remove_leftovers(folder: Path) -> None:
    """Remove what `written_whole` left in `folder` and its subfolders."""
    for path in folder.rglob(".*.part"):
        path.unlink()


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class GrowingArray:
    """An .npy file of known shape that is written item by item, from the first on, and hashed on the way.

    It is called `<name>.part` until `finish`. One that was left unfinished is gone on with: `matches` reads on in it,
    and what was read is kept by `keep`; what is appended then replaces the rest. Raises OSError.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        if path.exists():  # finished by a process that was killed before the rest was
            path.replace(self._part)
        self._header = _npy_header(shape, dtype)
        self._item_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        self._hash = hashlib.sha256(self._header)
        self._end = len(self._header)
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o666)
        self._write(self._header, 0)

    def matches(self, items: int, digest: str) -> bool:
        """Whether the file up to and with its first `items` items has the SHA-256 `digest`. Read on, by `keep`."""
        self._read_hash = self._hash.copy()
        self._read_end = len(self._header) + items * self._item_bytes
        at = self._end
        while at < self._read_end and (chunk := os.pread(self._descriptor, min(_CHUNK, self._read_end - at), at)):
            self._read_hash.update(chunk)
            at += len(chunk)
        return at == self._read_end and self._read_hash.hexdigest() == digest

    def keep(self) -> None:
        """Go on behind the items of the last `matches`."""
        self._hash, self._end = self._read_hash, self._read_end

    def append(self, items: NDArray[np.generic]) -> str:
        """Write C-contiguous items. Returns the SHA-256 of the file up to and with them."""
        content = items.reshape(-1).view(np.uint8).data
        self._write(content, self._end)
        self._hash.update(content)
        self._end += len(content)
        # Have it written to the disk now rather than at the end, and let go of what was: taking fresh memory for the
        # whole file costs several times what the copying does.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, self._end, os.POSIX_FADV_DONTNEED)
        return self._hash.hexdigest()

    def finish(self) -> str:
        """Give the file its name, durably. Returns its SHA-256."""
        os.ftruncate(self._descriptor, self._end)
        self.close()
        publish(self._part, self._path)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let go of the file, finished or not."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, content: bytes | memoryview, at: int) -> None:
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._descriptor, rest, at)
            rest, at = rest[written:], at + written


def _npy_header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    header = io.BytesIO()
    description = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
