"""Measure the clips per second that a loader delivers against those that training uses, and their ratio.

    python perf/loading.py [--clips 2000] [--workers 0] [--repeats 3]

Loaded are stored clips of m3so-nb in batches of 16, with frames in [0, 1] and spectrograms, as in training; and the
same clips rendered when they are requested. Training is a step of Sound2Sight's generator alone (no discriminator).
"""

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from baselines.predictor import Batch, ClipShape
from baselines.sound2sight import Sound2Sight
from benchmark import inputs, protocols
from benchmark.compute import Compute, keep_freed_memory
from benchmark.training import loop as training
from mmnist_av.clips import StoredClips
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.stream import M3SOStream

PROTOCOL, BATCH = protocols.find("m3so-nb"), 16
CPU = Compute(torch.device("cpu"), True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=0, help="loader processes beside this one")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        split = generate(Path(folder) / "data", Spec(), {"train": options.clips}, seed=0).split("train")
        stored = DataLoader(
            StoredClips(split, PROTOCOL.train_frames), BATCH, num_workers=options.workers, shuffle=True, drop_last=True
        )
        stream = M3SOStream(Spec(), 0, batch=BATCH, frames=PROTOCOL.train_frames)
        rendered = DataLoader(stream, batch_size=None, num_workers=options.workers)
        batches = options.clips // BATCH
        used = median(options.repeats, lambda: clips_a_second(train_on(one_batch(split)), range(8)))
        print(f"used by training: {used:.0f} clips/s")
        for name, loader in (("stored", stored), ("rendered", rendered)):
            rate = median(options.repeats, lambda loader=loader: clips_a_second(deliver, islice(loader, batches)))
            print(f"{name}: {rate:.0f} clips/s delivered, {rate / used:.0f} times what training uses")


def median(repeats, measure) -> float:
    return statistics.median(measure() for _ in range(repeats))


def clips_a_second(action, items) -> float:
    begun, count = time.perf_counter(), 0
    for item in items:
        action(item)
        count += 1
    return count * BATCH / (time.perf_counter() - begun)


def deliver(clips) -> None:
    inputs.as_seen_and_heard(clips, PROTOCOL, CPU.device)


def one_batch(split) -> Batch:
    clips = StoredClips(split, PROTOCOL.train_frames)
    return Batch(*inputs.load_clips(clips, range(BATCH), PROTOCOL, CPU.device), PROTOCOL.seen)


def train_on(batch):
    model = Sound2Sight(ClipShape((1, 48, 48), tuple(batch.audio.shape[2:]), seen=5, train_frames=20, fps=10))
    generator = model.players()["generator"]
    optimizer = training.adam(generator)

    def step(_) -> None:
        with CPU.autocast():
            made = model.generator.reconstruct(batch, batch.seen)
            _, loss = model.variational(made, batch.frames[:, batch.seen :])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step(None)
    return step


if __name__ == "__main__":
    main()
