"""The cost of a training step and of a sample of every learned model on this machine, beside Sound2Sight's.

Usage: python perf/models.py [--models a,b] [--protocol m3so-nb] [--device cpu] [--float32] [--repeats N]. Needs a quiet
machine. Prints a line per model: parameters by player, seconds per step, milliseconds per sample (100 samples of one
clip; one of a deterministic model), and their ratios to Sound2Sight's in the same run; medians of the repeats, which
alternate between the two models. --float32 adds a line per model in float32, beside Sound2Sight as it usually runs.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, field, replace

import torch

from baselines import registry
from baselines.predictor import Batch, ClipShape, Context, Noise, Predictor, Progress
from benchmark.catalogue import find_protocol
from benchmark.compute import Compute, choose_compute, keep_freed_memory
from benchmark.runs import environment
from benchmark.training.loop import turns_of
from benchmark.training.updates import adam, differentiate

PEER = "sound2sight"
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
CLIPS = {"m3so-nb": 16, "m3so": 8}  # per step
SAMPLES = 100
LATE = Progress(25_000, 50)  # an epoch at which every loss has its weight, and before predictions are fed back


@dataclass
class Measured:
    """A model in one precision, and the times of its steps and samples."""

    model: Predictor
    compute: Compute
    batch: Batch
    audio: torch.Tensor  # of one test clip
    steps: list[float] = field(default_factory=list)  # seconds per step
    samples: list[float] = field(default_factory=list)  # seconds per sample

    def __post_init__(self):
        self.players = self.model.players()
        self.optimizers = {name: adam(player) for name, player in self.players.items()}
        self.count = SAMPLES if self.model.stochastic else 1

    def measure(self, keep):
        """Time one step, and the samples of one clip."""
        times = seconds(self.step, self.compute), seconds(self.draw, self.compute) / self.count
        if keep:
            self.steps.append(times[0])
            self.samples.append(times[1])

    def step(self):
        """Take every turn of a step of the last stage."""
        self.model.train()
        stage = self.model.stages()[-1]
        for turn in turns_of(stage):
            with self.compute.autocast():
                losses = self.model.losses(self.batch, replace(LATE, stage=stage.name, players=turn.players))
            differentiate(losses, self.players, self.optimizers)
            for name in losses:
                self.optimizers[name].step()

    @torch.inference_mode()
    def draw(self):
        self.model.eval()
        seen = self.batch.seen
        flow = None if self.batch.flow is None else self.batch.flow[:1, :seen]
        context = Context(self.batch.frames[:1, :seen], self.audio, flow)
        with self.compute.autocast():
            for _ in self.model.predict_windows(context, self.count, Noise(0, [0], self.count, self.compute.device)):
                pass


def seconds(action, compute):
    start = time.perf_counter()
    action()
    if compute.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def build(name, device):
    torch.manual_seed(0)
    return registry.build(name, SHAPE, registry.configure(name, {})).to(device)


def random_inputs(protocol, clips, device):
    """Return a training batch of noise with all annotations, and the audio of a test clip."""
    frames = torch.rand(clips, protocol.train_frames, *SHAPE.frame, device=device)
    audio = torch.rand(*frames.shape[:2], *SHAPE.audio, device=device)
    flow = torch.randn(*frames.shape[:2], 2, *SHAPE.frame[1:], device=device)
    centres = 48 * torch.rand(*frames.shape[:2], 1, 2, device=device)
    batch = Batch(frames, audio, protocol.seen, flow=flow, centres=centres)
    return batch, torch.rand(1, protocol.test_frames, *SHAPE.audio, device=device)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(name for name in registry.MODELS if registry.is_trained(name)))
    parser.add_argument("--protocol", default="m3so-nb", choices=CLIPS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    compute, clips = choose_compute(options.device), CLIPS[options.protocol]
    inputs = random_inputs(find_protocol(options.protocol), clips, compute.device)
    print(environment.machine(compute.device), f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{options.protocol}: steps of {clips} clips, {SAMPLES} samples of a clip")
    print(f"{'model':28} {'':8} {'parameters':>24} {'s a step':>9} {'ratio':>6} {'ms a sample':>12} {'ratio':>6}")
    precisions = [compute, replace(compute, bfloat16=False)] if options.float32 else [compute]
    for name in options.models.split(","):
        for own in dict.fromkeys(precisions):
            one = Measured(build(name, compute.device), own, *inputs)
            peer = Measured(build(PEER, compute.device), compute, *inputs)
            for repeat in range(options.repeats + 1):  # the first warms up
                one.measure(keep=repeat > 0)
                peer.measure(keep=repeat > 0)
            report(name, one, peer)


def report(name, one, peer):
    step, sample = statistics.median(one.steps), statistics.median(one.samples)
    ratios = step / statistics.median(peer.steps), sample / statistics.median(peer.samples)
    count = " + ".join(f"{sum(p.numel() for p in player.parameters):,}" for player in one.players.values())
    kind = "bfloat16" if one.compute.bfloat16 else "float32"
    costs = f"{step:9.3f} {ratios[0]:6.2f} {1000 * sample:12.2f} {ratios[1]:6.2f}"
    print(f"{name:28} {kind:8} {count:>24} {costs}", flush=True)


if __name__ == "__main__":
    main()
