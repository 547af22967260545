"""One run: data, training, samples, scores, report."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click
import pandas as pd

from baselines import registry
from benchmark.finished import keep_job
from benchmark.job import Job, check
from benchmark.metrics import named
from benchmark.options import Stream
from benchmark.runs.differences import identity
from benchmark.runs.folder import CHECKPOINT, RESULTS, claim
from benchmark.runs.pretrained import pretrained_in_words
from benchmark.scoring.evaluate import WHERE, Evaluation, entry_of, evaluate
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.rows import read_rows
from benchmark.scoring.samples import training_samples
from benchmark.scoring.scores import Entry
from benchmark.setup import Setup, build, prepare
from benchmark.training import checkpoint
from benchmark.training.batches import Batches, StreamedBatches, choose_batches
from benchmark.training.launch import launch
from benchmark.training.loop import Training, train
from benchmark.training.processes import ALONE, Ranks
from benchmark.training.validation import CLIPS, Validation
from benchmark.trial import Trial, try_out
from mmnist_av import families
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sole_writer


def run(job: Job) -> tuple[pd.DataFrame, Path]:
    """Do the job, continuing where an interrupted call ended; return the rows of results and the run's folder.

    Raises InputError for whatever is wrong with the job, the dataset or the folder, and for errors in the code of a
    third party's model. Of several processes, one that has such an error ends the others with its traceback.
    """
    with registry.errors_in_one_line(job.model):
        check(job)
        if (job.devices, job.nodes) == (1, 1):
            return run_on(job), job.folder
    launch(run_on, job, job.device, job.devices, job.nodes)
    return read_rows(job.folder / RESULTS), job.folder


def run_on(job: Job, ranks: Ranks = ALONE) -> pd.DataFrame:
    """Do the job as one of several processes: all train; rank 0 alone scores and returns the rows."""
    setup = prepare(job, ranks)
    named.check_clips(job.metrics, setup.config["test_clips"], len(setup.dataset.split("train")))
    ranks.first(lambda: click.echo(opening_line(setup)))
    if job.learns and not (job.folder / CHECKPOINT).exists():
        try_model(setup)
    training, steps, weights = training_of(setup) if job.learns else None, setup.config["steps"], ""
    with ExitStack() as held:
        ranks.first(lambda: take_folder(held, setup))
        if training is not None:
            steps = train(training)
        if ranks.rank:
            return pd.DataFrame()
        if training is not None or job.trained is not None:
            weights = checkpoint.load_weights((job.trained or job.folder) / CHECKPOINT, setup.model, job.checkpoint)
        setup.model.eval()
        clips = target_clips(setup, "test", setup.config["test_clips"])
        return evaluate(
            Evaluation(
                entry=scored_entry(setup, clips),
                metrics=setup.metrics,
                clips=clips,
                weights=job.weights,
                training=training_columns(setup, steps, weights),
                compute=setup.compute,
                folder=job.folder,
                report=job.report,
            )
        )


def try_model(setup: Setup) -> Trial:
    """Try the model's code, on models of its own, before hours of training depend on it."""
    settings = registry.configure(setup.job.model, setup.job.settings)
    model, again = (
        build(setup.job, setup.protocol, setup.dataset, settings).to(setup.compute.device) for _ in range(2)
    )
    test = target_clips(setup, "test", len(setup.dataset.split("test")))
    return try_out(model, again, batches_of(setup)(0)[1], test, setup.protocol, setup.compute)


def opening_line(setup: Setup) -> str:
    """Return what the run works with: the model and its size, the data, the device, the folder."""
    millions = sum(parameter.numel() for parameter in setup.model.parameters()) / 1e6
    size = f"{millions:.2f} M parameters" if millions else "no parameters"
    data, where = setup.dataset.path, f"{setup.compute.device.type} in {setup.compute.precision}"
    return f"{setup.job.model}, {size}; data {data}; {where}; folder {setup.job.folder}"


def take_folder(held: ExitStack, setup: Setup) -> None:
    """Lock the run's folder for as long as `held` is open, and make it this run's."""
    held.enter_context(sole_writer(setup.job.folder))
    claim(setup.job.folder, setup.config, setup.environment)
    keep_job(setup.job)


def target_clips(setup: Setup, split: str, count: int) -> TargetClips:
    """Return the first `count` clips of a split under the run's protocol; validation clips have their own sound."""
    protocol = setup.protocol if split == "test" else setup.protocol.matched
    return TargetClips(setup.dataset, split, protocol, count, setup.compute.device)


def training_of(setup: Setup) -> Training:
    """Return the training of the run's model, on the dataset's clips or on endless ones."""
    return Training(
        model=setup.model,
        batches=batches_of(setup),
        protocol=setup.protocol,
        plan=setup.plan,
        compute=setup.compute,
        folder=setup.job.folder,
        run=identity(setup.config),
        validate=validation_of(setup),
        tensorboard=setup.job.tensorboard,
    )


def batches_of(setup: Setup) -> Batches:
    """Return the training clips of this process: the dataset's, or its share of the endless ones of `--data stream`."""
    ranks, frames = setup.compute.ranks, setup.protocol.train_frames
    if setup.job.data != Stream():
        return choose_batches(setup.model, setup.dataset, frames, setup.plan, ranks)
    stream = families.find(setup.dataset.family).stream(
        setup.dataset,
        batch=ranks.share(setup.plan.batch),
        frames=frames,
        rank=ranks.rank,
        ranks=ranks.count,
        root=setup.job.mnist_root,
    )
    return StreamedBatches(stream, epoch_clips=setup.preset.train_clips // ranks.count)


def validation_of(setup: Setup) -> Validation | None:
    """Return what validates the model during training; None where the plan has no validation."""
    if not setup.plan.eval_every:
        return None
    count = min(CLIPS, len(setup.dataset.split("val")))
    if not count:
        path = setup.dataset.path
        raise InputError(f"{path}: the val split is empty, so there is nothing to validate on: --eval-every 0")
    job = setup.job
    provenance = {"seed": job.seed, "settings": setup.changed, "fingerprint": setup.dataset.fingerprint}
    return Validation(
        model=setup.model,
        name=job.model,
        clips=target_clips(setup, "val", count),
        preset=job.preset,
        seed=job.seed,
        compute=setup.compute,
        provenance=provenance | {name: setup.environment[name] for name in WHERE},
    )


def scored_entry(setup: Setup, clips: TargetClips) -> Entry:
    """Return the run's model as an entry, with samples of training clips for metrics that train a judge on them."""
    job, split = setup.job, setup.dataset.split("train")
    entry = entry_of(job.model, setup.model, clips, setup.config["samples"], job.seed, setup.compute)
    if not len(split):
        return entry
    stored = StoredClips(split, setup.protocol.test_frames)
    generated = training_samples(setup.model, stored, setup.protocol, job.seed, setup.compute)
    return replace(entry, training_samples=generated)


def training_columns(setup: Setup, steps: int, weights: str) -> dict[str, object]:
    """Return what the rows say of the training of the run's model: its steps, and the weights that are scored."""
    return {
        "seed": setup.config["seed"],
        "steps": steps,
        "batch": setup.config["batch"],
        "checkpoint": weights,
        "settings": setup.changed,
        "pretrained": pretrained_in_words(setup.config),
    }
