"""The whole job: data, train, sample, score, write."""

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from baselines import registry
from baselines.predictor import Predictor
from benchmark import presets, protocols
from benchmark.compute import Compute, choose_compute, keep_freed_memory
from benchmark.metrics import choose
from benchmark.metrics.resources import DOWNLOAD
from benchmark.presets import Preset
from benchmark.protocols import Protocol
from benchmark.runs import environment
from benchmark.runs.folder import claim
from benchmark.runs.pretrained import facts_of_training, load_trained, told_of
from benchmark.scoring import rows as results
from benchmark.scoring.evaluate import evaluate, practice_of, shape_of
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.samples import futures_of
from benchmark.scoring.scores import Contender
from benchmark.training import checkpoint, logs, validation
from benchmark.training.launch import launch
from benchmark.training.loop import StoredBatches, StreamedBatches, TrainingPlan, train
from benchmark.training.processes import ALONE, Ranks
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import REMEDY, Dataset, open_dataset, verify
from mmnist_av.families import find as find_family
from mmnist_av.m3so.family import spec_of
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import is_leftover, sole_writer

STREAM = Path("stream")  # what --data says for clips rendered as they are asked for


@dataclass(frozen=True)
class Job:
    """What the user asked for; None: as the preset has it."""

    model: str
    protocol: str = "m3so-nb"
    preset: str = "demo"
    data: Path | None = None  # a dataset's folder; None: one is made under data/; STREAM: training on endless clips
    out: Path | None = None  # the run's folder; None: named after the job, under runs/
    samples: int | None = None  # K: futures a clip
    steps: int | None = None
    seed: int = 0  # of the weights, the batches and the futures; the dataset has its own
    device: str = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)  # the model's config, name -> text
    mnist_root: Path | None = None
    metrics: str = "standard"  # or "all", or names with commas between
    weights: Path | None = None  # folder of published weights, or DOWNLOAD; None: metrics that need them are left out
    eval_every: int | None = None  # steps between two validations; 0: none
    tensorboard: bool = False
    devices: int = 1  # processes a machine that train together
    nodes: int = 1  # machines
    trained: Path | None = None  # a finished run whose model is scored; None: it is trained


def run(job: Job) -> tuple[pd.DataFrame, Path]:
    """Do the job, from wherever an earlier call was broken off; returns the rows of results and the run's folder.

    Raises InputError for whatever is wrong with the job, the dataset or the folder.
    """
    folder = job.out or folder_of(job)
    check(job, folder)
    if (job.devices, job.nodes) == (1, 1):
        return run_on(job), folder
    launch(run_on, job, job.device, job.devices, job.nodes)
    return results.read_rows(folder / "results.csv"), folder


def run_on(job: Job, ranks: Ranks = ALONE) -> pd.DataFrame:
    """Do the job as one of the ranks: all train, rank 0 alone scores and returns the rows, the others' are empty."""
    protocol, preset = protocols.find(job.protocol), presets.find(job.preset)
    metrics = choose(job.metrics, protocol.metrics)
    config = registry.configure(job.model, job.settings)
    folder = job.out or folder_of(job)
    keep_freed_memory()
    compute = choose_compute(job.device, ranks)
    dataset = ranks.in_turn(lambda: open_or_make(job, protocol, preset))
    model = build(job, protocol, StoredClips(dataset.split("test")), config).to(compute.device)
    plan = plan_of(job, preset, model)
    facts = describe(job, protocol, preset, dataset, config, plan, compute)
    if job.trained is not None:
        facts |= facts_of_training(job.trained, facts)
    identity = checkpoint.identity(facts)
    ranks.agree(identity, checkpoint.difference)
    place = environment.describe(compute, facts["code_version"])
    validate = validation_of(job, model, protocol, dataset, plan, compute, place)
    with ExitStack() as held:
        ranks.first(lambda: take_up(held, folder, facts, place))
        if job.trained is not None:
            load_trained(job.trained, model)
        elif model.players():
            batches = training_batches(job, protocol, preset, dataset, plan, ranks)
            train(model, batches, protocol, plan, compute, folder, identity, validate, job.tensorboard)
        if ranks.rank:
            return pd.DataFrame()
        contender = contender_of(job, model.eval(), dataset, protocol, facts["samples"], compute)
        clips = TrueClips(dataset, "test", protocol, facts["test_clips"], compute.device)
        made = {name: facts[name] for name in ("seed", "steps", "batch")}
        made |= {"settings": changed(job), "trained": told_of(facts)}
        return evaluate(contender, metrics, clips, job.weights, facts, made, compute, folder)


