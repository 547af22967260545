"""Measure generation against writing the same bytes from memory: time ratio, clips per second, peak memory.

    python perf/generate.py [--clips 10000] [--digits-per-clip 1] [--out FOLDER] [--repeats 3]

Both write frames and sound to files and sync them to the disk, by turns, each in its own process, timed from the first
to the last byte. `sync` before each start keeps either from waiting for the other's bytes.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.files import sync_folder

ARRAYS = "train/frames.npy", "train/audio.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--digits-per-clip", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path.cwd(), help="folder on the disk to measure")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            generated, copy = Path(folder) / "generated", Path(folder) / "copy"
            seconds, peak = in_process(time_generate, generated, options.clips, options.digits_per_clip)
            floor, _ = in_process(time_write, generated, copy)
        ratios.append(seconds / floor)
        print(
            f"run {repeat + 1}: generated in {seconds:.2f} s ({options.clips / seconds:.0f} clips/s, "
            f"peak RSS {peak / 2**30:.2f} GiB), bytes written in {floor:.2f} s, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f}")
    pool, spec = load_pool("embedded")["train"], Spec(obstacle=True, digits_per_clip=options.digits_per_clip)
    start = time.perf_counter()
    simulate(pool, spec, 0, "train", np.arange(options.clips))
    print(f"the simulation alone: {options.clips / (time.perf_counter() - start):.0f} clips/s")


def time_generate(out: Path, clips: int, digits_per_clip: int) -> float:
    os.sync()
    start = time.perf_counter()
    generate(out, Spec(obstacle=True, digits_per_clip=digits_per_clip), {"train": clips}, seed=0)
    return time.perf_counter() - start


def time_write(generated: Path, copy: Path) -> float:
    contents = {name: np.fromfile(generated / name, np.uint8) for name in ARRAYS}
    shutil.rmtree(generated)
    (copy / "train").mkdir(parents=True)
    os.sync()
    start = time.perf_counter()
    for name, content in contents.items():
        with (copy / name).open("wb") as file:
            file.write(content.data)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(copy / "train")
    return time.perf_counter() - start


def in_process(function, *arguments) -> tuple[float, int]:
    """Call `function` in a new process; return its result and the peak memory of that process in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (function, *arguments))


def measured(function, *arguments) -> tuple[float, int]:
    return function(*arguments), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
