"""What two records of a run differ in, in words."""

from collections.abc import Mapping
from typing import Any

SHOWN = 3  # differences in a message, at most


def differences(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, those of `requested` first."""
    return [name for name in {**requested, **existing} if requested.get(name) != existing.get(name)]


def in_words(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Return the first differences in words: "model is puq there, sound2sight is requested"."""
    names = differences(existing, requested)[:SHOWN]
    return ", ".join(f"{name} is {existing.get(name)} there, {requested.get(name)} is requested" for name in names)
