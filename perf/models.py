"""What a training step and a future of every learned model cost on this machine, beside Sound2Sight in the same run.

Usage: python perf/models.py [--models a,b] [--protocol m3so-nb] [--device cpu] [--float32] [--repeats N]. Wants a quiet
machine. Prints a line a model: parameters by player, seconds a step, milliseconds a future (100 drawn of a clip; of a
deterministic model the only one), and the ratios to Sound2Sight's; medians of the repeats, taken in turns. --float32
adds a line a model in float32, still beside Sound2Sight as it runs here.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from baselines import registry
from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from benchmark import protocols
from benchmark.compute import choose_compute, keep_freed_memory
from benchmark.runs import environment
from benchmark.training import loop as training

PEER = "sound2sight"
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
CLIPS = {"m3so-nb": 16, "m3so": 8}  # a step
SAMPLES = 100
LATE = Progress(25_000, 50)  # an epoch at which every loss has its weight, and before predictions are fed back


class Measured:
    """A model in one precision, and the times of its steps and futures."""

    def __init__(self, name, compute, given, audio):
        torch.manual_seed(0)
        self.model = registry.build(name, SHAPE, registry.configure(name, {})).to(compute.device)
        self.compute, self.given, self.audio = compute, given, audio
        self.players = self.model.players()
        self.optimizers = {player: training.adam(each) for player, each in self.players.items()}
        self.samples = SAMPLES if self.model.stochastic else 1
        self.steps, self.futures = [], []

    def measure(self, keep):
        """One step and the futures of one clip."""
        times = seconds(self.step, self.compute), seconds(self.draw, self.compute) / self.samples
        if keep:
            self.steps.append(times[0])
            self.futures.append(times[1])

    def step(self):
        self.model.train()
        with self.compute.autocast():
            losses = self.model.losses(self.given, LATE)
        training.differentiate(losses, self.players, self.optimizers)
        for name in losses:
            self.optimizers[name].step()

    @torch.inference_mode()
    def draw(self):
        self.model.eval()
        seen = self.given.frames[:1, : self.given.seen]
        with self.compute.autocast():
            self.model.predict(
                Context(seen, self.audio), self.samples, Noise(0, [0], self.samples, self.compute.device)
            )


def seconds(action, compute):
    begun = time.perf_counter()
    action()
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(name for name in registry.MODELS if registry.is_trained(name)))
    parser.add_argument("--protocol", default="m3so-nb", choices=CLIPS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    keep_freed_memory()
    compute, protocol = choose_compute(asked.device), protocols.find(asked.protocol)
    device, clips = compute.device, CLIPS[asked.protocol]
    frames = torch.rand(clips, protocol.train_frames, *SHAPE.frame, device=device)
    given = Batch(frames, torch.rand(*frames.shape[:2], *SHAPE.audio, device=device), protocol.seen)
    audio = torch.rand(1, protocol.test_frames, *SHAPE.audio, device=device)
    print(environment.machine(device), f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{asked.protocol}: steps of {clips} clips, {SAMPLES} futures of a clip")
    print(f"{'model':28} {'':8} {'parameters':>24} {'s a step':>9} {'ratio':>6} {'ms a future':>12} {'ratio':>6}")
    precisions = [compute, replace(compute, bfloat16=False)] if asked.float32 else [compute]
    for name in asked.models.split(","):
        for own in dict.fromkeys(precisions):
            one, peer = Measured(name, own, given, audio), Measured(PEER, compute, given, audio)
            for turn in range(asked.repeats + 1):  # the first warms up
                one.measure(turn)
                peer.measure(turn)
            report(name, one, peer)


def report(name, one, peer):
    step, future = statistics.median(one.steps), statistics.median(one.futures)
    ratios = step / statistics.median(peer.steps), future / statistics.median(peer.futures)
    count = " + ".join(f"{sum(p.numel() for p in player.parameters):,}" for player in one.players.values())
    kind = "bfloat16" if one.compute.bfloat16 else "float32"
    costs = f"{step:9.3f} {ratios[0]:6.2f} {1000 * future:12.2f} {ratios[1]:6.2f}"
    print(f"{name:28} {kind:8} {count:>24} {costs}", flush=True)


if __name__ == "__main__":
    main()
