"""The seal of a finished run: the SHA-256 of every file in its folder, so that no damage goes unnoticed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256, written_whole

SEAL = "files.json"
REMADE = ("scores.npz", "results.csv", "examples.npz", "report")  # what the same command makes again where it is gone


def seal(folder: Path) -> None:
    """Write files.json: every file in `folder` and below, with its SHA-256, and the SHA-256 of that list."""
    there = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    files = {str(path): sha256(folder / path) for path in there if _belongs(path)}
    with written_whole(folder / SEAL) as part:
        part.write_text(json.dumps({"files": files, "list": _digest(files)}, indent=2) + "\n")


def check_seal(folder: Path) -> None:
    """Raise InputError, naming the files, where a run's folder is not as its seal says; one without a seal passes."""
    wrong = damaged(folder)
    if wrong:
        raise InputError(f"{folder} is not the run it was: {'; '.join(wrong)}")


def damaged(folder: Path) -> list[str]:
    """What is wrong with the files that the seal in `folder` names, and what to do; nothing where there is no seal."""
    path = folder / SEAL
    if not path.exists():
        return []
    try:
        sealed = json.loads(path.read_text())
        files, intact = sealed["files"], sealed["list"] == _digest(sealed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        return [f"{SEAL} is damaged: delete it, if the rest is to be trusted"]
    return list(_differences(folder, files))


def is_whole(folder: Path) -> bool:
    """Whether a run's folder is sealed, and every file that the seal names is there and as it was."""
    if not (folder / SEAL).exists() or damaged(folder):
        return False
    return all((folder / name).is_file() for name in json.loads((folder / SEAL).read_text())["files"])


def unsealed(folder: Path) -> None:
    """Take the seal off, where there is one: what is about to be written differs from it."""
    (folder / SEAL).unlink(missing_ok=True)


def _differences(folder: Path, files: dict[str, str]) -> Iterable[str]:
    for name, digest in files.items():
        remade = name.split("/")[0] in REMADE
        if not (folder / name).is_file():
            if not remade:
                yield f"{name} is missing: restore it, or delete the folder to run again"
        elif sha256(folder / name) != digest:
            remedy = "delete it to have it made again" if remade else "restore it, or delete the folder to run again"
            yield f"{name} has changed: {remedy}"


def _belongs(path: Path) -> bool:
    return path.name != SEAL and not any(part.startswith(".") for part in path.parts)  # locks, and what was left over


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
