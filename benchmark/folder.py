"""A run's folder: whose it is, and its small files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import protocols
from benchmark.seal import check_seal, unsealed
from mmnist_av.errors import InputError
from mmnist_av.files import remove_leftovers, written_whole

SAME = ("fingerprint", "test_clips")  # what runs must share to stand beside each other, beside the protocol


def claim(folder: Path, facts: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Make the folder this run's, or take up the broken-off run of the same facts that is in it."""
    path = folder / "config.json"
    check_seal(folder)
    if path.exists():
        found, asked = read_json(path), json.loads(json.dumps(facts))
        differ = [name for name in {**asked, **found} if asked.get(name) != found.get(name)]
        if differ:
            told = ", ".join(f"{name} {found.get(name)} there, {asked.get(name)} asked" for name in differ[:3])
            raise InputError(f"{folder} holds another run ({told}): choose another --out")
    unsealed(folder)
    remove_leftovers(folder)
    write_json(path, facts)
    if not (folder / "scores.npz").exists():  # else they come from where environment.json says
        write_json(folder / "environment.json", described)


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


def check_same(one: Path, facts: Mapping[str, Any], other: Path, others: Mapping[str, Any]) -> None:
    """Raise InputError where the runs in two folders, of these facts, are not of the same clips and protocol.

    A protocol and its av-mismatch ask for the same frames.
    """
    asked = [protocols.find(each["protocol"]).matched.name for each in (facts, others)]
    pairs = [("protocol", *asked), *((name, facts.get(name), others.get(name)) for name in SAME)]
    for name, here, there in pairs:
        if here != there:
            raise InputError(f"the runs do not compare: {name} is {here} in {one}, {there} in {other}")
