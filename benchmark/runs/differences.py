"""What identifies a run, and what differs between two sets of facts, in words for error messages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmnist_av.system.errors import first_few
from mmnist_av.system.files import parse_json


def differing_facts(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Return one phrase per value that differs: "model: puq found, sound2sight requested".

    A difference inside a nested mapping is named by its path: "settings.beta: 0.1 found, 1 requested".
    """
    return [
        f"{name}: {'nothing' if found is None else found} found, {'nothing' if value is None else value} requested"
        for name, found, value in _pairs(existing, requested)
    ]


def _pairs(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name and both values of everything that differs, in the order of `requested`."""
    for name in {**requested, **existing}:
        found, value = existing.get(name), requested.get(name)
        if isinstance(found, Mapping) and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", *values) for inner, *values in _pairs(found, value))
        elif (type(found), found) != (type(value), value):  # True equals 1, and its text does not
            yield name, found, value


def differences_in_words(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Return the first few differences in one line, and how many more there are."""
    return first_few(differing_facts(existing, requested))


def difference(existing: str, requested: str) -> str:
    """Return in words how two runs' identities differ: "model: puq found, sound2sight requested"."""
    try:
        return differences_in_words(parse_json(existing), parse_json(requested))
    except (ValueError, TypeError, AttributeError):  # not written by `identity`
        return f"{existing} found, {requested} requested"


def identity(facts: Mapping[str, object]) -> str:
    """Return the text that identifies a run: on one machine's CPU, runs with one identity give the same weights."""
    return json.dumps(facts, sort_keys=True)
