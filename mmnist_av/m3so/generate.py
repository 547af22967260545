"""M3SO on disk: from a spec to a dataset."""

import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from mmnist_av import __version__
from mmnist_av.dataset import Dataset, open_dataset_or_shard
from mmnist_av.m3so.digits import POOL_SHA256, DigitPool, Digits, check_source, load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import MOST_CLIPS, Seed, Spec, spec_from_dict
from mmnist_av.m3so.world import Truth, simulate
from mmnist_av.manifest import clips_of, format_of, request
from mmnist_av.sources import Clips, Source, clips_at_once
from mmnist_av.system.engine import Engine, ahead, in_order, open_engine
from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked
from mmnist_av.writing import is_finished, remove_traces, write_once

FAMILY = "m3so"

_Buffers = tuple[NDArray[np.uint8], NDArray[np.int16]]  # frames and audio


@checked
class _Choice:
    """What is chosen beside the spec."""

    seed: Seed
    sizes: dict[str, Annotated[int, Field(ge=0, le=MOST_CLIPS)]]  # clips by split
    shard: tuple[int, int] | None  # number and count

    def __post_init__(self) -> None:
        if self.shard is None:
            return
        (number, count), most = self.shard, max(self.sizes.values(), default=0)
        if not 1 <= number <= count:
            raise InputError(f"there is no shard {number} of {count}: shards are numbered from 1")
        if count > most:  # some would be empty
            raise InputError(f"--shard: {count} shards are too many, the largest split has {most} clips")


def generate(
    out: Path,
    spec: Spec,
    sizes: Mapping[str, int],
    seed: int,
    digits: str = "embedded",
    mnist_root: Path | None = None,
    download: bool = False,
    engine: str = "local",
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
) -> Dataset:
    """Write the dataset of `spec` and `seed`, with `sizes` clips by split, to the folder `out`; return it.

    A finished dataset is verified, an unfinished one resumed. `digits`, `mnist_root` and `download` are those of
    `digits.load_pool`; `engine` and `workers`, those of `open_engine`, change no byte. shard: (number, count), to write
    that part of every split only, for `merge`. Raises InputError for bad sizes, seed, digits or shard, for an `out`
    that holds anything else or a damaged dataset, and for a full disk.
    """
    requested = describe(spec, sizes, seed, digits, shard)
    if is_finished(out, requested):  # then no pool is loaded and no engine started
        remove_traces(out, requested)
        return open_dataset_or_shard(out)
    pool = load_pool(digits, mnist_root, download)
    with open_engine(engine, workers) as running:
        return write_once(out, requested, Simulated(requested, pool, running))


def describe(
    spec: Spec, sizes: Mapping[str, int], seed: int, digits: str, shard: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return the request for a dataset, as dataset.json holds it; raise InputError as `generate` does."""
    check_source(digits)
    choice = _Choice(seed=seed, sizes=dict(sizes), shard=shard)
    rest: dict[str, Any] = {} if shard is None else {"shard": list(shard)}
    return request(
        spec.name,
        spec.format,
        choice.sizes,
        family=FAMILY,
        spec=spec.as_dict(),
        seed=choice.seed,
        digits={"source": digits, "sha256": POOL_SHA256[digits]},
        **rest,
    )


class Simulated(Source):
    """Clips that are simulated from a pool of digits and rendered by an engine."""

    def __init__(self, requested: Mapping[str, Any], pool: DigitPool, engine: Engine) -> None:
        self._spec, self._seed = spec_from_dict(requested["spec"]), requested["seed"]
        self._count = clips_at_once(format_of(requested))
        self._clips, self._pool, self._engine = clips_of(requested), pool, engine
        self._truths: dict[str, Truth] = {}
        self.provenance = f"mmnist-av {__version__}"

    @override
    def record(self, split: str) -> Mapping[str, NDArray[Any]]:
        return self._truth(split).arrays()

    def _truth(self, split: str) -> Truth:
        if split not in self._truths:
            clips = np.array(self._clips[split])
            self._truths[split] = simulate(self._pool[split], self._spec, self._seed, split, clips)
        return self._truths[split]

    @override
    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        # While some clips are written, the next ones are rendered.
        truth, spec, engine, count = self._truth(split), self._spec, self._engine, self._count
        digits = engine.share(self._pool[split])
        starts = range(first, len(truth), count)
        parts = (truth.clips(slice(start, start + count)) for start in starts)
        buffers: Iterator[_Buffers | None] = itertools.repeat(None)
        if engine.in_place:  # fresh memory for every part would cost a fourth of the rendering
            size = min(count, len(truth))
            buffers = itertools.cycle([_empty(size, spec) for _ in range(min(ahead(engine) + 1, len(starts)))])
        yield from in_order(engine, _render, ((part, digits, spec, next(buffers)) for part in parts))


def _empty(clips: int, spec: Spec) -> _Buffers:
    return np.empty((clips, spec.frames, spec.canvas, spec.canvas), np.uint8), np.empty((clips, spec.samples), np.int16)


def _render(truth: Truth, digits: Digits, spec: Spec, buffers: _Buffers | None) -> Clips:
    frames, audio = buffers or _empty(len(truth), spec)
    return Clips(
        frames=render_frames(truth, digits, spec, frames[: len(truth)]),
        audio=render_audio(truth, spec, audio[: len(truth)]),
    )
