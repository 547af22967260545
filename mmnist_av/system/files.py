"""Files that appear complete or not at all, one writer per folder, and comparison with recorded hashes."""

import fcntl
import filecmp
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mmnist_av.system.errors import NO_ROOM, InputError

# Nobody else's files end like these: such a file may be deleted when the process that wrote it is gone
LOCK = ".mmnist-av.lock"
PART = ".mmnist-av.part"

_CHUNK = 1 << 18  # bytes read at a time: they are hashed while still in the cache of the processor


def sync_folder(folder: Path) -> None:
    """Write the entries of `folder` to the disk, so that renames inside it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(part: Path, path: Path) -> None:
    """Sync the finished file `part` to the disk and rename it to `path`, in the same folder."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def real_path(path: Path) -> Path:
    """Return the absolute path that a path leads to, over all links; of a circular link, a path of that link."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a circular link


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Name `path` in the system's errors while the block runs, in place of its temporary file.

    Of a full disk, too, of which the system does not say which file had no room.
    """
    try:
        yield
    except OSError as error:
        of_part = error.filename is not None and is_leftover(Path(os.fsdecode(error.filename)))
        if of_part or (error.errno in NO_ROOM and error.filename is None):
            error.filename = str(path)
        raise


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Create `folder` and hold its lock while the block runs, against processes on this machine and on others.

    Raises InputError if another process holds the lock, or if `folder` is a file.
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
            with named_in_errors(folder):
                yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, lock: Path) -> bool:
    """Return whether this process now holds the lock on the open file, and `lock` still names that file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == lock.stat().st_ino
    except (BlockingIOError, FileNotFoundError):  # locked by another writer, or removed by the one that had locked it
        return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, remove it if the block fails.

    Of a link, the file that it leads to is written. Raises InputError where `path` is a folder, a pipe or a device.
    """
    path = real_path(path) if path.is_symlink() else path
    if not path.name or (os.path.lexists(path) and not path.is_file()):
        raise InputError(f"'{path}' is no file that can be written: name another one")
    part = _temporary(path)
    with named_in_errors(path):
        try:
            yield part
            publish(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def written_once(path: Path, remedy: str = "move it away, or choose another --out") -> Iterator[Path]:
    """Yield a temporary path as `written_whole`, but replace no file: an existing one with the same bytes stays.

    Raises InputError, which advises the remedy, if `path` exists with other bytes.
    """
    part = _temporary(path)
    with named_in_errors(path):
        try:
            yield part
            if not os.path.lexists(path):
                publish(part, path)
            elif not path.is_file() or not filecmp.cmp(part, path, shallow=False):
                raise InputError(f"{path} exists and is something else: {remedy}")
        finally:
            part.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{PART}")


def is_leftover(path: Path) -> bool:
    """Return whether `path` was left by a killed process: an incomplete file of `written_whole`, or a lock."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(PART))


def remove_leftovers(folder: Path) -> None:
    """Remove the incomplete files of `written_whole` from `folder` and its subfolders."""
    for path in folder.rglob(f".*{PART}"):
        if path.is_file():
            path.unlink()


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises ValueError for other text, for one that is nested too deeply, and for one that gives a name twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_twice)
    except RecursionError as error:
        raise ValueError("JSON of fewer nested lists and objects expected") from error


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == each for each, _ in pairs) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def sha256(path: Path, advance: Callable[[int], None] = lambda size: None) -> str:
    """Return the SHA-256 of a file, in hexadecimal. `advance` is called with the size of each part that was read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while part := file.read(_CHUNK):
            digest.update(part)
            advance(len(part))
    return digest.hexdigest()


def regular(path: Path) -> Path:
    """Return `path`, which may be missing. Raises OSError for a pipe or a device: reading from it may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file")
    return path


FileState = tuple[int, int]  # what differs when a file was written again; not its inode, which some mounts invent


def state_of(path: Path) -> FileState | None:
    """Return the state of a file: its size in bytes and its time of modification in ns; None where it is missing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def refuse_changed(states: Mapping[Path, FileState | None]) -> None:
    """Raise InputError for the first file that no longer has the state that it had."""
    for path, state in states.items():
        if state_of(path) != state:
            raise InputError(f"{path} was changed or replaced while it was used: give the same command again")


MISSING, CHANGED = "is missing", "has changed"  # as `changed_files` says it


def why_no_file(path: Path) -> str:
    """Return why `path` is no file: because it is MISSING, or because something else has its name."""
    return "is no regular file" if os.path.lexists(path) else MISSING


def changed_files(
    folder: Path, files: Mapping[str, Mapping[str, Any]], advance: Callable[[int], None] = lambda size: None
) -> dict[str, str]:
    """Compare the files of `folder` with their recorded facts; return what differs by file name, {} if nothing does.

    files: by name, {"sha256": hexadecimal, "bytes": size}; "bytes" may be left out. `advance` is called with the
    bytes that were compared; for a file of another size, with the recorded size.
    """
    found = {}
    for name, facts in files.items():
        file, size = folder / name, facts.get("bytes")
        if not file.is_file():
            found[name] = why_no_file(file)
            advance(size or 0)
        elif size is not None and file.stat().st_size != size:
            found[name] = f"has {file.stat().st_size} bytes, not {size}"
            advance(size)
        elif sha256(file, advance) != facts["sha256"]:
            found[name] = CHANGED
    return found


class GrowingArray:
    """An .npy file of known shape that is written item by item and hashed on the way.

    The file has the ending PART until `finish`. To resume an unfinished file, call `matches` for the number of
    items that should be there, and `keep` if it returns True; `append` then writes behind these items.
    Raises OSError, and InputError if the path is that of something else.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike, finished: str) -> None:
        """Open the array; `finished` is the SHA-256 of the file that an earlier writer has finished, or "".

        Only such a file is taken for its own, to be written again from any item on.
        """
        self._path, self._part = path, path.with_name(f"{path.name}{PART}")
        self._header = _npy_header(shape, dtype)
        if path.exists():  # this file was finished, but its process was killed before the others were
            if not path.is_file() or sha256(path) != finished:
                raise InputError(f"{path} exists and is something else: move it away, or choose another --out")
            path.replace(self._part)
        self._item_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        self._hash = hashlib.sha256(self._header)
        self._end = len(self._header)
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o666)
        self._write(self._header, 0)

    def matches(self, items: int, digest: str) -> bool:
        """Return whether the header and the first `items` items of the file have the SHA-256 `digest`."""
        self._read_hash = self._hash.copy()
        self._read_end = len(self._header) + items * self._item_bytes
        at = self._end
        while at < self._read_end and (chunk := os.pread(self._descriptor, min(_CHUNK, self._read_end - at), at)):
            self._read_hash.update(chunk)
            at += len(chunk)
        return at == self._read_end and self._read_hash.hexdigest() == digest

    def keep(self) -> None:
        """Keep the items of the last `matches`: the next `append` writes behind them."""
        self._hash, self._end = self._read_hash, self._read_end

    def append(self, items: NDArray[np.generic]) -> str:
        """Write C-contiguous items behind those written so far; return the SHA-256 of the file up to here."""
        content = items.reshape(-1).view(np.uint8).data
        self._write(content, self._end)
        self._hash.update(content)
        self._end += len(content)
        # Start writing to the disk now and free the cached pages that are written already: fresh memory for the whole
        # file would cost several times what the copying does.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, self._end, os.POSIX_FADV_DONTNEED)
        return self._hash.hexdigest()

    def finish(self) -> str:
        """Sync the file to the disk and rename it to its final name; return its SHA-256."""
        os.ftruncate(self._descriptor, self._end)
        self.close()
        publish(self._part, self._path)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file, finished or not."""
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
