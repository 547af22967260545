"""A run's folder: whose it is, and its small files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import protocols
from benchmark.runs.seal import check_seal, unsealed
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import remove_leftovers, written_whole

SAME = ("fingerprint", "test_clips")  # what runs must share to stand beside each other, beside the protocol


WORK = ("checkpoint.safetensors", "scores", "scores.npz")  # what a run that was broken off has done


def claim(folder: Path, facts: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Make the folder this run's, or take up the broken-off run of the same facts that is in it."""
    path = folder / "config.json"
    check_seal(folder)
    if path.exists():
        found, asked = read_json(path), json.loads(json.dumps(facts))
        differ = [name for name in {**asked, **found} if asked.get(name) != found.get(name)]
        if differ and any((folder / name).exists() for name in WORK):
            told = ", ".join(f"{name} {found.get(name)} there, {asked.get(name)} asked" for name in differ[:3])
            remedy = "choose another --out"
            if differ == ["code_version"]:
                remedy += ", or go back to that code; --trained scores a finished run's model with today's"
            raise InputError(f"{folder} holds another run ({told}): {remedy}")
    unsealed(folder)
    remove_leftovers(folder)
    if not any((folder / name).exists() for name in WORK):
        for name in ("training.csv", "validation.csv"):  # of a run that came to nothing
            (folder / name).unlink(missing_ok=True)
    write_json(path, facts)
    place = folder / "environment.json"
    before = read_json(place) if place.exists() and any((folder / name).exists() for name in WORK) else {}
    write_json(place, {name: also(before.get(name), value) for name, value in described.items()})


def also(before: object, now: object) -> object:
    """What describes a run that was begun in one place and goes on in another: "torch 2.1, then 2.2"."""
    if before in (None, now) or str(before).endswith(f", then {now}"):
        return now if before is None else before
    return f"{before}, then {now}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What write_json wrote; InputError if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete {path.parent} to run again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it must hold an object; delete {path.parent} to run again")
    return found


def read_facts(folder: Path) -> dict[str, Any]:
    """A run's config.json. Raises InputError where there is none, or it names no model or no protocol."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no run: it has no config.json")
    facts = read_json(path)
    if not isinstance(facts.get("model"), str) or not isinstance(facts.get("protocol"), str):
        raise InputError(f"{path} is damaged: it names no model or no protocol")
    return facts


def check_same(one: Path, facts: Mapping[str, Any], other: Path, others: Mapping[str, Any]) -> None:
    """Raise InputError where the runs in two folders, of these facts, are not of the same clips and protocol.

    A protocol and its av-mismatch ask for the same frames.
    """
    asked = [protocols.find(each["protocol"]).matched.name for each in (facts, others)]
    pairs = [("protocol", *asked), *((name, facts.get(name), others.get(name)) for name in SAME)]
    for name, here, there in pairs:
        if here != there:
            raise InputError(f"the runs do not compare: {name} is {here} in {one}, {there} in {other}")
