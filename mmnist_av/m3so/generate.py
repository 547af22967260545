"""Splits and shards: from a spec to a dataset on disk, going on where an earlier run was stopped."""

import errno
import itertools
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmnist_av import __version__
from mmnist_av.dataset import (
    MANIFEST,
    Dataset,
    clips_of,
    complete_manifest,
    open_dataset,
    read_manifest,
    write_manifest,
    write_truth,
)
from mmnist_av.exchange.card import write_card
from mmnist_av.journal import JOURNAL, Journal, open_journal, refuse_another
from mmnist_av.m3so.digits import POOL_SHA256, Digits, check_source, load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import MOST_CLIPS, SEEDS, SPLIT_IDS, Spec, spec_from_dict
from mmnist_av.m3so.world import Truth, simulate
from mmnist_av.system.engine import Engine, ahead, in_order, open_engine
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import GrowingArray, remove_leftovers, sole_writer
from mmnist_av.system.progress import progress_bar

Rendered = tuple[NDArray[np.uint8], NDArray[np.int16]]  # frames and sound of the same clips

SHARD = 10_000_000  # bytes rendered and written at once, 25 clips of M3SO: they are hashed while still in the cache


class Source(Protocol):
    """Where the clips of a dataset, or of a part of it, come from."""

    origin: str  # names it: what another origin left unfinished is not gone on with

    def truth(self, split: str) -> Mapping[str, NDArray[Any]]:
        """The fields of Truth of all its clips of `split`, by name."""

    def rendered(self, split: str, first: int) -> Generator[Rendered, None, None]:
        """Its clips of `split` from number `first` on, some at a time; what is yielded may be overwritten later."""


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
    """Write the dataset of `spec` and `seed` with `sizes` clips in train, val and test to the folder `out`.

    Does nothing if it is there already; goes on if it was left unfinished. `digits` is a digit source of
    `digits.load_pool`, `engine` and `workers` are those of `open_engine`: they change no byte. `shard` (number, of)
    writes that part of every split only, for `merge`. Raises InputError for bad sizes, seed, digits or shard, for an
    `out` that holds anything else, and for a full disk.
    """
    asked = _describe(spec, sizes, seed, digits, shard)
    _simulate_once(out, asked, (digits, mnist_root, download), engine, workers)
    return open_dataset(out)


def _simulate_once(
    out: Path, asked: Mapping[str, Any], pool: tuple[str, Path | None, bool], engine: str, workers: int | None
) -> None:
    """Simulate and write what was asked for, unless it is there: then no pool is loaded and no engine started."""
    if _is_finished(out, asked):
        (out / JOURNAL).unlink(missing_ok=True)
        return
    digits = load_pool(*pool)
    with open_engine(engine, workers) as workshop:
        write_once(out, asked, Simulated(asked, digits, workshop))


def write_once(out: Path, asked: Mapping[str, Any], source: Source, wanted: Mapping[str, Any] | None = None) -> None:
    """Write what was asked for to `out`, unless it is there.

    wanted: what dataset.json says of the files, if that is known before. Raises InputError where others come out, or
    are there; then nothing that was written stays.
    """
    with sole_writer(out):
        if not _is_finished(out, asked):
            _write(out, asked, source, wanted)
        elif wanted is not None:
            _refuse_others(out, read_manifest(out)["files"], wanted)
        (out / JOURNAL).unlink(missing_ok=True)


