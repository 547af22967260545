"""What a training step and a future of Sound2Sight cost, in bfloat16 against float32 in the same run.

Usage: python perf/sound2sight.py [--repeats N]. Wants a quiet machine; prints the median and the best of the repeats.
"""

import argparse
import statistics
import time

import torch

from baselines.predictor import Batch, ClipShape, Noise, Progress
from baselines.sound2sight import Sound2Sight
from benchmark import environment, training
from benchmark.training import Compute

SHAPE = ClipShape((1, 48, 48), (41, 21))
STEPS = {"m3so-nb": (16, 5, 15), "m3so": (8, 30, 30)}  # clips, seen, predicted
FUTURES = {"m3so-nb": (5, 20), "m3so": (30, 40)}  # seen, predicted
SAMPLES = 100


def seconds(action, repeats):
    action()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times), min(times)


def make_step(compute, clips, seen, predicted):
    torch.manual_seed(0)
    model = Sound2Sight(SHAPE)
    players = model.players()
    optimizers = {name: training.adam(player) for name, player in players.items()}
    total = seen + predicted
    batch = Batch(torch.rand(clips, total, *SHAPE.frame), torch.rand(clips, total, *SHAPE.audio), seen)

    def step():
        with compute.autocast():
            losses = model.losses(batch, Progress(1000, 2))
        training.differentiate(losses, players, optimizers)
        for optimizer in optimizers.values():
            optimizer.step()

    return step


def make_futures(compute, seen, predicted):
    torch.manual_seed(0)
    model = Sound2Sight(SHAPE).eval()
    frames, audio = torch.rand(1, seen, *SHAPE.frame), torch.rand(1, seen + predicted, *SHAPE.audio)

    @torch.inference_mode()
    def futures():
        with compute.autocast():
            model.predict(frames, audio, SAMPLES, Noise(0, [0], SAMPLES))

    return futures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    environment.keep_freed_memory()
    device = torch.device("cpu")
    precisions = {"bfloat16": Compute(device, True), "float32": Compute(device, False)}
    print(environment.machine(device), f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for protocol, sizes in STEPS.items():
        found = {name: seconds(make_step(compute, *sizes), repeats) for name, compute in precisions.items()}
        report(f"training step, {protocol}, {sizes[0]} clips of {sizes[1]} + {sizes[2]} frames", found, "s", 1)
    for protocol, sizes in FUTURES.items():
        found = {name: seconds(make_futures(compute, *sizes), repeats) for name, compute in precisions.items()}
        report(f"a future of a clip, {protocol}, {SAMPLES} drawn", found, "ms", 1000 / SAMPLES)


def report(what, found, unit, scale):
    told = ", ".join(
        f"{name} {median * scale:.2f} {unit} (best {best * scale:.2f})" for name, (median, best) in found.items()
    )
    print(f"{what}: {told}; ratio {found['float32'][0] / found['bfloat16'][0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
