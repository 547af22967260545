"""Clips per second that the loaders deliver, beside the clips per second that our fastest trained model uses.

    python perf/loading.py [--clips 2000] [--workers 0] [--repeats 3]

The clips are those of m3so-nb, in batches of 16, with frames in [0, 1] and spectrograms, as training gets them: stored,
and rendered when they are needed. They are used by a training step of Sound2Sight's generator without its
discriminator.
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
from benchmark.catalogue import find_protocol
from benchmark.compute import Compute, keep_freed_memory
from benchmark.inputs import as_model_inputs, load_clips
from benchmark.training.updates import adam
from mmnist_av import families
from mmnist_av.clips import StoredClips

PROTOCOL, BATCH = find_protocol("m3so-nb"), 16
CPU = Compute(torch.device("cpu"), True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=0, help="processes that load beside this one")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        family, sizes = families.find(PROTOCOL.family), {"train": options.clips}
        dataset = family.make(Path(folder) / "data", PROTOCOL.world, sizes, 0, "embedded", None)
        clips = StoredClips(dataset.split("train"), PROTOCOL.train_frames)
        stored = DataLoader(clips, BATCH, num_workers=options.workers, shuffle=True, drop_last=True)
        stream = family.stream(dataset, BATCH, PROTOCOL.train_frames, 0, 1, None)
        rendered: DataLoader = DataLoader(stream, batch_size=None, num_workers=options.workers)  # type: ignore[arg-type]
        batches = options.clips // BATCH
        used = median(options.repeats, lambda: clips_per_second(make_step(one_batch(clips)), range(8)))
        print(f"used by training: {used:.0f} clips/s")
        for name, loader in (("stored", stored), ("rendered", rendered)):
            rate = median(options.repeats, lambda loader=loader: clips_per_second(deliver, islice(loader, batches)))
            print(f"{name}: {rate:.0f} clips/s delivered, {rate / used:.0f} times what training uses")


def median(repeats, measure) -> float:
    return statistics.median(measure() for _ in range(repeats))


def clips_per_second(action, items) -> float:
    start, count = time.perf_counter(), 0
    for item in items:
        action(item)
        count += 1
    return count * BATCH / (time.perf_counter() - start)


def deliver(clips) -> None:
    as_model_inputs(clips, PROTOCOL, CPU.device)


def one_batch(clips) -> Batch:
    return Batch(*load_clips(clips, range(BATCH), PROTOCOL, CPU.device), PROTOCOL.seen)


def make_step(batch):
    """Return a function that takes one training step on the batch; it has been called once."""
    model = Sound2Sight(ClipShape((1, 48, 48), tuple(batch.audio.shape[2:]), seen=5, train_frames=20, fps=10))
    generator = model.players()["generator"]
    optimizer = adam(generator)

    def step(_) -> None:
        with CPU.autocast():
            reconstructed = model.generator.reconstruct(batch, batch.seen)
            _, loss = model.variational_loss(reconstructed, batch.frames[:, batch.seen :])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step(None)
    return step


if __name__ == "__main__":
    main()
