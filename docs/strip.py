"""The picture of the README: truth, mean and single futures of one test clip, from a finished run.

Usage: python docs/strip.py RUN DATA [--clip N] [--out docs/strip.png]
"""

import argparse
from pathlib import Path

import torch
from torchvision.utils import save_image

from baselines import registry
from baselines.predictor import ClipShape
from benchmark import checkpoint, environment, protocols
from benchmark.run import read_json
from benchmark.sampling import draw_futures
from benchmark.training import load_clips
from mmnist_av.clips import StoredClips
from mmnist_av.store import open_dataset


def load_model(run: Path, facts: dict) -> torch.nn.Module:
    """The trained model of a run for 48x48 frames and M3SO's sound."""
    fixed = registry.find(facts["model"]).ablated
    settings = {name: str(value) for name, value in facts["settings"].items() if name not in fixed}
    config = registry.configure(facts["model"], settings)
    model = registry.build(facts["model"], ClipShape((1, 48, 48), (41, 21)), config)
    checkpoint.load(run / "checkpoint.safetensors", checkpoint.identity(facts), model, {})
    return model.eval()


def main() -> None:
    """Write the picture: every second frame; futures below the frames they predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clip", type=int, default=0)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("docs/strip.png"))
    asked = parser.parse_args()
    facts = read_json(asked.run / "config.json")
    protocol, compute = protocols.find(facts["protocol"]), environment.choose_compute("cpu")
    clips = StoredClips(open_dataset(asked.data).split("test"), protocol.test_frames)
    frames, audio = load_clips(clips, [asked.clip], protocol, compute.device)
    model = load_model(asked.run, facts)
    futures = draw_futures(model, frames, audio, protocol, asked.samples, facts["seed"], [asked.clip], compute).frames[
        0
    ]
    shown = range(0, protocol.test_frames, 2)
    blank = torch.full_like(frames[0, 0], 0.25)
    rows = [frames[0, list(shown)]]
    rows += [
        torch.stack([blank if t < protocol.seen else future[t - protocol.seen] for t in shown])
        for future in (futures.mean(0), *futures[:3])
    ]
    enlarged = torch.cat(rows).repeat_interleave(2, -1).repeat_interleave(2, -2)
    save_image(enlarged, asked.out, nrow=len(shown), padding=2, pad_value=0.5)


if __name__ == "__main__":
    main()
