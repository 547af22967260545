"""Train the reader of digit_accuracy: python scripts/train_reader.py --mnist-root DIR.

The digits are the training digits of both pools, the world is M3SO with the block in every other frame. Frames are
bent as handwriting is (turned, slanted, stretched). Some are blurred or dimmed, as an average of samples is where their
digits stand a little apart, or where some samples show no digit. Last bits differ between machines, and so do the
weights: scores are computed with the file that is part of the package. Training takes four minutes on one core.
"""

from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, conv2d, cross_entropy, grid_sample
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.metrics import reader
from benchmark.metrics.reader import WEIGHTS, Reader
from mmnist_av.m3so.digits import Digits, load_pool
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.stream import M3SOStream
from mmnist_av.m3so.world import simulate
from mmnist_av.system.files import sha256, written_whole
from mmnist_av.system.progress import track

OUT = Path(reader.__file__).with_name(WEIGHTS)

SEED = 0
STEPS = 1600
CLIPS = {"mnist": 28, "embedded": 36}  # per step, by pool: the embedded digits are few, and harder to read
RATE = 2e-3  # the highest learning rate; it rises to it over the first tenth of the steps, then falls to 0
SMOOTHING = 0.05  # of the labels
WORLD = Spec(obstacle=True, canvas=40, frames=2, fps=100, block_frame=1)  # a frame without the block, and one with it

# The share of frames that are disturbed in each way, and the ranges of the disturbances
BENT, BLURRED, DIMMED = 0.8, 0.3, 0.3
TURN = SLANT = 0.2  # radians
STRETCH = (0.85, 1.2)
BLUR = (0.3, 1.5)  # px, the Gaussian's sigma
DIMMEST = 0.3  # of full brightness


@click.command()
@click.option("--mnist-root", type=Path, envvar="MMNIST_AV_MNIST_ROOT", help="Folder with the MNIST files.")
@click.option("--steps", type=int, default=STEPS, show_default=True, help="Optimizer steps.")
@click.option("--out", type=Path, default=OUT, show_default=True, help="File for the weights.")
def main(mnist_root: Path | None, steps: int, out: Path) -> None:
    """Train the reader of `digit_accuracy` and write its weights."""
    pools = {source: load_pool(source, mnist_root if source == "mnist" else None)["train"] for source in CLIPS}
    reader = trained(pools, steps)
    with written_whole(out) as whole:
        save_file({name: weights.half() for name, weights in reader.state_dict().items()}, whole)
    click.echo(f"{out}: WEIGHTS_SHA256 in reader.py must be {sha256(out)}")


def trained(pools: dict[str, Digits], steps: int) -> Reader:
    """Return a reader trained on the digits of these pools, its batch normalisations folded into the convolutions."""
    torch.manual_seed(SEED)
    rng = torch.Generator().manual_seed(SEED)
    network = _normalised(Reader())
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    for step in track(range(steps), "train the reader", steps):
        parts = [frames_and_labels(source, digits, step) for source, digits in pools.items()]
        frames, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        loss = cross_entropy(network(disturbed(frames, rng)), labels, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return _folded(network)


def frames_and_labels(source: str, digits: Digits, step: int) -> tuple[Tensor, Tensor]:
    """Return the frames (N, 1, H, W) in [0, 1] of one pool's clips of a step, and their classes (N,)."""
    batch = M3SOStream(WORLD, SEED, batch=CLIPS[source], digits=digits).batch_at(step)
    label = simulate(digits, WORLD, SEED, "train", batch["index"].numpy()).label[:, 0]
    frames = batch["frames"].flatten(0, 1).float() / 255
    return frames, torch.from_numpy(label.astype(np.int64)).repeat_interleave(WORLD.frames)


def disturbed(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Return the frames (N, 1, H, W), some of them bent, blurred or dimmed."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(frames), generator=rng)

    def chosen(share: float) -> Tensor:
        return (uniform(0, 1) < share)[:, None, None, None]

    turn, slant, wide, high = uniform(-TURN, TURN), uniform(-SLANT, SLANT), uniform(*STRETCH), uniform(*STRETCH)
    rows = (wide * turn.cos(), wide * (slant - turn.sin())), (high * turn.sin(), high * turn.cos())
    still = torch.zeros(len(frames))
    matrix = torch.stack([torch.stack([*row, still], -1) for row in rows], 1)
    grid = affine_grid(matrix, list(frames.shape), align_corners=False)
    frames = torch.where(chosen(BENT), grid_sample(frames, grid, align_corners=False), frames)
    frames = torch.where(chosen(BLURRED), _blurred(frames, uniform(*BLUR)[0]), frames)
    return torch.where(chosen(DIMMED), frames * uniform(DIMMEST, 1)[:, None, None, None], frames)


def _blurred(frames: Tensor, sigma: Tensor) -> Tensor:
    taps = (-torch.arange(-4.0, 5).square() / (2 * sigma**2)).exp()
    taps = taps / taps.sum()
    return conv2d(conv2d(frames, taps[None, None, None], padding=(0, 4)), taps[None, None, :, None], padding=(4, 0))


def _normalised(reader: Reader) -> nn.Sequential:
    """Return the reader's layers with a batch normalisation after every convolution."""
    layers = [
        [layer, nn.BatchNorm2d(layer.out_channels)] if isinstance(layer, nn.Conv2d) else [layer] for layer in reader
    ]
    return nn.Sequential(*(layer for group in layers for layer in group))


def _folded(network: nn.Sequential) -> Reader:
    """Return the reader that computes what trained `_normalised` layers compute with their running moments."""
    kept: list[nn.Module] = []
    for layer, after in pairwise([*network.eval(), nn.Identity()]):
        if isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
            kept.append(fuse_conv_bn_eval(layer, after))
        elif not isinstance(layer, nn.BatchNorm2d):
            kept.append(layer)
    reader = Reader()
    reader.load_state_dict(nn.Sequential(*kept).state_dict())
    return reader


if __name__ == "__main__":
    main()
