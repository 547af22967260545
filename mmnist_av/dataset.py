"""The dataset on disk: its splits and their arrays, and how it is opened and verified."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import ArrayType
from mmnist_av.manifest import array_types, clips_of, format_of, read_manifest, shard_in_words
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import (
    FileState,
    changed_files,
    real_path,
    refuse_changed,
    regular,
    sha256,
    state_of,
    why_no_file,
)
from mmnist_av.system.npy import map_npy, read_npy
from mmnist_av.system.progress import progress_bar

REMEDY = "delete the folder and generate it again"


@dataclass(frozen=True)
class Split:
    """One split of a dataset. Its arrays are mapped into memory when they are first used.

    The maps are copy-on-write: torch can use them without a copy, and changes to them do not reach the disk.
    """

    name: str  # train, val or test
    path: Path  # the split's folder
    clips: int
    format: ClipFormat
    types: Mapping[str, ArrayType]  # of one clip's part of each array, by name
    facts: Mapping[str, Mapping[str, Any]] = field(repr=False)  # SHA-256 and bytes of the dataset's files, by name
    _maps: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    _records: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return self.clips

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Frames (N, T, H, W) or (N, T, H, W, 3) uint8, row 0 at the top; raises InputError as `array` does."""
        return self.array("frames")

    @property
    def audio(self) -> NDArray[np.int16]:
        """Sound (N, samples) int16; raises InputError as `array` does."""
        return self.array("audio")

    def array(self, name: str) -> NDArray[Any]:
        """Return the stored array `name`, one row per clip. Raises InputError if its file is missing or damaged."""
        if name not in self._maps:
            self._maps[name] = self._map(name)
        return self._maps[name]

    def record(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of the family's record `name`, one row per clip; they are read-only.

        Raises InputError if the file is unreadable or has changed: the arrays are few, so that all of it is compared.
        """
        if name not in self._records:
            path = self.path / f"{name}.npz"
            try:
                if sha256(regular(path)) != self.facts[f"{self.name}/{path.name}"]["sha256"]:
                    raise ValueError("it has changed since it was written")
                self._records[name] = _read_npz(path)
            except PermissionError:
                raise
            except (OSError, EOFError, ValueError, RuntimeError, MemoryError, BadZipFile, zlib.error) as error:
                raise InputError(f"{path} cannot be read: {error}; {REMEDY}") from error
        return self._records[name]

    def _map(self, name: str) -> NDArray[Any]:
        path = self.path / f"{name}.npy"
        if not self.clips:
            raise InputError(f"{self.path.parent} was generated without clips in its split '{self.name}'")
        try:
            array = map_npy(regular(path))
        except PermissionError:  # the file may be whole
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}; {REMEDY}") from error
        if len(array) != self.clips:
            raise InputError(f"{path} has {len(array)} clips, not {self.clips}")
        expected = self.types.get(name)
        if expected is not None and (array.shape[1:], array.dtype) != (expected.shape, expected.dtype):
            raise InputError(
                f"{path} has clips of {array.shape[1:]} {array.dtype}, not {expected.shape} {expected.dtype}"
            )
        return array

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps out: a worker process that receives a split opens the files itself."""
        return {**self.__dict__, "_maps": {}, "_records": {}}


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with ZipFile(path) as archive:
        if any(member.compress_type != ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed, which no dataset is")  # a few bytes would become gigabytes
        return {member.removesuffix(".npy"): read_npy(archive.read(member)) for member in archive.namelist()}


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    path: Path
    name: str
    family: str  # whose code knows more of it: see mmnist_av.families
    format: ClipFormat
    annotations: frozenset[str]  # names of what is stored with frames and sound
    fingerprint: str  # SHA-256 of the spec and the files' hashes: equal fingerprints, equal bytes
    manifest: dict[str, Any]  # dataset.json
    states: Mapping[Path, FileState | None] = field(repr=False, compare=False)  # of its files, when it was opened
    _splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)

    def refuse_changed(self) -> None:
        """Raise InputError if one of the files was changed or replaced since the dataset was opened.

        What was read then is neither the old data nor the new; a map of a file that was cut short ends the process.
        """
        refuse_changed(self.states)

    def split(self, name: str) -> Split:
        """Return a split, which may be empty (and then has no arrays). Raises InputError for an unknown name."""
        clips = clips_of(self.manifest)
        if name not in clips:
            raise unknown_name("split", name, clips)
        types = array_types(self.manifest)
        split = Split(name, self.path / name, len(clips[name]), self.format, types, self.manifest["files"])
        return self._splits.setdefault(name, split)


def open_dataset(path: Path | str) -> Dataset:
    """Open the dataset in the folder `path` without reading its arrays.

    Raises InputError if the folder holds no finished dataset, or only a shard of one, and if a file is missing or has
    another length.
    """
    dataset = open_dataset_or_shard(path)
    shard = shard_in_words(dataset.manifest)
    if shard:
        raise InputError(f"{path} is {shard}: `mmnist-av merge` makes the dataset from its shards")
    return dataset


def open_dataset_or_shard(path: Path | str) -> Dataset:
    """Open the dataset in the folder `path`, or a shard of one, as `open_dataset` does."""
    path = Path(path)
    manifest = read_manifest(path)
    _refuse_without_arrays(path, manifest)
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{path} is damaged: {name} {why_no_file(file)}; {REMEDY}")
        if file.stat().st_size != facts["bytes"]:
            raise InputError(
                f"{path} is damaged: {name} has {file.stat().st_size} bytes, not {facts['bytes']}; {REMEDY}"
            )
    return Dataset(
        path=path,
        name=manifest["dataset"],
        family=manifest["family"],
        format=format_of(manifest),
        annotations=frozenset(manifest["annotations"]),
        fingerprint=manifest["fingerprint"],
        manifest=manifest,
        states={path / name: state_of(path / name) for name in manifest["files"]},
    )


def is_dataset(path: Path) -> bool:
    """Return whether the folder holds a finished dataset's manifest."""
    try:
        return bool(read_manifest(path))
    except InputError:
        return False


def _refuse_without_arrays(path: Path, manifest: Mapping[str, Any]) -> None:
    # An export has the dataset.json of its dataset, and other files: it is not damaged
    if manifest["files"] and not any((path / name).exists() for name in manifest["files"]):
        remedy = "if it was exported, mmnist-av import writes the dataset again, to another folder"
        raise InputError(f"{path} has no arrays: {remedy}; if not, {REMEDY}")


def refuse_inside_dataset(path: Path) -> None:
    """Raise InputError if `path`, a file or folder to write, lies in a finished dataset or in an export of one."""
    for outer in real_path(path).parents:
        if is_dataset(outer):
            raise InputError(f"{path} lies in the dataset {outer}: choose another --out")


def verify(path: Path) -> list[str]:
    """Read every byte of the dataset in `path`; return one line per damaged file, [] if all is as it was written.

    Raises InputError if dataset.json itself is damaged, and if there is no array at all, as in an export.
    """
    manifest = read_manifest(path)
    _refuse_without_arrays(path, manifest)
    files = {**manifest["files"], **manifest["beside"]}
    with progress_bar("verify, MB", sum(facts["bytes"] for facts in files.values()) / 1e6) as advance:
        found = changed_files(path, files, lambda size: advance(size / 1e6))
    return [f"{name} {difference}" for name, difference in found.items()]


def refuse_damaged(path: Path, remedy: str = REMEDY) -> None:
    """Raise InputError, with every damaged file and the `remedy`, if the dataset in `path` is not as it was written.

    Where only README.md and the like differ, the remedy is to restore these.
    """
    wrong = verify(path)
    if wrong:
        beside = read_manifest(path)["beside"]
        if all(line.split()[0] in beside for line in wrong):
            remedy = "its clips are whole: restore that file"
        raise InputError(f"{path} is damaged: {'; '.join(wrong)}; {remedy}")
