"""One training loop for every model."""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from baselines.predictor import Batch, Loss, Player, Predictor, Progress
from benchmark import checkpoint
from benchmark.protocols import Protocol
from mmnist_av.clips import ClipBatch, M3SOStream, StoredClips
from mmnist_av.errors import InputError
from mmnist_av.files import written_whole
from mmnist_av.progress import track

CHECKPOINT_EVERY = 200  # steps


@dataclass(frozen=True)
class Compute:
    """Where and how precisely tensors are computed."""

    device: torch.device
    bfloat16: bool  # autocast of the networks; losses, statistics and metrics stay float32

    def autocast(self) -> AbstractContextManager:
        """The context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on how much at once."""

    steps: int
    batch: int  # clips a step
    seed: int
    annealed: float = 0.0  # the last part of the steps, 0 to 1, over which the learning rates fall to 0


def rate_factor(plan: TrainingPlan, step: int) -> float:
    """What multiplies the learning rates at a step: 1, and in the plan's last part linearly less, down to 0."""
    falling = plan.annealed * plan.steps
    return min(1.0, (plan.steps - step) / falling) if falling else 1.0


class Diverged(RuntimeError):
    """A loss was not a number; says where, and which checkpoint is the last good one."""


def batch_indices(clips: int, plan: TrainingPlan, step: int) -> tuple[int, list[int]]:
    """The epoch of a step, and its clips: a new shuffle every epoch, keyed by (seed, epoch), remainders left out."""
    epoch, place = divmod(step, max(1, clips // plan.batch))
    order = np.random.default_rng([plan.seed, epoch]).permutation(clips)
    return epoch, order[place * plan.batch : (place + 1) * plan.batch].tolist()


@dataclass(frozen=True)
class StoredBatches:
    """Batches of a split's clips, shuffled anew every epoch."""

    clips: StoredClips
    plan: TrainingPlan

    def __call__(self, step: int) -> tuple[int, ClipBatch]:
        """The epoch of a step, and its clips."""
        epoch, indices = batch_indices(len(self.clips), self.plan, step)
        return epoch, default_collate([self.clips[index] for index in indices])


@dataclass(frozen=True)
class StreamedBatches:
    """Batches of clips that are rendered when they are asked for, each clip once."""

    stream: M3SOStream
    epoch_clips: int  # clips that count as an epoch: those of the dataset in the stream's place

    def __call__(self, step: int) -> tuple[int, ClipBatch]:
        """The epoch of a step, and its clips."""
        return step // max(1, self.epoch_clips // self.stream.batch), self.stream.batch_at(step)


def load_clips(
    clips: StoredClips, indices: Sequence[int], protocol: Protocol, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Some clips as a model sees and hears them: frames (B, T, C, H, W) in [0, 1], sound (B, T, bins, columns)."""
    return as_seen_and_heard(default_collate([clips[index] for index in indices]), protocol, device)


def as_seen_and_heard(clips: ClipBatch, protocol: Protocol, device: torch.device) -> tuple[Tensor, Tensor]:
    """Clips as a model gets them: see load_clips."""
    return clips["frames"].to(device).float() / 255, protocol.audio(clips["audio"].to(device))


def train(
    model: Predictor,
    batches: Callable[[int], tuple[int, ClipBatch]],
    protocol: Protocol,
    plan: TrainingPlan,
    compute: Compute,
    folder: Path,
    run: str,
) -> None:
    """Train the model to the end of the plan, from the folder's checkpoint if there is one.

    `batches` gives the epoch and the clips of a step: StoredBatches or StreamedBatches.
    Leaves checkpoint.safetensors and training.csv in `folder`; `run` identifies the run (checkpoint.identity).
    Every step draws its random numbers from (seed, step): on a CPU, a run that was broken off and resumed equals an
    unbroken one. Raises Diverged where a loss or a gradient is not finite, before it can move a weight.
    """
    players = model.players()
    optimizers = {name: adam(player) for name, player in players.items()}
    path = folder / "checkpoint.safetensors"
    first = checkpoint.load(path, run, model, optimizers) if path.exists() else 0
    model.train()
    with TrainingLog(folder / "training.csv", first) as log:
        for step in track(range(first, plan.steps), "train", plan.steps, first):
            torch.manual_seed(step_seed(plan.seed, step))
            epoch, clips = batches(step)
            batch = Batch(*as_seen_and_heard(clips, protocol, compute.device), protocol.seen)
            with compute.autocast():
                losses = model.losses(batch, Progress(step, epoch))
            check_finite({f"{name}'s loss": loss.total for name, loss in losses.items()}, step, path)
            norms = differentiate(losses, players, optimizers)
            check_finite({f"{name}'s gradient": norm for name, norm in norms.items()}, step, path)
            for name, optimizer in optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = players[name].learning_rate * rate_factor(plan, step)
                optimizer.step()
            log.write(step, epoch, losses)
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == plan.steps:
                log.sync()
                checkpoint.save(path, run, step + 1, model, optimizers)
    model.eval()


def adam(player: Player) -> torch.optim.Adam:
    """The optimizer of a player."""
    return torch.optim.Adam(player.parameters, lr=player.learning_rate, betas=player.betas, fused=True)


def step_seed(seed: int, step: int) -> int:
    """The seed of a step's random numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint32)[0])


def differentiate(
    losses: Mapping[str, Loss], players: Mapping[str, Player], optimizers: checkpoint.Optimizers
) -> dict[str, Tensor]:
    """Take every player's gradient of its own loss, clipped where the player says so; returns the norms before that."""
    norms = {}
    remaining = len(losses)
    for name, loss in losses.items():
        remaining -= 1
        parameters, clip_norm = players[name].parameters, players[name].clip_norm
        optimizers[name].zero_grad()
        loss.total.backward(inputs=parameters, retain_graph=remaining > 0)
        norms[name] = torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
        if clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norms[name])
    return norms


def check_finite(values: Mapping[str, Tensor], step: int, path: Path) -> None:
    """Raise Diverged where one of the values, called by its name, is infinite or not a number."""
    for name, value in values.items():
        if not torch.isfinite(value):
            saved = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint was written yet"
            way_out = "try another --seed, or --set learning_rate=... lower"
            raise Diverged(f"training diverged at step {step}: the {name} is {value.item()}; {saved}; {way_out}")


class TrainingLog:
    """training.csv: one row a step. Opened again at step `first`, it keeps the rows before and drops the rest.

    Raises InputError where rows before `first` are missing.
    """

    def __init__(self, path: Path, first: int) -> None:
        kept = path.read_text().splitlines(keepends=True)[: first + 1] if first else []
        if first and (len(kept) <= first or not kept[-1].startswith(f"{first - 1},")):
            raise InputError(f"{path} lacks steps before {first}: delete {path.parent} to run again")
        with written_whole(path) as part:
            part.write_text("".join(kept))
        self._file = path.open("a", newline="")
        self._started = time.monotonic() - (float(kept[-1].split(",")[2]) if kept else 0.0)
        self._header = bool(kept)

    def write(self, step: int, epoch: int, losses: Mapping[str, Loss]) -> None:
        """Add a row: every player's loss and its terms."""
        row: dict[str, float] = {"step": step, "epoch": epoch, "seconds": round(time.monotonic() - self._started, 3)}
        for player, loss in losses.items():
            row[player] = loss.total.item()
            row.update({f"{player}/{term}": value.item() for term, value in loss.terms.items()})
        writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
        if not self._header:
            writer.writeheader()
            self._header = True
        writer.writerow(row)
        self._file.flush()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
