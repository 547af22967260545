"""What a training step and a future of every learned model cost on this machine, beside Sound2Sight in the same run.

Usage: python perf/models.py [--models a,b] [--protocol m3so-nb] [--device cpu] [--repeats N]. Wants a quiet machine.
Prints a line a model: parameters by player, seconds a step, milliseconds a future (100 drawn of a clip), and the ratios
to Sound2Sight's; medians of the repeats, taken in turns.
"""

import argparse
import statistics
import time

import torch

from baselines import registry
from baselines.predictor import Batch, ClipShape, Noise, Progress
from benchmark import environment, protocols, training

PEER = "sound2sight"
SHAPE = ClipShape((1, 48, 48), (41, 21))
CLIPS = {"m3so-nb": 16, "m3so": 8}  # a step
SAMPLES = 100
FEEDING_BACK = Progress(100_000, 200)  # an epoch at which every term has its weight


def make_step(model, compute, given):
    players = model.players()
    optimizers = {name: training.adam(player) for name, player in players.items()}

    def step():
        with compute.autocast():
            losses = model.losses(given, FEEDING_BACK)
        training.differentiate(losses, players, optimizers)
        for name in losses:
            optimizers[name].step()
        finish(compute)

    return step


def make_futures(model, compute, seen, audio):
    samples = SAMPLES if model.stochastic else 1

    @torch.inference_mode()
    def futures():
        with compute.autocast():
            model.predict(seen, audio, samples, Noise(0, [0], samples, compute.device))
        finish(compute)

    return futures


def finish(compute):
    if compute.device.type == "cuda":
        torch.cuda.synchronize()


def seconds(action):
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(name for name in registry.MODELS if registry.is_trained(name)))
    parser.add_argument("--protocol", default="m3so-nb", choices=CLIPS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    environment.keep_freed_memory()
    compute, protocol = environment.choose_compute(asked.device), protocols.find(asked.protocol)
    print(environment.machine(compute.device), f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{asked.protocol}: steps of {CLIPS[asked.protocol]} clips, {SAMPLES} futures of a clip")
    device, clips = compute.device, CLIPS[asked.protocol]
    frames = torch.rand(clips, protocol.train_frames, *SHAPE.frame, device=device)
    given = Batch(frames, torch.rand(*frames.shape[:2], *SHAPE.audio, device=device), protocol.seen)
    audio = torch.rand(1, protocol.test_frames, *SHAPE.audio, device=device)
    print(f"{'model':28} {'parameters':>24} {'s a step':>9} {'ratio':>6} {'ms a future':>12} {'ratio':>6}")
    for name in dict.fromkeys([PEER, *asked.models.split(",")]):
        figures, counts = {}, {}
        for each in dict.fromkeys([name, PEER]):
            torch.manual_seed(0)
            model = registry.build(each, SHAPE, registry.configure(each, {})).to(device)
            counts[each] = [sum(p.numel() for p in player.parameters) for player in model.players().values()]
            futures = make_futures(model.eval(), compute, frames[:1, : protocol.seen], audio)
            figures[each] = (make_step(model.train(), compute, given), futures, model)
        times = {(each, kind): [] for each in figures for kind in (0, 1)}
        for turn in range(asked.repeats + 1):
            for (each, kind), found in times.items():
                figures[each][2].train(kind == 0)
                taken = seconds(figures[each][kind])
                if turn:  # the first warms up
                    found.append(taken)
        step, future = (statistics.median(times[name, kind]) for kind in (0, 1))
        peers = [statistics.median(times[PEER, kind]) for kind in (0, 1)]
        drawn = SAMPLES if figures[name][2].stochastic else 1
        count = " + ".join(f"{number:,}" for number in counts[name])
        ratios = step / peers[0], (future / drawn) / (peers[1] / SAMPLES)
        print(f"{name:28} {count:>24} {step:9.3f} {ratios[0]:6.2f} {1000 * future / drawn:12.2f} {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
