"""The seal of a finished run: the SHA-256 of every file in its folder, so that no damage goes unnoticed."""

import hashlib
import json
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import MISSING, changed_files, parse_json, regular, sha256, written_whole

log = logging.getLogger(__name__)

SEAL = "files.json"
RESTORE = "restore it, or run again with another --out"  # what to do with a damaged file that no command makes again
# Files that the same command makes again where they are missing
REMADE = ("job.json", "environment.json", "scores.npz", "results.csv", "examples.npz", "report")
# These and the rest of what a run writes
WRITTEN = (
    *REMADE,
    "config.json",
    "checkpoint.safetensors",
    "training.csv",
    "validation.csv",
    "tensorboard",
    "scores",
)
REPORT, TENSORBOARD = "report", "tensorboard"  # folders of WRITTEN, in which the user may keep files, too


def seal(folder: Path, drawn: Container[str] = (), keep: Iterable[str] = ()) -> None:
    """Write files.json: every file that the run wrote with its SHA-256, and the SHA-256 of that list.

    drawn: the names of the files in report/ that are the run's; others there are an earlier report's or the user's.
    keep: names that stay as the seal before has them: of missing files, which the run's command makes again.
    """
    before = sealed_files(folder) or {}
    files = {name: before[name] for name in keep} | {
        str(path): sha256(folder / path)
        for path in _own_files(folder)
        if path.parts[0] != REPORT or str(path.relative_to(REPORT)) in drawn
    }
    with written_whole(folder / SEAL) as part:
        part.write_text(json.dumps({"files": files, "list": _digest(files)}, indent=2) + "\n")


def is_sealed(folder: Path) -> bool:
    """Return whether the folder has a seal, as every finished run has."""
    return (folder / SEAL).exists()


def check_seal(folder: Path) -> None:
    """Raise InputError, naming the files, where a run's folder differs from its seal; without a seal it passes."""
    damage = find_damage(folder)
    if damage:
        raise InputError(f"{folder} has changed since its run ended: {'; '.join(damage)}")


def check_complete(folder: Path) -> None:
    """Raise InputError where a run is unfinished, lacks any file that its seal lists, or has a changed one."""
    if not is_sealed(folder):
        raise InputError(f"{folder} is not a finished run: it has no {SEAL}")
    check_seal(folder)
    missing = find_missing(folder)
    if missing:
        raise InputError(f"{folder} is not complete: {missing_in_words(missing)}")


def note_missing(folder: Path) -> list[str]:
    """Say in a note which files of a finished run, its report aside, are missing; return their names."""
    names = [name for name in find_missing(folder) if name.split("/")[0] != REPORT]
    if names:
        log.warning("%s: %s", folder, missing_in_words(names))
    return names


def note_unsealed(folder: Path) -> None:
    """Say in a note that a run's folder has no seal, so that it may be unfinished or edited."""
    if not is_sealed(folder):
        log.warning("%s has no seal (%s): it is unfinished, or was changed after its end", folder, SEAL)


def find_damage(folder: Path) -> list[str]:
    """Return a line for every file that differs from the seal in `folder`, and what to do; none without a seal.

    Files of REMADE may be missing: see `find_missing`.
    """
    if not is_sealed(folder):
        return []
    files = sealed_files(folder)
    if files is None:
        return [f"{SEAL} is damaged: delete it, if the rest can be trusted"]
    return [*_damage(folder, files), *_unlisted(folder, files)]


def sealed_files(folder: Path) -> dict[str, str] | None:
    """Return the files that a run's seal lists, with their SHA-256; None where it is missing or damaged.

    Raises PermissionError where it may not be read.
    """
    try:
        sealed = parse_json(regular(folder / SEAL).read_text())
        files: dict[str, str] = sealed["files"]
        return files if sealed["list"] == _digest(files) else None
    except PermissionError:  # it may be whole
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_missing(folder: Path) -> list[str]:
    """Return the names of the files that the seal in `folder` lists and that are missing; none without a seal."""
    return [name for name in sealed_files(folder) or () if not (folder / name).is_file()]


def missing_in_words(names: Sequence[str]) -> str:
    """Return which files of REMADE are missing, the first three of many, and what makes them again."""
    shown = [*names[:3], f"{len(names) - 3} more"] if len(names) > 4 else names
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    return f"{', '.join(shown)} {are} missing: give the run's command again to have {them} made again"


def is_whole(folder: Path) -> bool:
    """Return whether a run's folder is sealed, and every sealed file is there and unchanged."""
    return is_sealed(folder) and not find_damage(folder) and not find_missing(folder)


def remove_seal(folder: Path) -> None:
    """Remove the folder's seal, before files are written that differ from it."""
    (folder / SEAL).unlink(missing_ok=True)


def _damage(folder: Path, files: dict[str, str]) -> Iterator[str]:
    for name, difference in changed_files(folder, {name: {"sha256": digest} for name, digest in files.items()}).items():
        if name.split("/")[0] not in REMADE:
            yield f"{name} {difference}: {RESTORE}"
        elif difference != MISSING:
            yield f"{name} {difference}: move it away to have it made again"


def _unlisted(folder: Path, files: Container[str]) -> Iterator[str]:
    """Yield a line for every file with the name of a run's own that came into the folder after its end."""
    for path in _own_files(folder):
        if str(path) not in files and path.parts[0] not in (REPORT, TENSORBOARD):
            yield f"{path} was not there when the run ended: move it away"


def _own_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a run by their paths in its folder, without the user's notes, locks and leftovers."""
    for name in sorted(WRITTEN):
        for path in sorted([folder / name, *(folder / name).rglob("*")]):
            own = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in own.parts):
                yield own


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
