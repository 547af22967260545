"""The training loop, one for every model: stages, turns, checkpoints, validation."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import torch

from baselines.predictor import Batch, Loss, Predictor, Progress, Stage, Turn
from benchmark.catalogue import Protocol, find_metric
from benchmark.compute import Compute
from benchmark.inputs import as_model_inputs
from benchmark.training import checkpoint
from benchmark.training.batches import ANNOTATIONS, Batches, OrderedBatches, RawBatch
from benchmark.training.checks import check_gradients, check_losses, check_players, check_stages
from benchmark.training.logs import Logs
from benchmark.training.plan import CRITERION, Best, TrainingPlan, metric_value, rate_factor, stage_lengths
from benchmark.training.processes import Ranks
from benchmark.training.updates import Diverged as Diverged
from benchmark.training.updates import adam, check_finite, differentiate, frozen, learned_buffers, set_rates
from mmnist_av.system.errors import InputError
from mmnist_av.system.progress import progress_bar

CHECKPOINT_EVERY = 200  # steps
CHECKPOINT_SECONDS = 60  # where so many steps take longer
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Training:
    """What is trained, on what, how, and where it is written."""

    model: Predictor
    batches: Batches
    protocol: Protocol
    plan: TrainingPlan
    compute: Compute
    folder: Path  # gets checkpoint.safetensors, training.csv and the other logs; only rank 0 writes
    run: str  # identifies the run that a checkpoint belongs to; see differences.identity
    validate: Callable[[int, int], pd.DataFrame] | None = None  # (steps taken, epoch) -> rows; see validation.py
    tensorboard: bool = False


def train(training: Training) -> int:
    """Train the model to the end of its last stage, and return the number of steps that were taken in all.

    Training continues from the folder's checkpoint where there is one. A checkpoint is written every CHECKPOINT_EVERY
    steps, after CHECKPOINT_SECONDS, at the end of a stage, and at Ctrl-C, which raises KeyboardInterrupt once the step
    is done. The number of steps is that of the plan, or less where the model stops a stage early. Every step draws its
    random numbers from (seed, step, rank): on a CPU, a training that was killed and resumed gives the same weights as
    one in a single go. Raises Diverged where a loss or a gradient is not finite, before it changes a weight; InputError
    where model, plan and clips do not fit together.
    """
    check(training)
    ranks = training.compute.ranks
    ranks.synchronise(training.model)
    loop = Loop(training)
    training.model.train()
    with open_logs(loop) as loop.log, progress_of(loop) as advance, ctrl_c(ranks) as loop.interrupted:
        while loop.position.stage < len(loop.stages):
            stage = loop.stages[loop.position.stage]
            with frozen(training.model, stage.frozen):
                loop.run_stage(stage, advance)
    training.model.eval()
    return loop.steps


class Loop:
    """A training under way."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.model, self.ranks = training.model, training.compute.ranks
        self.players, self.stages = self.model.players(), self.model.stages()
        self.lengths = stage_lengths(self.stages, training.plan.steps)
        self.optimizers = {name: adam(player) for name, player in self.players.items()}
        self.path = training.folder / CHECKPOINT
        self.log: Logs | None = None  # only rank 0 has one
        self.interrupted: Callable[[], bool] = lambda: False  # whether Ctrl-C was pressed
        self.saved_at = time.monotonic()
        saved = checkpoint.Saved(run=training.run, step=0)
        self.best_weights: dict[str, torch.Tensor] = {}  # of `self.best`, on the CPU
        if self.path.exists():
            saved, self.best_weights = checkpoint.load(self.path, training.run, self.model, self.optimizers)
        self.steps, self.position, self.best = saved.step, saved.position, saved.best  # steps taken

    @property
    def end(self) -> int:
        """Return the number of steps of the whole training if no further stage stops early."""
        return self.position.first + sum(self.lengths[self.position.stage :])

    def run_stage(self, stage: Stage, advance: Callable[[int], None]) -> None:
        """Take the stage's steps from where training stands; its end is the beginning of the next stage."""
        span = range(self.position.first, self.position.first + self.lengths[self.position.stage])
        done = self.steps == span.stop
        while not done:
            epoch = self.take_step(stage, span)
            self.steps += 1
            stopped = self.validate(stage, epoch)
            done = stopped or self.steps == span.stop
            if done:
                self.end_stage()
            self.keep(stage, scheduled=done or self.steps % CHECKPOINT_EVERY == 0)
            advance(1)
        if not len(span):  # of a training of no steps, for example, whose weights are scored as they are drawn
            self.end_stage()
            self.keep(stage, scheduled=True)

    def end_stage(self) -> None:
        """Go on to the next stage; the best weights of any but the last stage are not the whole model's."""
        self.position = self.position.next_stage(self.steps)
        if self.position.stage < len(self.stages):
            self.best, self.best_weights = None, {}

    def take_step(self, stage: Stage, span: range) -> int:
        """Take the stage's turns on the clips of the next step, log their losses, and return the epoch."""
        step, training = self.steps, self.training
        torch.manual_seed(step_seed(training.plan.seed, step, self.ranks.rank))
        epoch, clips = training.batches(step)
        if isinstance(training.batches, OrderedBatches) and training.batches.begins_epoch(step):
            self.model.reset()
        batch = make_batch(self.model, clips, training.protocol, training.compute.device)
        progress = Progress(step, epoch, stage.name, (step - span.start) / len(span))
        factor = rate_factor(training.plan, span, step)
        losses: dict[str, Loss] = {}  # of a player with several turns, the last
        for turn in turns_of(stage):
            if (step - span.start) % turn.every == 0:
                losses |= self.take_turn(turn, batch, replace(progress, players=turn.players), factor)
        if self.log is not None:
            self.log.write(step, epoch, losses)
        return epoch

    def take_turn(self, turn: Turn, batch: Batch, progress: Progress, factor: float) -> dict[str, Loss]:
        """Update the turn's players, their learning rates multiplied by `factor`; return the whole batch's losses."""
        with self.training.compute.autocast():
            losses = check_losses(self.model, self.model.losses(batch, progress), turn)
        if turn.may_skip:
            updated = self.ranks.in_common(losses)
            losses = {name: loss for name, loss in losses.items() if name in updated}
        logged = dict(self.ranks.average_losses(losses))
        checked = [name for name in losses if self.players[name].on_nonfinite == "stop"]
        check_finite(self.model, "loss", {name: logged[name].total for name in checked}, progress.step, self.path)
        norms = differentiate(losses, self.players, self.optimizers, self.ranks)
        check_gradients(self.model, losses, norms)
        check_finite(self.model, "gradient", {name: norms[name] for name in checked}, progress.step, self.path)
        for name in losses:
            set_rates(self.optimizers[name], self.players[name], progress, factor)
            self.optimizers[name].step()
        return logged

    def validate(self, stage: Stage, epoch: int) -> bool:
        """Validate the model if the plan says so after this step; return whether the result stops the stage."""
        validate = self.training.validate if self.training.plan.validates(self.steps, self.end) else None
        if validate is not None or self.steps == self.end:
            settle(self.model, self.training.batches, self.steps, self.training.protocol, self.training.compute)
        if validate is None:
            return False
        self.ranks.first(partial(self.log_validation, validate, stage, epoch))
        if stage.stop is None:
            return False
        self.position = self.ranks.broadcast(self.position)
        return self.position.waited >= stage.stop.patience

    def log_validation(self, validate: Callable[[int, int], pd.DataFrame], stage: Stage, epoch: int) -> None:
        """Validate the model, write the rows, and keep the weights if they are the best ones so far.

        Note whether the metric that can stop the stage has improved.
        """
        rows = validate(self.steps, epoch)
        value = float(rows[CRITERION].iloc[0])
        if self.best is None or value >= self.best.value:  # of equal ones the later: new models are below all floors
            self.best = Best(self.steps, value, CRITERION)
            self.best_weights = {name: each.cpu().clone() for name, each in self.model.state_dict().items()}
        if self.log is not None:
            self.log.write_validation(self.steps, rows)
        if stage.stop is not None:
            metric = find_metric(stage.stop.metric)
            self.position = self.position.validated(metric_value(rows, metric.name), metric.better)

    def keep(self, stage: Stage, scheduled: bool) -> None:
        """Write a checkpoint if one is scheduled after this step, the last is too old, or Ctrl-C was pressed.

        Only a scheduled one changes the statistics of each process's batch norms, which are the mean over the processes
        in every checkpoint: weights must not depend on the clock. Raises KeyboardInterrupt after Ctrl-C.
        """
        late = time.monotonic() - self.saved_at >= CHECKPOINT_SECONDS
        if scheduled or self.ranks.broadcast(late or self.interrupted()):
            buffers = list(learned_buffers(self.model, stage.frozen))
            own = [] if scheduled else [buffer.clone() for buffer in buffers]
            self.ranks.average(buffers)
            self.ranks.first(self.save)
            for buffer, value in zip(buffers, own, strict=False):
                buffer.copy_(value)
            self.saved_at = time.monotonic()
        if self.interrupted():
            kept = f"the training stopped after step {self.steps} of {self.end}, and {self.path} keeps all of them"
            raise KeyboardInterrupt(f"{kept}: the same command continues there")

    def save(self) -> None:
        """Write a checkpoint, after the logs of the steps before it are on the disk."""
        if self.log is not None:
            self.log.sync()
        complete = self.position.stage == len(self.stages)
        saved = checkpoint.Saved(self.training.run, self.steps, self.position, complete, self.best)
        checkpoint.save(self.path, saved, self.model, self.optimizers, self.best_weights)


