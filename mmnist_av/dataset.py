"""The dataset on disk: write, open, verify."""

import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av import __version__
from mmnist_av.m3so.spec import SPLIT_IDS, Spec, spec_from_dict
from mmnist_av.m3so.world import Truth
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import sha256, written_whole
from mmnist_av.system.progress import progress_bar

MANIFEST = "dataset.json"
REMEDY = "delete the folder and generate it again"


@dataclass(frozen=True)
class Split:
    """One split of a dataset: its arrays, mapped into memory when they are first asked for.

    The maps are copy-on-write: torch takes them as they are, and nothing written to them reaches the disk.
    """

    name: str  # train, val or test
    path: Path  # the split's folder
    clips: int
    fps: int  # frames a second
    samples_per_frame: int  # samples of sound that belong to one frame

    def __len__(self) -> int:
        return self.clips

    @functools.cached_property
    def frames(self) -> NDArray[np.uint8]:
        """(N, T, H, W) uint8, row 0 at the top. Raises InputError if the file is missing or cut short."""
        return _mapped(self.path / "frames.npy", self.clips)

    @functools.cached_property
    def audio(self) -> NDArray[np.int16]:
        """(N, T * samples_per_frame) int16. Raises InputError if the file is missing or cut short."""
        return _mapped(self.path / "audio.npy", self.clips)

    @functools.cached_property
    def truth(self) -> dict[str, NDArray[Any]]:
        """The fields of `m3so.world.Truth` by name, each with the clips first. Raises InputError if unreadable."""
        path = self.path / "truth.npz"
        try:
            with np.load(path) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read: {error}") from error

    def truth_of(self, which: slice) -> Truth:
        """What happened in some of the clips."""
        return Truth(**self.truth).clips(which)

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps: a worker process that gets a split opens its own instead of a copy of the bytes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    path: Path
    spec: Spec
    seed: int
    fingerprint: str  # SHA-256 of the canonical spec and the files' hashes: one fingerprint, the same bytes
    manifest: dict[str, Any]  # dataset.json

    @property
    def name(self) -> str:
        """Return the dataset's name: m3so, m3so-nb."""
        return str(self.manifest["dataset"])

    @property
    def family(self) -> str:
        """Return the name of the dataset's family."""
        return str(self.manifest.get("family", "m3so"))

    @property
    def format(self) -> Spec:
        """Return frames, fps, sample_rate and samples_per_frame of the clips."""
        return self.spec

    @property
    def annotations(self) -> frozenset[str]:
        """Return the names of the stored annotations."""
        return frozenset()

    def split(self, name: str) -> Split:
        """One split, which may have no clips (and then no arrays). Raises InputError for another name."""
        clips = clips_of(self.manifest)
        if name not in clips:
            raise unknown_name("split", name, clips)
        return Split(name, self.path / name, len(clips[name]), self.spec.fps, self.spec.samples_per_frame)


