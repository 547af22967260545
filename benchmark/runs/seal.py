"""The seal of a finished run: the SHA-256 of every file in its folder, so that no damage goes unnoticed."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import MISSING, changed_files, parse_json, sha256, written_whole

log = logging.getLogger(__name__)

SEAL = "files.json"
# Files that the same command makes again where they are missing
REMADE = ("job.json", "scores.npz", "results.csv", "examples.npz", "report")
# These and the rest of what a run writes
WRITTEN = (
    *REMADE,
    "config.json",
    "environment.json",
    "checkpoint.safetensors",
    "training.csv",
    "validation.csv",
    "tensorboard",
    "scores",
)


def seal(folder: Path) -> None:
    """Write files.json: every file that the run wrote with its SHA-256, and the SHA-256 of that list."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    files = {str(path): sha256(folder / path) for path in paths if _belongs(path)}
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


def note_unsealed(folder: Path) -> None:
    """Say in a note that a run's folder has no seal, so that it may be unfinished or edited."""
    if not is_sealed(folder):
        log.warning("%s has no seal (%s): it is unfinished, or was changed after its end", folder, SEAL)


def find_damage(folder: Path) -> list[str]:
    """Return a line for every file that differs from the seal in `folder`, and what to do; none without a seal."""
    if not is_sealed(folder):
        return []
    try:
        sealed = parse_json((folder / SEAL).read_text())
        files, intact = sealed["files"], sealed["list"] == _digest(sealed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        return [f"{SEAL} is damaged: delete it, if the rest can be trusted"]
    return list(_damage(folder, files))


def is_whole(folder: Path) -> bool:
    """Return whether a run's folder is sealed, and every sealed file is there and unchanged."""
    if not is_sealed(folder) or find_damage(folder):
        return False
    return all((folder / name).is_file() for name in parse_json((folder / SEAL).read_text())["files"])


def remove_seal(folder: Path) -> None:
    """Remove the folder's seal, before files are written that differ from it."""
    (folder / SEAL).unlink(missing_ok=True)


def _damage(folder: Path, files: dict[str, str]) -> Iterator[str]:
    for name, difference in changed_files(folder, {name: {"sha256": digest} for name, digest in files.items()}).items():
        if name.split("/")[0] not in REMADE:
            yield f"{name} {difference}: restore it, or delete the folder to run again"
        elif difference != MISSING:
            yield f"{name} {difference}: delete it to have it made again"


def _belongs(path: Path) -> bool:
    # neither the user's own notes nor locks and leftovers
    return path.parts[0] in WRITTEN and not any(part.startswith(".") for part in path.parts)


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
