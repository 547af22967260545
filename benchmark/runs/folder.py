"""A run's folder: which run it belongs to, and its small files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmark.catalogue import find_protocol
from benchmark.runs.differences import differences_in_words
from benchmark.runs.seal import SEAL, WRITTEN, check_seal, find_damage, remove_seal
from mmnist_av.dataset import is_dataset
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import is_leftover, parse_json, real_path, regular, remove_leftovers, written_whole

CONFIG, ENVIRONMENT, RESULTS, CHECKPOINT = "config.json", "environment.json", "results.csv", "checkpoint.safetensors"
JOB = "job.json"  # what the user requested there last
LOGS = ("training.csv", "validation.csv")
WORK = (CHECKPOINT, "scores", "scores.npz")  # what an interrupted run has done, and continues from
MARKS = {"model", "settings", "protocol", "preset", "fingerprint", "samples", "test_clips", "device", "code_version"}
UNKNOWN = "unknown"  # what an environment.json that is lost or damaged said
COMPARED = ("fingerprint", "test_clips")  # what comparable runs share, beside the protocol


def check_folder(folder: Path) -> None:
    """Raise InputError for a folder that holds something other than a run, or lies inside a run or a dataset."""
    check_place(folder)
    files = list(folder.iterdir()) if folder.is_dir() else []
    if not is_run(folder) and not all(map(is_leftover, files)):
        for line in find_damage(folder):
            if line.startswith(CONFIG):
                raise InputError(f"{folder} has changed since its run ended: {line}")
        if (folder / CHECKPOINT).is_file():
            fault = "damaged" if (folder / CONFIG).is_file() else "missing"
            again = "take that of the same command with another --out, by the same code"
            raise InputError(f"{folder} holds a {CHECKPOINT}, but its {CONFIG} is {fault}: restore it, or {again}")
        raise InputError(f"{folder} is not empty and holds no run: choose another --out")


def check_place(folder: Path, option: str = "--out") -> None:
    """Raise InputError, which advises another value of an option, for a path that lies inside a run or a dataset."""
    for outer in real_path(folder).parents:
        kind = "run" if is_run(outer) else "dataset" if is_dataset(outer) else ""
        if kind:
            raise InputError(f"{folder} lies in the {kind} {outer}: choose another {option}")


def is_run(folder: Path) -> bool:
    """Return whether a run has written the folder's config.json."""
    try:
        return read_json(folder / CONFIG).keys() >= MARKS
    except InputError:
        return False


def claim(folder: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Make the folder this run's, or continue the interrupted run of the same config in it.

    Raises InputError for a folder of something else, a damaged run, and one of another config that has left anything.
    The seal goes once a first file could be written: a full disk leaves a finished run as it is.
    """
    check_folder(folder)
    path = folder / CONFIG
    check_seal(folder)
    requested = json.loads(json.dumps(config))
    existing = read_json(path) if path.exists() else None
    if existing is not None and existing != requested and _has_left_anything(folder):
        remedy = "choose another --out"
        if {**existing, "code_version": requested["code_version"]} == requested:
            remedy += ", or go back to that code; --trained scores a model whose training is finished with today's"
        raise InputError(f"{folder} holds another run ({differences_in_words(existing, requested)}): {remedy}")
    remove_leftovers(folder)
    if existing != requested:
        write_json(path, config)
    worked = any((folder / name).exists() for name in WORK)
    before = environment_of(folder, environment) if worked else {}
    with written_whole(folder / ENVIRONMENT) as part:
        part.write_text(_as_text({name: _also(before.get(name), value) for name, value in environment.items()}))
        remove_seal(folder)
    if not worked:
        for name in LOGS:  # of this run, which ended before its first checkpoint
            (folder / name).unlink(missing_ok=True)


def _has_left_anything(folder: Path) -> bool:
    """Return whether a run has left more in its folder than what it writes before it starts."""
    left = [folder / name for name in (SEAL, *WRITTEN) if name not in (CONFIG, ENVIRONMENT, JOB)]
    return any(path.exists() and not (path.is_file() and not path.stat().st_size) for path in left)


def environment_of(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return what a run says of the environment it was done in; where its file is lost or damaged, UNKNOWN."""
    try:
        return read_json(folder / ENVIRONMENT)
    except InputError:
        return dict.fromkeys(names, UNKNOWN)


def _also(before: object, now: object) -> object:
    """Return what describes a run that began in one environment and continues in another: "torch 2.1, then 2.2"."""
    if before in (None, now) or str(before).endswith(f", then {now}"):
        return now if before is None else before
    return f"{before}, then {now}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(_as_text(content))


def _as_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def read_json(path: Path, remedy: str = "restore it") -> dict[str, Any]:
    """Return what `write_json` wrote; InputError, with a remedy that loses nothing, for a missing or damaged file."""
    try:
        content = parse_json(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: an object is expected; {remedy}")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's config.json. Raises InputError for a folder without one, and for one without model or protocol."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} holds no run: it has no {CONFIG}")
    config = read_json(path)
    if not isinstance(config.get("model"), str) or not isinstance(config.get("protocol"), str):
        raise InputError(f"{path} is damaged: it names no model or no protocol")
    return config


def check_comparable(one: Path, config: Mapping[str, Any], other: Path, other_config: Mapping[str, Any]) -> None:
    """Raise InputError where the runs in two folders are not of the same clips and protocol.

    A protocol and its mismatched form predict the same frames, and so compare.
    """
    protocols = [find_protocol(each["protocol"]).matched.name for each in (config, other_config)]
    pairs = [("protocol", *protocols), *((name, config.get(name), other_config.get(name)) for name in COMPARED)]
    for name, first, second in pairs:
        if first != second:
            raise InputError(f"the runs do not compare: {name} is {first} in {one}, {second} in {other}")
