"""Merge shards that were generated apart into one dataset."""

import itertools
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mmnist_av.dataset import Dataset, Split, open_dataset_or_shard, refuse_damaged
from mmnist_av.families import find
from mmnist_av.manifest import format_of, read_manifest, request_of
from mmnist_av.sources import Clips, Source, clips_at_once
from mmnist_av.system.errors import InputError
from mmnist_av.writing import write_once

MOST_NAMED = 100  # missing shards in an error: a manifest may claim any number of shards


def merge(out: Path, parts: Sequence[Path]) -> Dataset:
    """Merge the shards that `generate` wrote to the folders `parts` into the folder `out`; return the dataset.

    Its bytes are those that `generate` would write. Raises InputError if a part is damaged, missing, given twice or of
    another dataset, and for `out` as `generate` does.
    """
    requested, ordered = _whole_of(parts)
    return write_once(out, requested, Shards(requested, ordered))


def _whole_of(parts: Sequence[Path]) -> tuple[dict[str, Any], list[Path]]:
    """Return the request of the dataset that `parts` belong to, and the parts in order; read every byte of them."""
    by_number: dict[int, Path] = {}
    whole: dict[str, Any] = {}
    for folder in parts:
        manifest = read_manifest(folder)
        if "shard" not in manifest:
            raise InputError(f"{folder} is not a shard: it is a whole dataset")
        number, count = manifest["shard"]
        requested = {**request_of(manifest), "shard": count}
        if whole and requested != whole:
            raise InputError(f"{folder} is a shard of another dataset, or of another number of shards, than {parts[0]}")
        if number in by_number:
            raise InputError(f"{folder} and {by_number[number]} are both shard {number}")
        whole, by_number[number] = requested, folder
    numbers = range(1, whole.pop("shard", 0) + 1)
    missing = list(itertools.islice((number for number in numbers if number not in by_number), MOST_NAMED))
    if missing or not parts:
        raise InputError(f"shards are missing: {', '.join(map(str, missing)) or 'none was given'}")
    for folder in parts:
        refuse_damaged(folder, "generate this shard again")
    return whole, [by_number[number] for number in sorted(by_number)]


class Shards(Source):
    """The clips of a dataset's shards, in their order."""

    provenance = "shards"

    def __init__(self, requested: Mapping[str, Any], folders: Sequence[Path]) -> None:
        self._folders, self._count = folders, clips_at_once(format_of(requested))
        self._arrays = list(requested.get("arrays", {}))
        self._record = find(requested["family"]).record(requested)

    def _splits(self, split: str) -> list[Split]:
        return [part for part in (open_dataset_or_shard(folder).split(split) for folder in self._folders) if len(part)]

    @override
    def record(self, split: str) -> Mapping[str, NDArray[Any]]:
        if self._record is None:
            return {}
        records = [part.record(self._record.name) for part in self._splits(split)]
        return {name: np.concatenate([record[name] for record in records]) for name in records[0]}

    @override
    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        for part in self._splits(split):
            for start in range(min(first, len(part)), len(part), self._count):
                some = slice(start, start + self._count)
                yield Clips(
                    part.frames[some], part.audio[some], {name: part.array(name)[some] for name in self._arrays}
                )
            first = max(0, first - len(part))
