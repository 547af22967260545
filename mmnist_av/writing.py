"""Write the clips of any source to a dataset on disk, resuming what an earlier run left unfinished."""

import errno
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from mmnist_av.dataset import (
    MANIFEST,
    SPLITS,
    ClipFormat,
    Dataset,
    array_types,
    clips_of,
    complete_manifest,
    format_of,
    open_dataset,
    read_manifest,
    write_manifest,
)
from mmnist_av.exchange.card import write_card
from mmnist_av.families import PLAIN, ArrayType, find
from mmnist_av.journal import JOURNAL, Journal, open_journal, refuse_another
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import LOCK, GrowingArray, remove_leftovers, sha256, sole_writer, written_whole
from mmnist_av.system.progress import progress_bar

SHARD = 10_000_000  # bytes written at once, 25 clips of M3SO: they are hashed while still in the processor's cache


@dataclass(frozen=True)
class Clips:
    """N clips, as they are written."""

    frames: NDArray[np.uint8]  # (N, T, H, W) or (N, T, H, W, 3)
    audio: NDArray[np.int16]  # (N, samples)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # stored annotations by name, each (N, ...)

    def __len__(self) -> int:
        return len(self.frames)


class Source:
    """Where the clips of a dataset come from: the base class of all sources."""

    provenance: str  # an unfinished dataset is resumed only with clips of the same provenance

    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        """Yield the clips of `split` from number `first` on, several at a time; the arrays may be reused afterwards.

        Every call must give the same clips: they are requested again when writing is resumed.
        """
        raise NotImplementedError

    def record(self, split: str) -> Mapping[str, NDArray[Any]]:
        """Return the fields of the family's record for all clips of `split`, {} if the family has no record.

        Called after `clips` has ended.
        """
        return {}


class SingleClips(Source):
    """A source that gets its clips one by one from a function."""

    def __init__(self, provenance: str, clip: Callable[[str, int], Clips], requested: Mapping[str, Any]) -> None:
        """`clip` returns clip `number` of a split as Clips of length 1; `requested` is the dataset to write."""
        self.provenance = provenance
        self._clip, self._count = clip, clips_at_once(format_of(requested))
        self._clips = clips_of(requested)

    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        """Yield the clips that the function returns."""
        yield from joined((self._clip(split, number) for number in self._clips[split][first:]), self._count)


def joined(clips: Iterable[Clips], count: int) -> Iterator[Clips]:
    """Yield single clips joined to `count` at a time; the last may be fewer."""
    waiting: list[Clips] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == count:
            yield _concatenated(waiting)
            waiting = []
    if waiting:
        yield _concatenated(waiting)


def _concatenated(clips: list[Clips]) -> Clips:
    frames, audio = np.concatenate([clip.frames for clip in clips]), np.concatenate([clip.audio for clip in clips])
    return Clips(
        frames, audio, {name: np.concatenate([clip.arrays[name] for clip in clips]) for name in clips[0].arrays}
    )


