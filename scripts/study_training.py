"""Look into a training of Sound2Sight or PUQ on M3SO-NB: python scripts/study_training.py --data DIR.

Trains by hand, on the batches and with the random numbers of a run, and prints a row every few steps. It does what no
run does: it measures how much of the audio reaches the prediction, and continues a finished run as if in a late epoch.
docs/numbers.md has the results. Of the first 64 val clips, in eval mode:

    error       one-step squared error on true frames, a mean over pixels and a sum over the unseen frames; z as in
                training (z_train): PUQ's is the posterior's, which is given the frame that is predicted
    swapped     the same with the audio of the next clip: equal to `error` where no audio reaches the prediction
    moves       how far the next clip's audio moves the mean of the prior of z, in its standard deviations
    between     standard deviation of O^A, the audio transformer's output, between clips, a mean over its elements
    size        mean absolute value of O^A
    kl          KL(posterior || prior) of z, a sum over the unseen frames
    expected    PUQ's 1 / m_t, a sum over the unseen frames, s_t from its posterior: to be compared with `error`
    rank        rank correlation of 1 / m_t and the squared error over the unseen frames, a mean over clips (PUQ)

and with --validate, of the first 40 val clips, 5 samples each, predicted from predictions as in a run's validation:

    psnr, best  PSNR, a mean over frames: mean over samples, and best_sequence
    ink         predicted over true amount of ink at the last frame
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from baselines import registry
from baselines.layers.frame_by_frame import squared_errors, sum_over_frames
from baselines.predictor import Batch, Player, Progress
from baselines.puq import PUQ
from baselines.sound2sight import Reconstruction, Sound2Sight
from benchmark.catalogue import find_protocol
from benchmark.compute import Compute, choose_compute, keep_freed_memory
from benchmark.inputs import load_clips
from benchmark.metrics.uncertainty import uncertainty_rank
from benchmark.runs.folder import CHECKPOINT
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.samples import clip_shape
from benchmark.training import checkpoint
from benchmark.training.batches import choose_batches
from benchmark.training.loop import make_batch, settle, step_seed
from benchmark.training.plan import TrainingPlan, metric_value
from benchmark.training.updates import adam, differentiate, set_rates
from benchmark.training.validation import CLIPS, Validation
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import Dataset, open_dataset

VAL_CLIPS = 64
PROTOCOL = find_protocol("m3so-nb")


@dataclass
class Study:
    """A training under way."""

    model: Sound2Sight
    compute: Compute
    dataset: Dataset
    plan: TrainingPlan
    epoch: int | None  # that training is taken to be in; None: the true one

    def __post_init__(self) -> None:
        self.players: Mapping[str, Player] = self.model.players()
        self.optimizers = {name: adam(player) for name, player in self.players.items()}
        self.batches = choose_batches(self.model, self.dataset, PROTOCOL.train_frames, self.plan)
        val = StoredClips(self.dataset.split("val"), PROTOCOL.train_frames)
        self.held_out = Batch(*load_clips(val, range(VAL_CLIPS), PROTOCOL, self.compute.device), PROTOCOL.seen)

    def take_step(self, step: int) -> None:
        """Update every player once."""
        torch.manual_seed(step_seed(self.plan.seed, step))
        epoch, clips = self.batches(step)
        batch = make_batch(self.model, clips, PROTOCOL, self.compute.device)
        progress = Progress(step, epoch if self.epoch is None else self.epoch)
        with self.compute.autocast():
            losses = self.model.losses(batch, progress)
        differentiate(losses, self.players, self.optimizers)
        for name, player in self.players.items():
            set_rates(self.optimizers[name], player, progress)
            self.optimizers[name].step()

    @torch.no_grad()
    def one_step(self) -> dict[str, float]:
        """Return the columns of predictions one frame ahead of true frames."""
        self.model.eval()
        batch = self.held_out
        with self.compute.autocast():
            encoded = self.model.generator.encode_audio(batch.audio).float()[:, 1:]
            own, swapped = (self.reconstruct(audio) for audio in (batch.audio, batch.audio.roll(1, 0)))
        self.model.train()
        moved = (own.prior.mean - swapped.prior.mean).abs() / (0.5 * own.prior.log_variance).exp()
        return {
            "error": self.error(own),
            "swapped": self.error(swapped),
            "moves": moved.mean().item(),
            "between": encoded.std(0).mean().item(),
            "size": encoded.abs().mean().item(),
            "kl": own.posterior.kl(own.prior).sum(1).mean().item() if own.posterior is not None else 0.0,
            **self.uncertainty(own),
        }

    def uncertainty(self, outputs: Reconstruction) -> dict[str, float]:
        """Return the columns on the errors that PUQ expects of predictions of the val clips; none for other models."""
        if not isinstance(self.model, PUQ):
            return {}
        log_precision, _ = self.model.infer_precision(outputs)
        variance = torch.exp(-log_precision)
        target = self.held_out.frames[:, self.held_out.seen :]
        rank = uncertainty_rank(target[:, None], outputs.frames.float()[:, None], variance[:, None])
        return {"expected": sum_over_frames(variance).item(), "rank": rank.mean().item()}

    def reconstruct(self, audio: Tensor) -> Reconstruction:
        """Return the predictions of the val clips with this audio, each unseen frame from the true one before it."""
        torch.manual_seed(0)
        batch = self.held_out
        return self.model.generator.reconstruct(Batch(batch.frames, audio, batch.seen), batch.seen)

    def error(self, outputs: Reconstruction) -> float:
        """Return the squared error of predictions of the val clips."""
        target = self.held_out.frames[:, self.held_out.seen :]
        return sum_over_frames(squared_errors(outputs.frames, target)).item()

    def validation(self, step: int) -> dict[str, float]:
        """Return the columns of a validation, after the model has settled on its last batches."""
        if step:
            settle(self.model, self.batches, step, PROTOCOL, self.compute)
        targets = TargetClips(self.dataset, "val", PROTOCOL, CLIPS, self.compute.device)
        rows = Validation(self.model, "study", targets, "small", self.plan.seed, self.compute, {})(step, 0)
        last = str(PROTOCOL.reported[-1])
        ink = rows[(rows["metric"] == "ink") & (rows["sampling"] == "mean") & (rows["frame"].astype(str) == last)]
        best = metric_value(rows, "psnr", "best_sequence")
        return {"psnr": metric_value(rows, "psnr"), "best": best, "ink": float(ink["value"].iloc[0])}


@click.command()
@click.option("--data", type=Path, required=True, help="Folder of an M3SO-NB dataset.")
@click.option("--model", default="sound2sight", show_default=True, help="sound2sight, puq, or one of their ablations.")
@click.option("--batch", default=16, show_default=True, help="Clips per step.")
@click.option("--steps", default=100, show_default=True, help="Optimizer steps.")
@click.option("--every", default=20, show_default=True, help="Steps between two rows.")
@click.option("--seed", default=0, show_default=True, help="Of weights, batches and noise.")
@click.option("--trained", type=Path, help="Folder of a finished run, whose training is continued.")
@click.option("--epoch", type=int, help="The epoch that training is taken to be in.")
@click.option("--validate", is_flag=True, help="Print the columns of a validation, too.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE: a setting of the model.")
def main(
    data: Path,
    model: str,
    batch: int,
    steps: int,
    every: int,
    seed: int,
    trained: Path | None,
    epoch: int | None,
    validate: bool,
    settings: tuple[str, ...],
) -> None:
    """Train a model for some steps and print what becomes of it."""
    keep_freed_memory()
    compute, dataset = choose_compute("auto"), open_dataset(data)
    torch.manual_seed(seed)
    config = registry.configure(model, dict(each.split("=", 1) for each in settings))
    network = registry.build(model, clip_shape(StoredClips(dataset.split("train")), PROTOCOL), config)
    if not isinstance(network, Sound2Sight):
        raise click.ClickException(f"{model} is not of Sound2Sight's family")
    network.to(compute.device)
    study = Study(network, compute, dataset, TrainingPlan(steps, batch, seed), epoch)
    first = continue_run(study, trained / CHECKPOINT) if trained else 0
    for step in range(first, first + steps + 1):
        if step > first:
            study.take_step(step - 1)
        if (step - first) % every == 0:
            row = study.one_step() | (study.validation(step) if validate else {})
            if step == first:
                click.echo("step " + "".join(f"{name:>10}" for name in row))
            click.echo(f"{step:4} " + "".join(f"{value:10.4f}" for value in row.values()))


def continue_run(study: Study, path: Path) -> int:
    """Load a checkpoint's last weights and optimizer states; return the number of steps that were taken."""
    saved, tensors = checkpoint.read(path)
    checkpoint.fill(path, study.model, checkpoint.weights(tensors, checkpoint.LAST))
    for name, optimizer in study.optimizers.items():
        checkpoint.restore(optimizer, f"optimizer/{name}/", tensors)
    return saved.step


if __name__ == "__main__":
    main()
