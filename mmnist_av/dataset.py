"""The dataset on disk: its manifest, dataset.json, and how it is opened and verified."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av import __version__, families
from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import ArrayType
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import differences, sha256, written_whole
from mmnist_av.system.progress import progress_bar

MANIFEST = "dataset.json"
SPLITS = ("train", "val", "test")
REMEDY = "delete the folder and generate it again"

# What the manifest says of the finished files; the rest says which dataset was requested
RESULTS = ("files", "generator", "fingerprint", "beside", "checksum")


@dataclass(frozen=True)
class Split:
    """One split of a dataset. Its arrays are mapped into memory when they are first used.

    The maps are copy-on-write: torch can use them without a copy, and changes to them do not reach the disk.
    """

    name: str  # train, val or test
    path: Path  # the split's folder
    clips: int
    format: ClipFormat
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

        Raises InputError if the file is unreadable.
        """
        if name not in self._records:
            path = self.path / f"{name}.npz"
            try:
                with np.load(path) as arrays:
                    self._records[name] = dict(arrays)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise InputError(f"{path} cannot be read: {error}") from error
            for array in self._records[name].values():
                array.flags.writeable = False
        return self._records[name]

    def _map(self, name: str) -> NDArray[Any]:
        path = self.path / f"{name}.npy"
        if not self.clips:
            raise InputError(f"{self.path.parent} was generated without clips in its split '{self.name}'")
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if len(array) != self.clips:
            raise InputError(f"{path} has {len(array)} clips, not {self.clips}")
        expected = self.format.arrays.get(name)
        if expected is not None and (array.shape[1:], array.dtype) != (expected.shape, expected.dtype):
            raise InputError(
                f"{path} has clips of {array.shape[1:]} {array.dtype}, not {expected.shape} {expected.dtype}"
            )
        return array

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps out: a worker process that receives a split opens the files itself."""
        return {**self.__dict__, "_maps": {}, "_records": {}}


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    path: Path
    name: str
    family: str  # whose code knows more of it: see mmnist_av.families
    format: ClipFormat
    annotations: frozenset[str]  # names of what is stored beside frames and sound
    fingerprint: str  # SHA-256 of the spec and the files' hashes: equal fingerprints, equal bytes
    manifest: dict[str, Any]  # dataset.json
    _splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)

    def split(self, name: str) -> Split:
        """Return a split, which may be empty (and then has no arrays). Raises InputError for an unknown name."""
        clips = clips_of(self.manifest)
        if name not in clips:
            raise unknown_name("split", name, clips)
        return self._splits.setdefault(name, Split(name, self.path / name, len(clips[name]), self.format))


def clips_of(requested: Mapping[str, Any]) -> dict[str, range]:
    """Return the numbers of each split's clips; of a shard (number, of), only the numbers of its own clips."""
    number, of = requested.get("shard", (1, 1))
    return {split: range(size * (number - 1) // of, size * number // of) for split, size in requested["sizes"].items()}


def format_of(requested: Mapping[str, Any]) -> ClipFormat:
    """Return the clip format of a manifest."""
    return ClipFormat(**requested["format"])


def array_types(requested: Mapping[str, Any]) -> dict[str, ArrayType]:
    """Return the types of all arrays that a manifest's dataset stores clip by clip: frames, audio, annotations."""
    stored = requested.get("arrays", {}).items()
    types = {name: ArrayType(tuple(facts["shape"]), np.dtype(facts["dtype"])) for name, facts in stored}
    return format_of(requested).arrays | types


def requested_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that says which dataset was requested."""
    return {name: value for name, value in manifest.items() if name not in RESULTS}


def open_dataset(path: Path | str) -> Dataset:
    """Open the dataset in the folder `path` without reading its arrays.

    Raises InputError if the folder holds no finished dataset, or if a file is missing or has another length.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest["files"] and not any((path / name).exists() for name in manifest["files"]):
        raise InputError(f"{path} has no arrays: if it was exported, mmnist-av import writes the dataset again")
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{path} is damaged: {name} is missing; {REMEDY}")
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
    )


def is_dataset(path: Path) -> bool:
    """Return whether the folder holds a finished dataset's manifest."""
    try:
        return bool(read_manifest(path))
    except InputError:
        return False


def verify(path: Path) -> list[str]:
    """Read every byte of the dataset in `path`; return one line per damaged file, [] if all is as it was written.

    Raises InputError if dataset.json itself is damaged.
    """
    manifest = read_manifest(path)
    files = {**manifest["files"], **manifest["beside"]}
    with progress_bar("verify, bytes", sum(facts["bytes"] for facts in files.values())) as advance:
        return [f"{name} {difference}" for name, difference in differences(path, files, advance).items()]


def refuse_damaged(path: Path, remedy: str = REMEDY) -> None:
    """Raise InputError, with every damaged file and the `remedy`, if the dataset in `path` is not as it was written."""
    wrong = verify(path)
    if wrong:
        raise InputError(f"{path} is damaged: {'; '.join(wrong)}; {remedy}")


def complete_manifest(path: Path, requested: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of the folder `path`, from what was requested and the SHA-256 of each file.

    The manifest has no card and no checksum yet: `write_manifest` adds them.
    """
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": digest} for name, digest in digests.items()}
    manifest = {**requested, "files": files, "generator": __version__}
    return {**manifest, "fingerprint": _fingerprint(manifest)}


def write_manifest(path: Path, manifest: Mapping[str, Any], beside: Sequence[str]) -> None:
    """Write dataset.json to the folder `path`, with the hashes of the files `beside` the arrays (card and metadata)."""
    facts = {name: {"bytes": (path / name).stat().st_size, "sha256": sha256(path / name)} for name in beside}
    manifest = {**manifest, "beside": facts}
    manifest["checksum"] = _checksum(manifest)
    with written_whole(path / MANIFEST) as part:
        part.write_text(_text(manifest), encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of the folder `path`. Raises InputError if it is missing or damaged.

    Manifests of versions that knew M3SO only come with the family, format and annotations that these imply.
    """
    file = path / MANIFEST
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError as error:
        found = f"it has no {MANIFEST}" if path.exists() else "the folder does not exist"
        raise InputError(f"{path} is not a dataset: {found}; `mmnist-av generate` writes one") from error
    except OSError as error:
        raise InputError(f"{path} is not a dataset that can be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is damaged: it is not text") from error
    try:
        written: dict[str, Any] = json.loads(text)
        manifest = with_defaults(written)
        format_of(manifest)
        family = _usable_family(manifest["family"])
        if family is not None:
            family.check(manifest)
        if written["fingerprint"] != _fingerprint(written):
            raise InputError("its fingerprint is not that of its spec and files")
        whole = written["checksum"] == _checksum(written) and text == _text(written)
    except InputError as error:
        raise InputError(f"{file} is damaged, or of another version: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {error!r}") from error
    if not whole or set(manifest["sizes"]) != set(SPLITS):
        raise InputError(f"{file} is damaged: it is not as it was written")
    if family is None:
        families.find(manifest["family"])  # raises: the manifest is whole, its family is not here
    return manifest


def _usable_family(name: str) -> families.Family | None:
    """Return the family called `name`, or None if it is unknown or cannot be loaded."""
    try:
        return families.find(name)
    except InputError:
        return None


def with_defaults(requested: Mapping[str, Any]) -> dict[str, Any]:
    """Add the family, format and annotations to a manifest of M3SO that was written before these were part of it."""
    if "family" in requested:
        return dict(requested)
    spec = requested["spec"]
    clips = ClipFormat(
        frames=spec["frames"],
        channels=1,
        height=spec["canvas"],
        width=spec["canvas"],
        fps=spec["fps"],
        sample_rate=spec["sample_rate"],
    )
    return {**requested, "family": "m3so", "format": clips.as_dict(), "annotations": ["truth"]}


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the spec's canonical text and of a line per file, as sha256sum prints it, by name."""
    files = manifest["files"]
    spec = json.dumps(manifest["spec"], sort_keys=True, separators=(",", ":"))
    lines = [spec, *(f"{files[name]['sha256']}  {name}" for name in sorted(files))]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in the manifest but the checksum."""
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(_text(rest).encode()).hexdigest()


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, sort_keys=True) + "\n"
