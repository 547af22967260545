"""One training loop for every model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import default_collate

from baselines.predictor import Batch, Loss, Player, Predictor, Progress, Stage
from benchmark.compute import Compute
from benchmark.inputs import as_seen_and_heard
from benchmark.protocols import Protocol
from benchmark.training import checkpoint
from benchmark.training.logs import Logs
from benchmark.training.processes import ALONE, Ranks
from mmnist_av.clips import ClipBatch, ClipStream, StoredClips
from mmnist_av.system.progress import track

CHECKPOINT_EVERY = 200  # steps


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on how much at once."""

    steps: int
    batch: int  # clips a step, of all ranks together
    seed: int
    annealed: float = 0.0  # the last part of every stage's steps, 0 to 1, over which the learning rates fall to 0
    eval_every: int = 0  # steps between two validations, and there is one at the end; 0: none

    def validates(self, steps: int) -> bool:
        """Whether there is a validation after so many steps."""
        return self.eval_every > 0 and (steps % self.eval_every == 0 or steps == self.steps)


def spans_of(stages: Sequence[Stage], steps: int) -> list[tuple[Stage, range]]:
    """The stages with their steps, by their shares. Raises ValueError where the shares do not add up to 1."""
    ends = np.cumsum([stage.share for stage in stages])
    if len(ends) and not np.isclose(ends[-1], 1):
        raise ValueError(f"the stages' shares add up to {ends[-1]}, not 1")
    borders = [0, *(round(float(end) * steps) for end in ends)]
    return [(stage, range(*span)) for stage, span in zip(stages, pairwise(borders), strict=True)]


def span_at(spans: Sequence[tuple[Stage, range]], step: int) -> tuple[Stage, range]:
    """The stage of a step, and its steps."""
    return next((stage, span) for stage, span in spans if step in span)


def rate_factor(plan: TrainingPlan, span: range, step: int) -> float:
    """What multiplies the learning rates at a step: 1, and in its stage's last part linearly less, down to 0."""
    falling = plan.annealed * len(span)
    return min(1.0, (span.stop - step) / falling) if falling else 1.0


class Diverged(RuntimeError):
    """A loss was not a number; says where, and which checkpoint is the last good one."""


