"""The journal of an unfinished dataset: what was requested, and which clips were written.

It lies beside the arrays until dataset.json is written.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from mmnist_av.manifest import JOURNAL, request_of
from mmnist_av.manifest_entries import Size
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import is_leftover, parse_json, regular, sync_folder
from mmnist_av.system.settings import refuse_misfit


class _Clips(TypedDict):
    """A line of the journal: the first clips of a split are written."""

    split: str
    clips: Size
    sha256: list[str]  # of each array up to there


class Journal:
    """The journal of a folder that is being written. Its first line is the request, each other line some clips."""

    def __init__(self, descriptor: int, lines: Sequence[Mapping[str, Any]]) -> None:
        self._descriptor, self._lines = descriptor, lines

    def written(self, split: str) -> list[tuple[int, list[str]]]:
        """Return what earlier runs wrote of `split`, in order: clips up to there, SHA-256 of each array up to there."""
        noted = {line["clips"]: line["sha256"] for line in self._lines if line["split"] == split}
        return sorted(noted.items())

    def add(self, split: str, clips: int, digests: list[str]) -> None:
        """Note that the first `clips` clips of `split` are written.

        The line is not synced to the disk: its hashes are compared with the arrays when it is read again.
        """
        _append(self._descriptor, {"split": split, "clips": clips, "sha256": digests})

    def sync(self) -> None:
        """Write the lines to the disk."""
        os.fsync(self._descriptor)


@contextmanager
def open_journal(out: Path, requested: Mapping[str, Any], provenance: str) -> Iterator[Journal]:
    """Yield the journal of the folder `out`, a new one if the folder is empty; only the sole writer may call this.

    Raises InputError if `out` holds anything else, or an unfinished dataset that was requested otherwise or whose clips
    have another provenance.
    """
    names = {file.name for file in out.iterdir() if not is_leftover(file)}
    if names and JOURNAL not in names:
        raise InputError(f"{out} is not empty and holds no dataset: choose another --out")
    path, request = out / JOURNAL, {**requested, "provenance": provenance}
    content = regular(path).read_bytes() if path.exists() else b""
    lines, end = _whole_lines(content)
    if lines:
        refuse_another(out, request, lines[0])
    elif not _line(request).startswith(content):
        raise InputError(f"{path} is not the journal of an unfinished dataset: choose another --out")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.ftruncate(descriptor, end)
        if not lines:
            _append(descriptor, request)
            os.fsync(descriptor)
            sync_folder(out)
        yield Journal(descriptor, lines[1:])
    finally:
        os.close(descriptor)


def remove_journal(out: Path, requested: Mapping[str, Any]) -> None:
    """Remove the journal of the finished dataset that was `requested`; nothing else of that name."""
    path = out / JOURNAL
    lines, _ = _whole_lines(path.read_bytes()) if path.is_file() else ([], 0)
    if lines and {**lines[0], "provenance": ""} == {**requested, "provenance": ""}:
        path.unlink()


def refuse_another(out: Path, requested: Mapping[str, Any], existing: Mapping[str, Any]) -> None:
    """Raise InputError, with the first difference, if the `existing` dataset of `out` is not the `requested` one."""
    wanted, found = _facts(requested), _facts(request_of(existing))
    for name in {**wanted, **found}:
        if found.get(name) != wanted.get(name):
            difference = f"{name} is {found.get(name)}, not {wanted.get(name)}"
            raise InputError(f"{out} holds another dataset: {difference}; choose another --out")


def _facts(requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a request and those of its dictionaries, by name: "seed", "spec canvas"."""
    facts: dict[str, Any] = {}
    for part, value in requested.items():
        inner = value if isinstance(value, dict) else {"": value}
        facts |= {f"{part} {name}".rstrip(): fact for name, fact in inner.items()}
    return facts


def _whole_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the lines before the first incomplete one, and their length: a killed process may leave half a line."""
    lines: list[dict[str, Any]] = []
    end = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            entry = parse_json(line)
            refuse_misfit(_Clips if lines else dict[str, Any], entry)  # the first is the request
        except ValueError:
            break
        lines.append(entry)
        end += len(line)
    return lines, end


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _append(descriptor: int, entry: Mapping[str, Any]) -> None:
    line = _line(entry)
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), JOURNAL)