@contextmanager
def ctrl_c(ranks: Ranks) -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed in this block, where it ends no step midway; a second one ends the program.

    Among several processes, and outside the main thread, Ctrl-C acts as it usually does.
    """
    if ranks.count > 1 or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, usual)


def check(training: Training) -> None:
    """Raise InputError where the model's players and stages are wrong, or plan, clips or processes do not suit it."""
    model, name = training.model, type(training.model).__name__
    check_players(model)
    check_stages(model)
    for stage in model.stages():
        if stage.stop is not None and (training.validate is None or not training.plan.eval_every):
            raise InputError(
                f"{name} ends its stage '{stage.name}' when {stage.stop.metric} on the val split "
                "stops improving, which needs validation: choose --eval-every 1 or more"
            )
    if model.carries_state and not isinstance(training.batches, OrderedBatches):
        raise InputError(f"{name} keeps state from clip to clip and needs a stored dataset: leave out --data stream")
    if model.carries_state and training.compute.ranks.count > 1:
        raise InputError(f"{name} keeps state from clip to clip: train it in one process, without --devices or --nodes")


def open_logs(loop: Loop) -> AbstractContextManager[Logs | None]:
    """Open the training's logs on rank 0, to continue after the steps already taken; None on the others."""
    training = loop.training
    validated = training.validate is not None and training.plan.eval_every > 0
    due = partial(training.plan.validates, end=loop.end) if validated else None
    opened: list[Logs] = []
    loop.ranks.first(lambda: opened.append(Logs(training.folder, loop.steps, due, training.tensorboard)))
    return closing(opened[0]) if opened else nullcontext()