def clips_at_once(format: ClipFormat) -> int:
    """Return how many clips are rendered and written at once."""
    return max(1, SHARD // format.clip_bytes)


def request(
    name: str,
    format: ClipFormat,
    sizes: Mapping[str, int],
    *,
    family: str = PLAIN,
    spec: Mapping[str, Any] | None = None,
    arrays: Mapping[str, ArrayType] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Return the description of a dataset to write, as dataset.json holds it.

    sizes: clips by split; spec: the parameters that decide the clips, part of the fingerprint (None: the format);
    arrays: annotations that are stored clip by clip, with their types; rest: the family's own entries.
    Raises InputError for an unknown split, a negative size, no clips at all, and a bad annotation name.
    """
    stored = arrays or {}
    _refuse_bad_request(sizes, stored, format)
    described: dict[str, Any] = {
        "dataset": name,
        "family": family,
        "spec": dict(format.as_dict() if spec is None else spec),
        **rest,
        "sizes": {split: int(sizes.get(split, 0)) for split in SPLITS},
        "format": format.as_dict(),
    }
    if stored:
        described["arrays"] = {
            array: {"shape": list(kind.shape), "dtype": kind.dtype.newbyteorder("<").str}
            for array, kind in sorted(stored.items())
        }
    record = find(family).record(described)
    return {**described, "annotations": sorted(stored) + ([record.name] if record else [])}


def _refuse_bad_request(sizes: Mapping[str, int], arrays: Mapping[str, ArrayType], format: ClipFormat) -> None:
    for split, size in sizes.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if size < 0:
            raise InputError(f"the split '{split}' cannot have {size} clips")
    if not any(sizes.values()):
        raise InputError("a dataset needs at least one clip in one split")
    for name in arrays:
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in format.arrays:
            taken = " and ".join(format.arrays)
            raise InputError(f"an annotation cannot be called '{name}': use a-z, 0-9 and _, and not {taken}")


def write_once(
    out: Path, requested: Mapping[str, Any], source: Source, expected: Mapping[str, Any] | None = None
) -> Dataset:
    """Write the `requested` dataset from `source` to the folder `out`, unless it is there; return it.

    expected: the "files" of the manifest, if known before. Raises InputError if the folder holds anything else, if the
    disk is full, and if the files are not the expected ones; the files are removed then.
    """
    with sole_writer(out):
        if not is_finished(out, requested):
            _write(out, requested, source, expected)
        elif expected is not None:
            _refuse_unexpected(out, read_manifest(out)["files"], expected)
        (out / JOURNAL).unlink(missing_ok=True)
    return open_dataset(out)


def is_finished(out: Path, requested: Mapping[str, Any]) -> bool:
    """Return whether `out` holds the requested dataset. Raises InputError if it holds another, or a damaged one."""
    if not (out / MANIFEST).exists():
        return False
    refuse_another(out, requested, read_manifest(out))
    return True


def remove_traces(out: Path) -> None:
    """Remove the journal and the lock that a killed process left beside a finished dataset; not those in use."""
    if (out / JOURNAL).exists() or (out / LOCK).exists():
        with suppress(InputError, OSError), sole_writer(out):  # another process writes there, or nobody may
            (out / JOURNAL).unlink(missing_ok=True)


def _write(out: Path, requested: Mapping[str, Any], source: Source, expected: Mapping[str, Any] | None) -> None:
    """Write the requested dataset, or the rest of it."""
    clips = {split: len(part) for split, part in clips_of(requested).items()}
    total = sum(clips.values())
    files: dict[str, str] = {}
    with (
        _room(out, total * _bytes_per_clip(requested)),
        open_journal(out, requested, source.provenance) as journal,
        progress_bar("clips", total) as advance,
    ):
        for split, count in clips.items():
            if count:
                files |= _write_split(out / split, requested, count, source, journal, advance)
        remove_leftovers(out)
        manifest = complete_manifest(out, requested, files)
        if expected is not None and manifest["files"] != expected:
            _remove(out, files)
            _refuse_unexpected(out, manifest["files"], expected)
        write_manifest(out, manifest, write_card(out, manifest))


def _bytes_per_clip(requested: Mapping[str, Any]) -> int:
    return sum(int(np.prod(kind.shape)) * kind.dtype.itemsize for kind in array_types(requested).values())


def _refuse_unexpected(out: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    others = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    if others:
        raise InputError(f"{out} is not what was exported: other bytes in {', '.join(others)}")


def _remove(out: Path, files: Mapping[str, str]) -> None:
    """Remove the files of a refused dataset, and its journal."""
    for name in (*files, JOURNAL):
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in files}:
        folder.rmdir()


@contextmanager
def _room(out: Path, needed: int) -> Iterator[None]:
    """Raise InputError if the disk has no room for `needed` bytes in all, or if it fills up while the block runs."""
    sizes = f"the dataset needs {_gb(needed)}"
    written = sum(512 * file.stat().st_blocks for file in out.rglob("*.npy*"))
    free = shutil.disk_usage(out).free
    if free < needed - written:
        raise InputError(f"no room in {out}: {sizes}, of which {_gb(written)} are written; {_gb(free)} are free")
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        remedy = "make room and start the same command again: it resumes"
        if error.errno == errno.EFBIG:
            remedy = "the shell or the file system does not allow files that large"
        raise InputError(f"no room in {out} ({error.strerror}): {sizes}; {remedy}") from error


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f} GB"


def _write_split(
    folder: Path,
    requested: Mapping[str, Any],
    clips: int,
    source: Source,
    journal: Journal,
    advance: Callable[[int], None],
) -> dict[str, str]:
    """Write the files of the split `folder`; return their SHA-256 by name."""
    split, types = folder.name, array_types(requested)
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        writers = stack.enter_context(ThreadPoolExecutor(len(types)))
        arrays = {
            name: stack.enter_context(closing(GrowingArray(folder / f"{name}.npy", (clips, *kind.shape), kind.dtype)))
            for name, kind in types.items()
        }
        written = _kept(journal, split, clips, list(arrays.values()))
        advance(written)
        with closing(source.clips(split, written)) as parts:
            for part in parts:
                content: dict[str, NDArray[Any]] = {"frames": part.frames, "audio": part.audio, **part.arrays}
                _refuse_misfits(split, written, content, types)
                digests = list(writers.map(GrowingArray.append, arrays.values(), (content[name] for name in types)))
                written += len(part)
                journal.add(split, written, digests)
                advance(len(part))
        if written != clips:
            raise InputError(f"the source has {written} clips of {split}, not {clips}")
        hashes = {f"{split}/{name}.npy": array.finish() for name, array in arrays.items()}
    record = find(requested["family"]).record(requested)
    if record is not None:
        hashes[f"{split}/{record.name}.npz"] = write_record(folder / f"{record.name}.npz", source.record(split))
    return hashes


def _refuse_misfits(
    split: str, first: int, content: Mapping[str, NDArray[Any]], types: Mapping[str, ArrayType]
) -> None:
    """Raise InputError if the clips from number `first` on have other arrays, shapes or types than requested."""
    if content.keys() != types.keys():
        raise InputError(f"clip {first} of {split} has {', '.join(content)}, not {', '.join(types)}")
    for name, array in content.items():
        kind = types[name]
        if array.shape[1:] != kind.shape or array.dtype.newbyteorder("=") != kind.dtype.newbyteorder("="):
            found = f"{array.shape[1:]} {array.dtype}"
            raise InputError(f"clip {first} of {split} has {name} of {found}, not {kind.shape} {kind.dtype}")


def _kept(journal: Journal, split: str, size: int, arrays: list[GrowingArray]) -> int:
    """Keep the clips of an unfinished split whose bytes are still those that the journal notes; return how many."""
    kept = 0
    for clips, digests in journal.written(split):
        if clips > size or not all(array.matches(clips, digest) for array, digest in zip(arrays, digests, strict=True)):
            break
        for array in arrays:
            array.keep()
        kept = clips
    return kept


def write_record(path: Path, fields: Mapping[str, NDArray[Any]]) -> str:
    """Write the arrays of a record as an .npz file whose bytes depend on the arrays alone; return its SHA-256."""
    with written_whole(path) as part:
        with ZipFile(part, "w") as archive:
            for name, array in fields.items():
                member = ZipInfo(f"{name}.npy")  # dated 1980
                member.create_system = 3  # the same on every system
                content = BytesIO()
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                np.lib.format.write_array(content, little, version=(1, 0))
                archive.writestr(member, content.getvalue())  # whole: streamed members differ between Pythons
        digest = sha256(part)
    return digest
