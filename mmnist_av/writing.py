"""Write the clips of any source to a dataset on disk, resuming what an earlier run left unfinished."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset, open_dataset_or_shard, refuse_damaged, refuse_inside_dataset
from mmnist_av.exchange.card import write_card
from mmnist_av.families import ArrayType, find
from mmnist_av.journal import Journal, open_journal, refuse_another, remove_journal
from mmnist_av.manifest import (
    JOURNAL,
    MANIFEST,
    array_types,
    clips_of,
    complete_manifest,
    read_manifest,
    request,
    write_manifest,
)
from mmnist_av.sources import Clips, SingleClips, Source
from mmnist_av.system.errors import NO_ROOM, InputError
from mmnist_av.system.files import LOCK, GrowingArray, remove_leftovers, sha256, sole_writer, written_once
from mmnist_av.system.progress import progress_bar

# What another package needs to write a dataset
__all__ = ["Clips", "SingleClips", "Source", "request", "write_once"]


def write_once(
    out: Path | str, requested: Mapping[str, Any], source: Source, expected: Mapping[str, Any] | None = None
) -> Dataset:
    """Write the `requested` dataset from `source` to the folder `out`, or verify it if it is there; return it.

    expected: the "files" of the manifest, if known before. Raises InputError if the folder holds anything else or a
    damaged dataset, or lies in a dataset, if the disk is full, and if the files are not the expected ones; the files
    are removed then.
    """
    out = Path(out)
    refuse_inside_dataset(out)
    with sole_writer(out):
        if not is_finished(out, requested):
            _write(out, requested, source, expected)
        elif expected is not None:
            _refuse_unexpected(out, read_manifest(out)["files"], expected)
        remove_journal(out, requested)
    return open_dataset_or_shard(out)


def is_finished(out: Path, requested: Mapping[str, Any]) -> bool:
    """Return whether `out` holds the requested dataset; InputError if it holds another, a damaged one or an export.

    Reads every byte of a finished dataset.
    """
    if not (out / MANIFEST).exists():
        return False
    refuse_another(out, requested, read_manifest(out))
    refuse_damaged(out)
    return True


def remove_traces(out: Path, requested: Mapping[str, Any]) -> None:
    """Remove the journal and the lock that a killed process left beside a finished dataset; not those in use."""
    if (out / JOURNAL).exists() or (out / LOCK).exists():
        with suppress(InputError, OSError), sole_writer(out):  # another process writes there, or nobody may
            remove_journal(out, requested)


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
    return sum(math.prod(kind.shape) * kind.dtype.itemsize for kind in array_types(requested).values())


def _refuse_unexpected(out: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    others = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    if others:
        raise InputError(f"{out} is not what was exported: other bytes in {', '.join(others)}")


def _remove(out: Path, files: Mapping[str, str]) -> None:
    """Remove the files of a refused dataset, and its journal."""
    for name in (*files, JOURNAL):
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in files}:
        with suppress(OSError):  # it holds something else, too
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
        if error.errno not in NO_ROOM:
            raise
        raise InputError(f"no room in {out} ({error.strerror}): {sizes}; {NO_ROOM[error.errno]}") from error


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
        of_whole_split = dict(journal.written(split)).get(clips, [])
        finished = dict(zip(types, of_whole_split, strict=False))
        arrays: dict[str, GrowingArray] = {}
        for name, kind in types.items():
            array = GrowingArray(folder / f"{name}.npy", (clips, *kind.shape), kind.dtype, finished.get(name, ""))
            arrays[name] = stack.enter_context(closing(array))
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
        journal.sync()  # it is the proof that the finished files are ours
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
        if clips > size or len(digests) != len(arrays):
            break
        if not all(array.matches(clips, digest) for array, digest in zip(arrays, digests, strict=True)):
            break
        for array in arrays:
            array.keep()
        kept = clips
    return kept


def write_record(path: Path, fields: Mapping[str, NDArray[Any]]) -> str:
    """Write the arrays of a record as an .npz file whose bytes depend on the arrays alone; return its SHA-256."""
    with written_once(path) as part:
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