def progress_of(loop: Loop) -> AbstractContextManager[Callable[[int], None]]:
    """Show the training's progress bar on rank 0; the result is called with the number of steps just taken."""
    if loop.ranks.rank:
        return nullcontext(lambda steps: None)
    return progress_bar("train", loop.training.plan.steps, loop.steps)


def make_batch(model: Predictor, clips: RawBatch, protocol: Protocol, device: torch.device) -> Batch:
    """Return clips as the model learns from them; InputError where they lack an annotation that it needs."""
    frames, audio = as_model_inputs(clips, protocol, device)
    needed = [name for name in ANNOTATIONS if name in model.needs]
    missing = [name for name in needed if name not in clips]
    if missing:
        raise InputError(
            f"{type(model).__name__} needs {' and '.join(missing)} of its training clips, which these clips do not "
            "have: train it on a stored dataset, without --data stream"
        )
    annotations = {name: clips[name].to(device).float() for name in needed}
    return Batch(frames, audio, protocol.seen, **annotations)


def settle(model: Predictor, batches: Batches, steps: int, protocol: Protocol, compute: Compute) -> None:
    """Let the model learn from the clips of its last steps, of `steps` in all, what depends on its weights."""
    last = range(steps - 1, max(steps - 1 - model.settling, -1), -1)
    clips = [batches(step)[1] for step in last]
    with compute.autocast():
        model.settle([make_batch(model, each, protocol, compute.device) for each in clips])


def turns_of(stage: Stage) -> Sequence[Turn]:
    """Return the turns of each of the stage's steps; by default one turn with all its players."""
    return stage.turns or (Turn(stage.players),)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return the seed of a step's random numbers on a rank; rank 0's are those of a single process."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0])
