"""dataset.json, the manifest: it is a request for a dataset first, and says what was written when it is finished."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmnist_av import __version__, families
from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import PLAIN, ArrayType
from mmnist_av.manifest_entries import ManifestEntries
from mmnist_av.system.errors import InputError, in_words, unknown_name
from mmnist_av.system.files import parse_json, regular, sha256, written_whole
from mmnist_av.system.settings import refuse_misfit

MANIFEST = "dataset.json"
JOURNAL = "unfinished.jsonl"  # which clips are written, until the dataset is finished
SPLITS = ("train", "val", "test")

# Entries that are known when the files are written ("beside": the card's files); the others are the request
AFTER_WRITING = ("files", "generator", "fingerprint", "beside", "checksum")


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
    Raises InputError for an unknown split, a negative size, no clips at all, and a bad name or shape of an annotation.
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
            | ({} if kind.per_frame is None else {"per_frame": kind.per_frame})
            for array, kind in sorted(stored.items())
        }
    record = families.find(family).record(described)
    return {**described, "annotations": sorted(stored) + ([record.name] if record else [])}


def _refuse_bad_request(sizes: Mapping[str, int], arrays: Mapping[str, ArrayType], format: ClipFormat) -> None:
    for split, size in sizes.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if size < 0:
            raise InputError(f"the split '{split}' cannot have {size} clips")
    if not any(sizes.values()):
        raise InputError("a dataset needs at least one clip in one split")
    for name, kind in arrays.items():
        if kind.per_frame and kind.shape[:1] != (format.frames,):
            raise InputError(f"the annotation '{name}' of {kind.shape} is not per frame: a clip has {format.frames}")
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in format.arrays:
            taken = " and ".join(format.arrays)
            raise InputError(f"an annotation cannot be called '{name}': use a-z, 0-9 and _, and not {taken}")


def clips_of(manifest: Mapping[str, Any]) -> dict[str, range]:
    """Return the numbers of each split's clips; of a shard (number, of), only the numbers of its own clips."""
    number, of = manifest.get("shard", (1, 1))
    return {split: range(size * (number - 1) // of, size * number // of) for split, size in manifest["sizes"].items()}


def shard_in_words(manifest: Mapping[str, Any]) -> str:
    """Return which shard a manifest is of: "shard 2 of 4 of m3so-nb"; "" for a whole dataset."""
    if "shard" not in manifest:
        return ""
    number, count = manifest["shard"]
    return f"shard {number} of {count} of {manifest['dataset']}"


def format_of(manifest: Mapping[str, Any]) -> ClipFormat:
    """Return the clip format of a manifest."""
    return ClipFormat(**manifest["format"])


def array_types(manifest: Mapping[str, Any]) -> dict[str, ArrayType]:
    """Return the types of all arrays that a manifest's dataset stores clip by clip: frames, audio, annotations."""
    return format_of(manifest).arrays | _stored_types(manifest)


def _stored_types(manifest: Mapping[str, Any]) -> dict[str, ArrayType]:
    """Return the types of the annotations that are stored clip by clip."""
    stored = manifest.get("arrays", {}).items()
    return {name: ArrayType(facts["shape"], facts["dtype"], facts.get("per_frame")) for name, facts in stored}


def own_entries(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what a manifest has beyond the entries of every dataset, in words: its spec, its seed and so on.

    A spec that only repeats the format is left out.
    """
    usual = {"dataset", "family", "sizes", "format", "arrays", "annotations", "shard"}
    own = {name: value for name, value in request_of(manifest).items() if name not in usual}
    if own["spec"] == manifest["format"]:
        del own["spec"]
    return {name: _in_words(value) for name, value in own.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def request_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that says which dataset was requested, as `request` describes it."""
    return {name: value for name, value in manifest.items() if name not in AFTER_WRITING}


def complete_manifest(path: Path, requested: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of the folder `path`, from the request and the SHA-256 of each file.

    The manifest has no card and no checksum yet: `write_manifest` adds them.
    """
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": digest} for name, digest in digests.items()}
    manifest = {**requested, "files": files, "generator": __version__}
    return {**manifest, "fingerprint": _fingerprint(manifest)}


def write_manifest(path: Path, manifest: Mapping[str, Any], card: Sequence[str]) -> None:
    """Write dataset.json to the folder `path`, with the hashes of the files of its `card`, which are written before."""
    facts = {name: {"bytes": (path / name).stat().st_size, "sha256": sha256(path / name)} for name in card}
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
        text = regular(file).read_bytes().decode()
    except FileNotFoundError as error:
        if (path / JOURNAL).exists():
            raise InputError(f"{path} is not a dataset yet: the command that began to write it continues") from error
        found = f"it has no {MANIFEST}" if path.exists() else "the folder does not exist"
        raise InputError(f"{path} is not a dataset: {found}; `mmnist-av generate` writes one") from error
    except OSError as error:
        raise InputError(f"{path} is not a dataset that can be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is damaged: it is not text") from error
    try:
        written: dict[str, Any] = parse_json(text)
        if not isinstance(written, dict):
            raise InputError("it does not have entries by name")
        manifest = _with_defaults(written)
        _refuse_bad_entries(manifest)
        family = _usable_family(manifest["family"])
        if family is not None:
            family.check(manifest)
            _refuse_other_annotations(manifest, family)
        if written["fingerprint"] != _fingerprint(written):
            raise InputError("its fingerprint is not that of its spec and files")
        whole = written["checksum"] == _checksum(written) and text == _text(written)
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is damaged: it is no JSON ({error})") from error
    except InputError as error:
        raise InputError(f"{file} is damaged, or of another version: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {in_words(error)}") from error
    if not whole:
        raise InputError(f"{file} is damaged: it is not as it was written")
    if family is None:
        families.find(manifest["family"])  # raises: the manifest is whole, its family is not here
    return manifest


def _refuse_bad_entries(manifest: Mapping[str, Any]) -> None:
    """Raise InputError for entries that no dataset has: whoever reads a manifest uses them as they are."""
    refuse_misfit(ManifestEntries, manifest)
    _refuse_bad_request(manifest["sizes"], _stored_types(manifest), format_of(manifest))
    for split in SPLITS:
        if split not in manifest["sizes"]:
            raise InputError(f"sizes.{split} is missing")


def _refuse_other_annotations(manifest: Mapping[str, Any], family: families.Family) -> None:
    record = family.record(manifest)
    stored = {*manifest.get("arrays", {}), *([record.name] if record else [])}
    if set(manifest["annotations"]) != stored:
        raise InputError(f"annotations are {manifest['annotations']}, not those that are stored: {sorted(stored)}")


def _usable_family(name: str) -> families.Family | None:
    """Return the family called `name`, or None if it is unknown or cannot be loaded."""
    try:
        return families.find(name)
    except InputError:
        return None


def _with_defaults(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Add the family, format and annotations to a manifest of M3SO that was written before these were part of it."""
    spec = manifest.get("spec")
    if "family" in manifest or not isinstance(spec, dict):
        return dict(manifest)
    known: dict[str, Any] = {name: spec.get(name) for name in ("frames", "fps", "sample_rate")}  # or ClipFormat refuses
    clips = ClipFormat(channels=1, height=spec.get("canvas", 0), width=spec.get("canvas", 0), **known)
    return {**manifest, "family": "m3so", "format": clips.as_dict(), "annotations": ["truth"]}


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
