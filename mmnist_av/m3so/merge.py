"""Shards that were generated apart, put together."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset, Split, open_dataset, read_manifest, refuse_damaged
from mmnist_av.m3so.generate import Rendered, asked_of, clips_at_once, write_once
from mmnist_av.m3so.spec import Spec, spec_from_dict
from mmnist_av.system.errors import InputError


def merge(out: Path, parts: Sequence[Path]) -> Dataset:
    """Put the shards that `generate` wrote together in the folder `out`: the bytes that `generate` would write.

    Raises InputError if a part is damaged, missing, double or of another dataset, and as `generate` does for `out`.
    """
    asked, ordered = _whole_of(parts)
    write_once(out, asked, Stored(ordered, spec_from_dict(asked["spec"])))
    return open_dataset(out)


def _whole_of(parts: Sequence[Path]) -> tuple[dict[str, Any], list[Path]]:
    """What was asked for when the dataset was cut into `parts`, and these in order. Reads every byte of them."""
    by_number: dict[int, Path] = {}
    whole: dict[str, Any] = {}
    for folder in parts:
        manifest = read_manifest(folder)
        if "shard" not in manifest:
            raise InputError(f"{folder} is no shard: it is a whole dataset")
        number, of = manifest["shard"]
        asked = {**asked_of(manifest), "shard": of}
        if whole and asked != whole:
            raise InputError(f"{folder} is a shard of another dataset, or of another cut, than {parts[0]}")
        if number in by_number:
            raise InputError(f"{folder} and {by_number[number]} are both shard {number}")
        whole, by_number[number] = asked, folder
    missing = sorted(set(range(1, whole.pop("shard", 0) + 1)) - set(by_number))
    if missing or not parts:
        raise InputError(f"shards are missing: {', '.join(map(str, missing)) or 'none was given'}")
    for folder in parts:
        refuse_damaged(folder, "generate this shard again")
    return whole, [by_number[number] for number in sorted(by_number)]


class Stored:
    """Clips out of the folders of a dataset's parts, in their order."""

    origin = "shards"

    def __init__(self, folders: Sequence[Path], spec: Spec) -> None:
        self._folders, self._count = folders, clips_at_once(spec)

    def _splits(self, split: str) -> list[Split]:
        return [part for part in (open_dataset(folder).split(split) for folder in self._folders) if len(part)]

    def truth(self, split: str) -> Mapping[str, NDArray[Any]]:
        """See Source."""
        found = [part.truth for part in self._splits(split)]
        return {name: np.concatenate([truth[name] for truth in found]) for name in found[0]}

    def rendered(self, split: str, first: int) -> Generator[Rendered, None, None]:
        """See Source."""
        for part in self._splits(split):
            for start in range(min(first, len(part)), len(part), self._count):
                some = slice(start, start + self._count)
                yield part.frames[some], part.audio[some]
            first = max(0, first - len(part))