def clips_at_once(spec: Spec) -> int:
    """How many clips are rendered and written at once."""
    return max(1, SHARD // spec.clip_bytes)


def asked_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for when the dataset of this manifest was made."""
    return {
        name: manifest[name] for name in ("dataset", "spec", "seed", "digits", "sizes", "shard") if name in manifest
    }


def _write(out: Path, asked: Mapping[str, Any], source: Source, wanted: Mapping[str, Any] | None) -> None:
    """Write, or go on writing, all that was asked for."""
    spec, clips = spec_from_dict(asked["spec"]), {split: len(part) for split, part in clips_of(asked).items()}
    total = sum(clips.values())
    files: dict[str, str] = {}
    with (
        _room(out, total * spec.clip_bytes),
        open_journal(out, asked, source.origin) as journal,
        progress_bar("clips", total) as done,
    ):
        for split, count in clips.items():
            if count:
                files |= _write_split(out, spec, split, count, source, journal, done)
        remove_leftovers(out)
        manifest = complete_manifest(out, asked, files)
        if wanted is not None and manifest["files"] != wanted:
            _remove(out, files)
            _refuse_others(out, manifest["files"], wanted)
        write_manifest(out, manifest, write_card(out, manifest))


def _refuse_others(out: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    others = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name))
    if others:
        raise InputError(f"{out} is not what was exported: other bytes in {', '.join(others)}")


def _remove(out: Path, files: Mapping[str, str]) -> None:
    """Remove the files of a dataset that is not to be, and its journal."""
    for name in (*files, JOURNAL):
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in files}:
        folder.rmdir()


def _describe(
    spec: Spec, sizes: Mapping[str, int], seed: int, digits: str, shard: tuple[int, int] | None
) -> dict[str, Any]:
    """What was asked for, as dataset.json says it. Raises InputError for bad sizes, seed, digit source or shard."""
    check_source(digits)
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InputError(f"there is no shard {shard[0]} of {shard[1]}: shards are numbered from 1")
    for split in sizes:
        if split not in SPLIT_IDS:
            raise unknown_name("split", split, SPLIT_IDS)
    whole = {split: int(sizes.get(split, 0)) for split in SPLIT_IDS}
    for split, clips in whole.items():
        if not 0 <= clips <= MOST_CLIPS:
            raise InputError(f"the split '{split}' can have 0 to {MOST_CLIPS} clips, not {clips}")
    if not any(whole.values()):
        raise InputError("a dataset needs a clip in one split at least")
    if not 0 <= seed < SEEDS:
        raise InputError(f"the seed must be 0 to {SEEDS - 1}, not {seed}")
    source = {"source": digits, "sha256": POOL_SHA256[digits]}
    asked = {"dataset": spec.name, "spec": spec.as_dict(), "seed": int(seed), "digits": source, "sizes": whole}
    return asked if shard is None else {**asked, "shard": list(shard)}


def _is_finished(out: Path, asked: Mapping[str, Any]) -> bool:
    """Whether `out` is the dataset `asked` for. Raises InputError if it is another, or a damaged one."""
    if not (out / MANIFEST).exists():
        return False
    refuse_another(out, asked, read_manifest(out))
    return True


@contextmanager
def _room(out: Path, needed: int) -> Iterator[None]:
    """Raises InputError if the disk has no room for `needed` bytes in all, or turns out to have none meanwhile."""
    sizes = f"the dataset needs {_gb(needed)}"
    there = sum(512 * file.stat().st_blocks for file in out.rglob("*.npy*"))
    free = shutil.disk_usage(out).free
    if free < needed - there:
        raise InputError(f"no room in {out}: {sizes}, of which {_gb(there)} are there; {_gb(free)} are free")
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        again = "when there is room, the same command goes on"
        if error.errno == errno.EFBIG:
            again = "files may not be that large here, by the shell's or the file system's limit"
        raise InputError(f"no room in {out} ({error.strerror}): {sizes}; {again}") from error


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f} GB"


def _write_split(
    out: Path, spec: Spec, split: str, clips: int, source: Source, journal: Journal, done: Callable[[int], None]
) -> dict[str, str]:
    """Write one split's three files. Returns their SHA-256 by name."""
    folder = out / split
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        writers = stack.enter_context(ThreadPoolExecutor(2))
        picture = clips, spec.frames, spec.canvas, spec.canvas
        frames = stack.enter_context(closing(GrowingArray(folder / "frames.npy", picture, np.uint8)))
        audio = stack.enter_context(closing(GrowingArray(folder / "audio.npy", (clips, spec.samples), np.int16)))
        written = _kept(journal, split, clips, frames, audio)
        done(written)
        with closing(source.rendered(split, written)) as shards:
            for rendered in shards:
                digests = list(writers.map(GrowingArray.append, (frames, audio), rendered))
                written += len(rendered[0])
                journal.add(split, written, digests)
                done(len(rendered[0]))
        digests = [frames.finish(), audio.finish(), write_truth(folder / "truth.npz", source.truth(split))]
    return dict(zip((f"{split}/frames.npy", f"{split}/audio.npy", f"{split}/truth.npz"), digests, strict=True))


def _kept(journal: Journal, split: str, size: int, frames: GrowingArray, audio: GrowingArray) -> int:
    """How many clips of an unfinished split are whole: up to the last shard whose bytes are still the journal's."""
    kept = 0
    for clips, digests in journal.shards(split):
        if clips > size or not all(
            array.matches(clips, digest) for array, digest in zip((frames, audio), digests, strict=True)
        ):
            break
        frames.keep()
        audio.keep()
        kept = clips
    return kept


class Simulated:
    """Clips drawn from a pool of digits and rendered by an engine."""

    def __init__(self, asked: Mapping[str, Any], pool: Mapping[str, Digits], engine: Engine) -> None:
        self._spec, self._seed = spec_from_dict(asked["spec"]), asked["seed"]
        self._clips, self._pool, self._engine = clips_of(asked), pool, engine
        self._truths: dict[str, Truth] = {}
        self.origin = f"mmnist-av {__version__}"

    def truth(self, split: str) -> Mapping[str, NDArray[Any]]:
        """See Source."""
        return self._truth(split).arrays()

    def _truth(self, split: str) -> Truth:
        if split not in self._truths:
            clips = np.array(self._clips[split])
            self._truths[split] = simulate(self._pool[split], self._spec, self._seed, split, clips)
        return self._truths[split]

    def rendered(self, split: str, first: int) -> Generator[Rendered, None, None]:
        """See Source. The shards after the one in use are rendered meanwhile."""
        truth, spec, engine = self._truth(split), self._spec, self._engine
        digits = engine.share(self._pool[split])
        count = clips_at_once(spec)
        shards = (truth.clips(slice(start, start + count)) for start in range(first, len(truth), count))
        buffers: Iterator[Rendered | None] = itertools.repeat(None)
        if engine.in_place:  # taking fresh memory for every shard would cost a fourth of the rendering
            size = min(count, len(truth))
            buffers = itertools.cycle([_empty_shard(size, spec) for _ in range(ahead(engine) + 1)])
        yield from in_order(engine, _render, ((shard, digits, spec, next(buffers)) for shard in shards))


def _empty_shard(clips: int, spec: Spec) -> Rendered:
    return np.empty((clips, spec.frames, spec.canvas, spec.canvas), np.uint8), np.empty((clips, spec.samples), np.int16)


def _render(shard: Truth, digits: Digits, spec: Spec, buffers: Rendered | None) -> Rendered:
    frames, audio = buffers or _empty_shard(len(shard), spec)
    return render_frames(shard, digits, spec, frames[: len(shard)]), render_audio(shard, spec, audio[: len(shard)])