def take_up(held: ExitStack, folder: Path, facts: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Be the folder's sole writer for as long as it is held, and make it this run's."""
    held.enter_context(sole_writer(folder))
    claim(folder, facts, described)


def folder_of(job: Job) -> Path:
    """The run's folder where none is asked for."""
    stream = "-stream" if job.data == STREAM else ""
    return Path("runs") / f"{job.model}-{job.protocol}-{job.preset}{stream}-seed{job.seed}"


def plan_of(job: Job, preset: Preset, model: Predictor) -> TrainingPlan:
    """How long the model is trained, and on how much at once: not at all where it has nothing to learn."""
    if not model.players():
        return TrainingPlan(0, 0, job.seed)
    steps = preset.steps if job.steps is None else job.steps
    eval_every = preset.eval_every if job.eval_every is None else job.eval_every
    return TrainingPlan(steps, preset.batch, job.seed, preset.annealed, eval_every)


def validation_of(
    job: Job,
    model: Predictor,
    protocol: Protocol,
    dataset: Dataset,
    plan: TrainingPlan,
    compute: Compute,
    place: Mapping[str, Any],
) -> validation.Validation | None:
    """What validates the model in training; None where the plan has no validation."""
    if not plan.eval_every or job.trained is not None:
        return None
    clips = min(validation.CLIPS, len(dataset.split("val")))
    if not clips:
        raise InputError(f"{dataset.path}: the val split is empty, so there is nothing to validate on: --eval-every 0")
    origin = {"seed": job.seed, "settings": changed(job), "fingerprint": dataset.fingerprint}
    origin |= {name: place[name] for name in ("device", "precision", "code_version", "machine")}
    val = TrueClips(dataset, "val", protocol.matched, clips, compute.device)
    return validation.Validation(model, job.model, val, job.preset, job.seed, compute, origin)


def check(job: Job, folder: Path) -> None:
    """Raise InputError for numbers that make no sense, and for a folder that holds something else than a run."""
    if job.samples is not None and job.samples < 1:
        raise InputError(f"--samples {job.samples}: at least one future a clip is needed")
    if job.steps is not None and job.steps < 0:
        raise InputError(f"--steps {job.steps}: cannot be negative")
    if job.devices < 1 or job.nodes < 1:
        raise InputError(f"--devices {job.devices} --nodes {job.nodes}: at least one of each is needed")
    Ranks(count=job.devices * job.nodes).share(presets.find(job.preset).batch)
    if job.trained is not None:
        check_trained(job, job.trained, folder)
    if job.eval_every is not None and job.eval_every < 0:
        raise InputError(f"--eval-every {job.eval_every}: cannot be negative; 0 is for none")
    if job.tensorboard:
        logs.find_tensorboard()
    if job.weights not in (None, DOWNLOAD) and not job.weights.is_dir():
        raise InputError(f"--weights {job.weights}: there is no such folder")
    if not 0 <= job.seed < 2**32:
        raise InputError(f"--seed {job.seed}: must be within 0 .. {2**32 - 1}")
    files = list(folder.iterdir()) if folder.is_dir() else []
    if not (folder / "config.json").exists() and not all(map(is_leftover, files)):
        raise InputError(f"{folder} is not empty and holds no run: choose another --out")


def check_trained(job: Job, trained: Path, folder: Path) -> None:
    """Raise InputError where --trained does not go with the rest."""
    if not registry.is_trained(job.model):
        raise InputError(f"--trained {trained}: {job.model} needs no training")
    if job.steps is not None or job.eval_every is not None or job.tensorboard or (job.devices, job.nodes) != (1, 1):
        raise InputError(
            "--trained takes a training as it was: leave out --steps, --eval-every, --devices and the like"
        )
    if trained.resolve() == folder.resolve():
        raise InputError(f"--trained {trained} is the folder of this run: choose another --out")
    config = registry.configure(job.model, job.settings)
    asked = {"model": job.model, "protocol": job.protocol, "preset": job.preset, "seed": job.seed}
    facts_of_training(trained, asked | {"settings": settings_of(config)})


def open_or_make(job: Job, protocol: Protocol, preset: Preset) -> Dataset:
    """The dataset at --data, or the one that the preset needs, made once under data/."""
    if job.data not in (None, STREAM):
        dataset = open_dataset(job.data)
    else:
        sizes = {"train": preset.train_clips, "val": preset.val_clips, "test": preset.test_clips}
        folder = Path("data") / f"{protocol.dataset.lower()}-{preset.name}"
        if job.data == STREAM:
            sizes["train"], folder = 0, folder.with_name(f"{folder.name}-without-train")
        spec = Spec(obstacle=protocol.obstacle)
        dataset = generate(folder, spec, sizes, seed=0, digits=preset.digits, mnist_root=job.mnist_root)
    check_dataset(dataset, protocol)
    learns = registry.is_trained(job.model) and job.data != STREAM and job.trained is None
    for split in ("train", "test") if learns else ("test",):
        if not len(dataset.split(split)):
            raise InputError(f"{dataset.path}: the {split} split is empty, so there is nothing to {split} on")
    if protocol.mismatched and len(dataset.split("test")) < 2:
        raise InputError(f"{dataset.path}: protocol {protocol.name} takes another clip's sound, and there is one clip")
    return dataset


def check_dataset(dataset: Dataset, protocol: Protocol) -> None:
    """Raise InputError where the dataset cannot serve the protocol, or is not as it was written."""
    protocol.check(spec_of(dataset))
    wrong = verify(dataset.path)
    if wrong:
        raise InputError(f"{dataset.path} is not the dataset it was: {'; '.join(wrong)}; {REMEDY}")


def training_batches(
    job: Job, protocol: Protocol, preset: Preset, dataset: Dataset, plan: TrainingPlan, ranks: Ranks
) -> StoredBatches | StreamedBatches:
    """What the model is trained on, a rank's share: the dataset's clips, or the endless clips of its world."""
    if job.data != STREAM:
        return StoredBatches(StoredClips(dataset.split("train"), protocol.train_frames), plan, ranks)
    stream = find_family(dataset.family).stream(
        dataset, ranks.share(plan.batch), protocol.train_frames, ranks.rank, ranks.count, job.mnist_root
    )
    return StreamedBatches(stream, preset.train_clips // ranks.count)


def build(job: Job, protocol: Protocol, clips: StoredClips, config: Any) -> Predictor:
    """The model for such clips, its weights drawn from the job's seed."""
    torch.manual_seed(job.seed)
    return registry.build(job.model, shape_of(clips, protocol), config)


def describe(
    job: Job, protocol: Protocol, preset: Preset, dataset: Dataset, config: Any, plan: TrainingPlan, compute: Compute
) -> dict[str, Any]:
    """What config.json holds: all that decides the results."""
    return {
        "model": job.model,
        "settings": settings_of(config),
        "protocol": protocol.name,
        "preset": preset.name,
        "fingerprint": dataset.fingerprint,
        "dataset": f"{protocol.dataset} {'stream' if job.data == STREAM else spec_of(dataset).variant}".strip(),
        "digits": dataset.manifest["digits"]["source"],
        "seed": job.seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "annealed": plan.annealed,
        "eval_every": plan.eval_every,
        "ranks": compute.ranks.count,
        "samples": preset.samples if job.samples is None else job.samples,
        "test_clips": min(preset.test_clips, len(dataset.split("test"))),
        "device": compute.device.type,
        "precision": "bfloat16" if compute.bfloat16 else "float32",
        "code_version": environment.code_version(registry.find(job.model).predictor),
    }


def settings_of(config: Any) -> dict[str, Any]:
    """A model's settings; none where it has no config."""
    return {} if config is None else dataclasses.asdict(config)


def contender_of(
    job: Job, model: Predictor, dataset: Dataset, protocol: Protocol, samples: int, compute: Compute
) -> Contender:
    """The model in the test, with what can be asked about training clips."""
    samples = samples if model.stochastic else 1
    futures = futures_of(model, dataset.split("test"), protocol, samples, job.seed, compute)
    if not len(dataset.split("train")):
        return Contender(job.model, futures)
    practice = StoredClips(dataset.split("train"), protocol.test_frames)
    return Contender(job.model, futures, practice_of(model, practice, protocol, job.seed, compute))


def changed(job: Job) -> str:
    """The model's settings that are not its defaults: "beta=0.1;latent=4"."""
    default, config = registry.configure(job.model, {}), registry.configure(job.model, job.settings)
    defaults, settings = settings_of(default), settings_of(config)
    return ";".join(f"{name}={value}" for name, value in settings.items() if value != defaults[name])
