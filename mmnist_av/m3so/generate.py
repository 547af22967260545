"""Splits and shards: from a spec to a dataset on disk, going on where an earlier run was stopped."""

import errno
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.errors import InputError, unknown_name
from mmnist_av.files import GrowingArray, remove_leftovers, sole_writer
from mmnist_av.m3so.digits import POOL_SHA256, Digits, check_source, load_pool
from mmnist_av.m3so.journal import JOURNAL, Journal, open_journal, refuse_another
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import MOST_CLIPS, SEEDS, SPLIT_IDS, Spec
from mmnist_av.m3so.world import Truth, simulate
from mmnist_av.progress import progress_bar
from mmnist_av.store import MANIFEST, Dataset, open_dataset, read_manifest, write_manifest, write_truth

Rendered = tuple[NDArray[np.uint8], NDArray[np.int16]]  # frames and sound of the same clips

_SHARD = 128  # clips rendered and written at once: 50 MB


def generate(
    out: Path,
    spec: Spec,
    sizes: Mapping[str, int],
    seed: int,
    digits: str = "embedded",
    mnist_root: Path | None = None,
    download: bool = False,
) -> Dataset:
    """Write the dataset of `spec` and `seed` with `sizes` clips in train, val and test to the folder `out`.

    Does nothing if it is there already; goes on if it was left unfinished. `digits` is a digit source of
    `digits.load_pool`. Raises InputError for bad sizes, seed or digits, for an `out` that holds anything else, and
    for a full disk.
    """
    asked = _describe(spec, sizes, seed, digits)
    if not _is_finished(out, asked):
        pool = load_pool(digits, mnist_root, download)
        with sole_writer(out):
            if not _is_finished(out, asked):  # by another process meanwhile
                _write(out, spec, asked, pool)
    (out / JOURNAL).unlink(missing_ok=True)
    return open_dataset(out)


def _write(out: Path, spec: Spec, asked: Mapping[str, Any], pool: Mapping[str, Digits]) -> None:
    """Write, or go on writing, all that was asked for."""
    clips = sum(asked["sizes"].values())
    files: dict[str, str] = {}
    with _room(out, clips * spec.clip_bytes), open_journal(out, asked) as journal, progress_bar("clips", clips) as done:
        for split, size in asked["sizes"].items():
            if size:
                files |= _write_split(out, spec, size, asked["seed"], split, pool[split], journal, done)
        remove_leftovers(out)
        write_manifest(out, asked, files)


def _describe(spec: Spec, sizes: Mapping[str, int], seed: int, digits: str) -> dict[str, Any]:
    """What was asked for, as dataset.json says it. Raises InputError for bad sizes, seed or digit source."""
    check_source(digits)
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
    return {"dataset": spec.name, "spec": spec.as_dict(), "seed": int(seed), "digits": source, "sizes": whole}


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
        raise InputError(f"no room in {out} ({error.strerror}): {sizes}; {again}") from error


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f} GB"


def _write_split(
    out: Path,
    spec: Spec,
    size: int,
    seed: int,
    split: str,
    digits: Digits,
    journal: Journal,
    done: Callable[[int], None],
) -> dict[str, str]:
    """Write one split's three files. Returns their SHA-256 by name."""
    folder = out / split
    folder.mkdir(exist_ok=True)
    truth = simulate(digits, spec, seed, split, np.arange(size))
    frames = GrowingArray(folder / "frames.npy", (size, spec.frames, spec.canvas, spec.canvas), np.uint8)
    audio = GrowingArray(folder / "audio.npy", (size, spec.samples), np.int16)
    with closing(frames), closing(audio), ThreadPoolExecutor(2) as writers:
        written = _kept(journal, split, size, frames, audio)
        done(written)
        for rendered in _rendered_shards(truth.clips(slice(written, None)), digits, spec):
            digests = list(writers.map(GrowingArray.append, (frames, audio), rendered))
            written += len(rendered[0])
            journal.add(split, written, digests)
            done(len(rendered[0]))
        digests = [frames.finish(), audio.finish(), write_truth(folder / "truth.npz", truth.arrays())]
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


def _rendered_shards(truth: Truth, digits: Digits, spec: Spec) -> Iterator[Rendered]:
    """The frames and sound of all clips, some at a time, the next ones being rendered meanwhile.

    What is yielded is overwritten by the shard after the next.
    """
    shards = [truth.clips(slice(first, first + _SHARD)) for first in range(0, len(truth), _SHARD)]
    buffers = itertools.cycle([_empty_shard(min(_SHARD, len(truth)), spec) for _ in range(2)])
    with ThreadPoolExecutor(1) as renderer:
        ahead = [renderer.submit(_render, shard, digits, spec, next(buffers)) for shard in shards[:1]]
        for shard in shards[1:]:
            rendered = ahead.pop().result()
            ahead.append(renderer.submit(_render, shard, digits, spec, next(buffers)))
            yield rendered
        for last in ahead:
            yield last.result()


def _empty_shard(clips: int, spec: Spec) -> Rendered:
    return np.empty((clips, spec.frames, spec.canvas, spec.canvas), np.uint8), np.empty((clips, spec.samples), np.int16)


def _render(shard: Truth, digits: Digits, spec: Spec, buffers: Rendered) -> Rendered:
    frames, audio = buffers[0][: len(shard)], buffers[1][: len(shard)]
    return render_frames(shard, digits, spec, frames), render_audio(shard, spec, audio)