def clips_of(asked: Mapping[str, Any]) -> dict[str, range]:
    """The numbers of each split's clips in a dataset or, where dataset.json names a shard, in that part of it."""
    number, of = asked.get("shard", (1, 1))
    return {split: range(size * (number - 1) // of, size * number // of) for split, size in asked["sizes"].items()}


def open_dataset(path: Path | str) -> Dataset:
    """The dataset in the folder `path`; its arrays are not read.

    Raises InputError if it is none, unfinished, of another world, or if a file is missing or has another length.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest["files"] and not any((path / name).exists() for name in manifest["files"]):
        raise InputError(f"{path} has no arrays: if it was exported, mmnist-av import makes the dataset again")
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{path} is damaged: {name} is missing; {REMEDY}")
        if file.stat().st_size != facts["bytes"]:
            raise InputError(
                f"{path} is damaged: {name} has {file.stat().st_size} bytes, not {facts['bytes']}; {REMEDY}"
            )
    return Dataset(path, spec_from_dict(manifest["spec"]), manifest["seed"], manifest["fingerprint"], manifest)


def verify(path: Path) -> list[str]:
    """Read a dataset's every byte. Returns what is wrong, a file a line; nothing if all is as it was written.

    Raises InputError if dataset.json itself is wrong.
    """
    manifest = read_manifest(path)
    files = {**manifest["files"], **manifest["beside"]}
    wrong = []
    with progress_bar("verify, bytes", sum(facts["bytes"] for facts in files.values())) as done:
        for name, facts in files.items():
            file = path / name
            if not file.is_file():
                wrong.append(f"{name} is missing")
            elif file.stat().st_size != facts["bytes"]:
                wrong.append(f"{name} has {file.stat().st_size} bytes, not {facts['bytes']}")
            elif sha256(file) != facts["sha256"]:
                wrong.append(f"{name} has changed")
            done(facts["bytes"])
    return wrong


def refuse_damaged(path: Path, remedy: str = REMEDY) -> None:
    """Raise InputError, naming every file and what to do, if the dataset in the folder `path` is not as written."""
    wrong = verify(path)
    if wrong:
        raise InputError(f"{path} is damaged: {'; '.join(wrong)}; {remedy}")


def complete_manifest(path: Path, asked: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """The dataset.json of the folder `path`, from what was asked for and the SHA-256 of each file."""
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": digest} for name, digest in digests.items()}
    manifest = {**asked, "files": files, "generator": __version__}
    return {**manifest, "fingerprint": _fingerprint(manifest)}


def write_manifest(path: Path, manifest: Mapping[str, Any], beside: Sequence[str]) -> None:
    """Make the folder `path` a dataset: write its dataset.json, which also knows the files `beside` the arrays."""
    facts = {name: {"bytes": (path / name).stat().st_size, "sha256": sha256(path / name)} for name in beside}
    manifest = {**manifest, "beside": facts}
    manifest["checksum"] = _checksum(manifest)
    with written_whole(path / MANIFEST) as part:
        part.write_text(_text(manifest), encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """The dataset.json of the folder `path`. Raises InputError if there is none or it is not as it was written."""
    file = path / MANIFEST
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError as error:
        found = f"it has no {MANIFEST}" if path.exists() else "there is no such folder"
        raise InputError(f"{path} is not a dataset: {found}; `mmnist-av generate` makes one") from error
    except OSError as error:
        raise InputError(f"{path} is not a dataset that can be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is damaged: it is not text") from error
    try:
        manifest: dict[str, Any] = json.loads(text)
        spec_from_dict(manifest["spec"])
        if manifest["fingerprint"] != _fingerprint(manifest):
            raise InputError("its fingerprint is not that of its spec and files")
        whole = manifest["checksum"] == _checksum(manifest) and text == _text(manifest)
    except InputError as error:
        raise InputError(f"{file} is damaged, or of another version: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {error!r}") from error
    if not whole or set(manifest["sizes"]) != set(SPLIT_IDS):
        raise InputError(f"{file} is damaged: it is not as it was written")
    return manifest


def write_truth(path: Path, truth: Mapping[str, NDArray[Any]]) -> str:
    """Write an .npz, one array a field, whose bytes depend on the arrays alone. Returns its SHA-256."""
    with written_whole(path) as part:
        with zipfile.ZipFile(part, "w") as archive:
            for name, array in truth.items():
                member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
                member.create_system = 3  # on every system
                content = io.BytesIO()
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                np.lib.format.write_array(content, little, version=(1, 0))
                archive.writestr(member, content.getvalue())  # whole: streamed members differ between Pythons
        digest = sha256(part)
    return digest


def _mapped(path: Path, clips: int) -> NDArray[Any]:
    if not clips:
        raise InputError(f"{path.parent.parent} was made without clips in its split '{path.parent.name}'")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(array) != clips:
        raise InputError(f"{path} has {len(array)} clips, not {clips}")
    return array


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical spec's line and the files' lines, as sha256sum prints them, by name."""
    files = manifest["files"]
    lines = [spec_from_dict(manifest["spec"]).text(), *(f"{files[name]['sha256']}  {name}" for name in sorted(files))]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of everything else in the manifest."""
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(_text(rest).encode()).hexdigest()


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, sort_keys=True) + "\n"