def batch_indices(clips: int, plan: TrainingPlan, step: int) -> tuple[int, list[int]]:
    """The epoch of a step, and its clips: a new shuffle every epoch, keyed by (seed, epoch), remainders left out."""
    epoch, place = divmod(step, max(1, clips // plan.batch))
    order = np.random.default_rng([plan.seed, epoch]).permutation(clips)
    return epoch, order[place * plan.batch : (place + 1) * plan.batch].tolist()


@dataclass(frozen=True)
class StoredBatches:
    """Batches of a split's clips, shuffled anew every epoch; of each, a rank takes its share."""

    clips: StoredClips
    plan: TrainingPlan
    ranks: Ranks = ALONE

    def __call__(self, step: int) -> tuple[int, ClipBatch]:
        """The epoch of a step, and its clips."""
        epoch, indices = batch_indices(len(self.clips), self.plan, step)
        share = self.ranks.share(len(indices))
        own = indices[self.ranks.rank * share :][:share]
        return epoch, default_collate([self.clips[index] for index in own])


@dataclass(frozen=True)
class StreamedBatches:
    """Batches of clips that are rendered when they are asked for, each clip once; every rank has its own stream."""

    stream: ClipStream
    epoch_clips: int  # clips of this stream that count as an epoch: those of the dataset in its place, by the ranks

    def __call__(self, step: int) -> tuple[int, ClipBatch]:
        """The epoch of a step, and its clips."""
        return step // max(1, self.epoch_clips // self.stream.batch), self.stream.batch_at(step)


def train(
    model: Predictor,
    batches: Callable[[int], tuple[int, ClipBatch]],
    protocol: Protocol,
    plan: TrainingPlan,
    compute: Compute,
    folder: Path,
    run: str,
    validate: Callable[[int, int], pd.DataFrame] | None = None,
    tensorboard: bool = False,
) -> None:
    """Train the model to the end of the plan, from the folder's checkpoint if there is one.

    `batches` gives the epoch and the clips of a step, those of this rank: StoredBatches or StreamedBatches.
    `validate` gives the rows of a validation after so many steps, in such an epoch: benchmark.validation; the plan says
    when. Leaves checkpoint.safetensors, training.csv and what else Logs keeps in `folder`, where rank 0 alone writes;
    `run` identifies the run (checkpoint.identity).
    Every step draws its random numbers from (seed, step, rank): on a CPU, a run that was broken off and resumed equals
    an unbroken one. Raises Diverged where a loss or a gradient is not finite, before it can move a weight.
    """
    ranks = compute.ranks
    ranks.synchronise(model)
    players, spans = model.players(), spans_of(model.stages(), plan.steps)
    optimizers = {name: adam(player) for name, player in players.items()}
    path = folder / "checkpoint.safetensors"
    first = checkpoint.load(path, run, model, optimizers) if path.exists() else 0
    steps = range(first, plan.steps)
    model.train()
    with open_logs(folder, first, plan, validate, tensorboard, ranks) as log:
        for step in track(steps, "train", plan.steps, first) if ranks.rank == 0 else steps:
            torch.manual_seed(step_seed(plan.seed, step, ranks.rank))
            epoch, clips = batches(step)
            batch = Batch(*as_seen_and_heard(clips, protocol, compute.device), protocol.seen)
            stage, span = span_at(spans, step)
            progress = Progress(step, epoch, stage.name, (step - span.start) / len(span))
            with compute.autocast():
                losses = own_losses(model, batch, progress, stage)
            shown = ranks.averaged(losses)
            check_finite({f"{name}'s loss": loss.total for name, loss in shown.items()}, step, path)
            norms = differentiate(losses, players, optimizers, ranks)
            check_finite({f"{name}'s gradient": norm for name, norm in norms.items()}, step, path)
            for name in losses:
                rate = players[name].learning_rate * players[name].schedule(progress) * rate_factor(plan, span, step)
                for group in optimizers[name].param_groups:
                    group["lr"] = rate * group["factor"]
                optimizers[name].step()
            if log is not None:
                log.write(step, epoch, shown)
            if validate is not None and plan.validates(step + 1):
                ranks.first(partial(validated, log, validate, step + 1, epoch))
            if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == span.stop:
                ranks.average(each for each in model.buffers() if each.is_floating_point())  # batch norm's, on CPUs
                ranks.first(partial(save, log, path, run, step + 1, model, optimizers))
    model.eval()


def open_logs(
    folder: Path, first: int, plan: TrainingPlan, validate: object, tensorboard: bool, ranks: Ranks
) -> AbstractContextManager[Logs | None]:
    """Rank 0's logs; None for the others."""
    opened: list[Logs] = []
    due = plan.validates if validate is not None and plan.eval_every else None
    ranks.first(lambda: opened.append(Logs(folder, first, due, tensorboard)))
    return closing(opened[0]) if opened else nullcontext()


def own_losses(model: Predictor, batch: Batch, progress: Progress, stage: Stage) -> dict[str, Loss]:
    """The losses of the stage's players. Raises ValueError where the model gives others."""
    losses = model.losses(batch, progress)
    if losses.keys() != set(stage.players):
        raise ValueError(f"stage '{stage.name}' has the players {stage.players}, but the losses of {list(losses)}")
    return losses


def validated(log: Logs | None, validate: Callable[[int, int], pd.DataFrame], steps: int, epoch: int) -> None:
    """Validate, and log it."""
    rows = validate(steps, epoch)
    if log is not None:
        log.validated(steps, rows)


def save(
    log: Logs | None, path: Path, run: str, steps: int, model: Predictor, optimizers: checkpoint.Optimizers
) -> None:
    """Write a checkpoint, no sooner than what the logs say of the steps before it."""
    if log is not None:
        log.sync()
    checkpoint.save(path, run, steps, model, optimizers)


def adam(player: Player) -> torch.optim.Adam:
    """The optimizer of a player."""
    scaled = {id(parameter) for some in player.scaled.values() for parameter in some}
    usual = [parameter for parameter in player.parameters if id(parameter) not in scaled]
    groups = [
        {"params": list(some), "lr": player.learning_rate * factor, "factor": factor}
        for factor, some in [(1.0, usual), *player.scaled.items()]
    ]
    return torch.optim.Adam(groups, betas=player.betas, fused=True)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of a step's random numbers on a rank; rank 0's are those of a process alone."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0])


def differentiate(
    losses: Mapping[str, Loss],
    players: Mapping[str, Player],
    optimizers: checkpoint.Optimizers,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Take every player's gradient of its own loss, clipped where the player says so; returns the norms before that.

    Between ranks the gradients are averaged here, not by torch's DistributedDataParallel: its hooks take the first
    backward pass through a forward pass for the only one, and here every player has one.
    """
    norms = {}
    remaining = len(losses)
    for name, loss in losses.items():
        remaining -= 1
        parameters, clip_norm = players[name].parameters, players[name].clip_norm
        optimizers[name].zero_grad()
        loss.total.backward(inputs=parameters, retain_graph=remaining > 0)
        ranks.average(p.grad for p in parameters if p.grad is not None)
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
