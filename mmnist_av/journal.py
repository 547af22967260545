"""What an unfinished dataset says of itself: what was asked for, and which shards were written.

It lies beside the arrays until dataset.json is written.
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import is_leftover, sync_folder

JOURNAL = "unfinished.jsonl"


class Journal:
    """The journal of the folder being written: its first line is what was asked for, each other a shard."""

    def __init__(self, descriptor: int, lines: Sequence[Mapping[str, Any]]) -> None:
        self._descriptor, self._lines = descriptor, lines

    def shards(self, split: str) -> list[tuple[int, list[str]]]:
        """The shards of `split` that earlier runs wrote, in order: clips so far, SHA-256 of each array so far."""
        found = {line["clips"]: line["sha256"] for line in self._lines if line["split"] == split}
        return sorted(found.items())

    def add(self, split: str, clips: int, digests: list[str]) -> None:
        """Note that the first `clips` clips of `split` are written. Not synced: what it says is checked when read."""
        _append(self._descriptor, {"split": split, "clips": clips, "sha256": digests})


@contextmanager
def open_journal(out: Path, asked: Mapping[str, Any], origin: str) -> Iterator[Journal]:
    """The journal of the folder `out`, made if the folder is empty; for its sole writer only.

    Raises InputError if `out` holds something else, or an unfinished dataset that is not the one `asked` for, or whose
    clips came from another origin.
    """
    names = {file.name for file in out.iterdir() if not is_leftover(file)}
    if names and JOURNAL not in names:
        raise InputError(f"{out} is not empty and holds no dataset of ours: choose another --out")
    path, asked = out / JOURNAL, {**asked, "origin": origin}
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        lines = _whole_lines(path)
        if lines:
            refuse_another(out, asked, lines[0])
        else:
            os.ftruncate(descriptor, 0)
            _append(descriptor, asked)
            os.fsync(descriptor)
            sync_folder(out)
        yield Journal(descriptor, lines[1:])
    finally:
        os.close(descriptor)


def refuse_another(out: Path, asked: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raises InputError, naming what differs, if what is `there` is not what was `asked` for."""
    for name, value in _facts(asked).items():
        other = _facts(there).get(name)
        if other != value:
            raise InputError(f"{out} holds another dataset: {name} is {other}, not {value}; choose another --out")


def _facts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, one level deep."""
    facts: dict[str, Any] = {}
    for part in ("dataset", "seed", "digits", "sizes", "spec", "shard", "origin"):
        value = asked.get(part)
        inner = value if isinstance(value, dict) else {"": value}
        facts |= {f"{part} {name}".rstrip(): fact for name, fact in inner.items()}
    return facts


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines up to the first that a kill or a power cut tore, which is removed with what follows it."""
    lines, end = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            told = json.loads(line)
        except ValueError:
            break
        if not isinstance(told, dict):
            break
        lines.append(told)
        end += len(line)
    os.truncate(path, end)
    return lines


def _append(descriptor: int, line: Mapping[str, Any]) -> None:
    text = json.dumps(line).encode() + b"\n"
    if os.write(descriptor, text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), JOURNAL)
