"""The setup of a run: everything that it works with, looked up, opened and built from its job."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines import registry
from baselines.predictor import Predictor
from benchmark.catalogue import Metric, Preset, Protocol, check_world, choose_metrics, find_preset, find_protocol
from benchmark.compute import Compute, choose_compute, keep_freed_memory
from benchmark.job import Job, as_dict
from benchmark.metrics import find_function
from benchmark.networks import weights as published
from benchmark.options import Stream
from benchmark.runs import environment
from benchmark.runs.differences import difference, identity
from benchmark.runs.pretrained import pretrained_config
from benchmark.scoring.samples import clip_shape
from benchmark.training.batches import ANNOTATIONS
from benchmark.training.plan import TrainingPlan
from benchmark.training.processes import Ranks
from mmnist_av import families
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import Dataset, open_dataset, refuse_damaged
from mmnist_av.system.errors import InputError

PROVIDED = ("seen", *ANNOTATIONS)  # what a model can need, beside published weights


@dataclass(frozen=True)
class Setup:
    """What a run works with."""

    job: Job
    protocol: Protocol
    preset: Preset
    dataset: Dataset
    metrics: list[Metric]
    model: Predictor
    plan: TrainingPlan
    compute: Compute
    config: dict[str, Any]  # config.json: all that decides the results
    environment: dict[str, object]  # environment.json: where they are computed
    changed: str  # the settings that differ from the model's defaults: "beta=0.1;latent=4"


def prepare(job: Job, ranks: Ranks) -> Setup:
    """Look up, open and build everything that the run works with. Rank 0 alone generates and verifies the dataset."""
    protocol, preset = find_protocol(job.protocol), find_preset(job.preset)
    settings = registry.configure(job.model, job.settings)
    keep_freed_memory()
    compute = choose_compute(job.device, ranks)
    ranks.first(lambda: prepare_dataset(job, protocol, preset))
    dataset = open_dataset(dataset_folder(job, protocol, preset))
    metrics = choose_metrics(job.metrics, families.find(dataset.family).annotations(dataset), protocol.seen)
    for metric in metrics:
        find_function(metric)  # a wrong row is refused before the training, not after it
    model = build(job, protocol, dataset, settings).to(compute.device)
    samples = (job.samples or preset.samples) if model.stochastic else 1
    check_memory(
        f"--samples {samples}", samples, math.prod((protocol.test_predicted, *dataset.format.frame_shape)), compute
    )
    plan = plan_of(job, preset, dataset)
    config = config_of(job, dataset, settings, plan, compute)
    if job.trained is not None:
        config |= pretrained_config(job.trained, config)
    ranks.agree(identity(config), difference)
    defaults = as_dict(registry.configure(job.model, {}))
    return Setup(
        job=job,
        protocol=protocol,
        preset=preset,
        dataset=dataset,
        metrics=metrics,
        model=model,
        plan=plan,
        compute=compute,
        config=config,
        environment=environment.describe(compute, config["code_version"]),
        changed=";".join(f"{key}={value}" for key, value in config["settings"].items() if value != defaults[key]),
    )


def check_memory(where: str, samples: int, pixels: int, compute: Compute) -> None:
    """Raise InputError where the samples of one clip, of so many pixels each, do not fit into the device's memory.

    where: what says how many they are, for the message. They are float32, and three times in memory: as the model
    predicts them, checked, and scored.
    """
    if compute.device.type == "cuda":
        memory = torch.cuda.get_device_properties(compute.device).total_memory
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = memory // (3 * 4 * pixels)
    if samples > most:
        raise InputError(
            f"{where}: the samples of one clip take {12 * samples * pixels / 2**30:.0f} GiB, and there are "
            f"{memory / 2**30:.0f} GiB of memory: choose fewer than {most}"
        )


def config_of(job: Job, dataset: Dataset, settings: Any, plan: TrainingPlan, compute: Compute) -> dict[str, Any]:
    """Return config.json: all that decides the results."""
    preset, family = find_preset(job.preset), families.find(dataset.family)
    label = family.label(dataset.manifest)
    return {
        "model": job.model,
        "settings": as_dict(settings),
        "protocol": job.protocol,
        "preset": job.preset,
        "dataset": f"{label} stream" if job.data == Stream() else label,
        "fingerprint": dataset.fingerprint,
        "seed": job.seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "annealed": plan.annealed,
        "eval_every": plan.eval_every,
        "ranks": compute.ranks.count,
        "checkpoint": job.checkpoint if registry.is_trained(job.model) else "",
        "samples": preset.samples if job.samples is None else job.samples,
        "test_clips": min(preset.test_clips, len(dataset.split("test"))),
        "device": compute.device.type,
        "precision": compute.precision,
        "code_version": environment.code_version(registry.find(job.model).predictor, type(family)),
    }


def dataset_folder(job: Job, protocol: Protocol, preset: Preset) -> Path:
    """Return the dataset's folder: --data, or the one under data/ that is generated for the preset."""
    if isinstance(job.data, Path):
        return job.data
    name = f"{protocol.dataset}-{preset.name}"
    return Path("data") / (f"{name}-without-train" if job.data == Stream() else name)


def prepare_dataset(job: Job, protocol: Protocol, preset: Preset) -> Dataset:
    """Return the verified dataset, generated first where no --data is given.

    Raises InputError where it cannot serve the protocol, has changed on disk, or lacks clips.
    """
    dataset = open_dataset(job.data) if isinstance(job.data, Path) else generate(job, protocol, preset)
    protocol.check(dataset)
    if isinstance(job.data, Path):  # what `generate` finds or writes is verified there
        refuse_damaged(dataset.path)
    check_splits(dataset, protocol, ["train", "test"] if job.learns and job.data != Stream() else ["test"])
    return dataset


def check_splits(dataset: Dataset, protocol: Protocol, splits: Sequence[str]) -> None:
    """Raise InputError where one of the splits that are needed is empty, or the protocol needs more test clips."""
    for split in splits:
        if not len(dataset.split(split)):
            raise InputError(f"{dataset.path}: the {split} split is empty, so there is nothing to {split} on")
    if protocol.mismatched and len(dataset.split("test")) < 2:
        raise InputError(f"{dataset.path}: protocol {protocol.name} takes another clip's sound, and there is one clip")


def generate(job: Job, protocol: Protocol, preset: Preset) -> Dataset:
    """Return the dataset that the protocol's family generates, without train clips for a stream of them.

    Raises InputError where the family cannot generate the protocol's world, or cannot stream clips.
    """
    folder, family = dataset_folder(job, protocol, preset), type(families.find(protocol.family))
    if job.data == Stream() and family.stream is families.Family.stream:
        raise InputError(f"--data stream: the family {protocol.family} of datasets has no stream of clips")
    sizes = preset.sizes | ({"train": 0} if job.data == Stream() else {})
    return families.generate(protocol.family, folder, protocol.world, sizes, 0, preset.source, job.mnist_root)


def build(job: Job, protocol: Protocol, dataset: Dataset, settings: Any) -> Predictor:
    """Return the model for the dataset's clips, its weights initialised from the job's seed.

    Raises InputError where the dataset, the protocol or the user does not provide what the model needs.
    """
    predictor = registry.find(job.model).predictor
    check_world(job.model, predictor.world, dataset, remedy=", or choose another --model")
    needs = predictor.needs
    unknown = [need for need in needs if need not in PROVIDED and not need.startswith("weights:")]
    if unknown:
        raise InputError(
            f"{job.model} needs {', '.join(unknown)}: a model can need {', '.join(PROVIDED)}, weights:NAME"
        )
    if "seen" in needs and not protocol.seen:
        raise InputError(f"{job.model} needs a seen frame, and protocol {protocol.name} shows none")
    lacking = needs & set(ANNOTATIONS) - families.find(dataset.family).annotations(dataset)
    if lacking:
        raise InputError(f"{job.model} needs {', '.join(lacking)}: {dataset.path} has no such annotation")
    states = {name: published_weights(job, name) for name in registry.weights_needed(job.model)}
    torch.manual_seed(job.seed)
    clips = StoredClips(dataset.split("test"))
    return registry.build(job.model, clip_shape(clips, protocol), settings, states)


def published_weights(job: Job, name: str) -> Mapping[str, Tensor]:
    """Return published weights that the job's model needs; InputError where --weights does not say where they are."""
    if job.weights is None:
        raise InputError(f"{job.model} needs the published weights {name}: give --weights DIR, or --weights download")
    return published.read(name, job.weights)


def plan_of(job: Job, preset: Preset, dataset: Dataset) -> TrainingPlan:
    """Return how long the model is trained, and on how many clips per step; no steps for one that is not trained."""
    clips = preset.batch if job.data == Stream() else min(preset.batch, len(dataset.split("train")))
    if not registry.is_trained(job.model):
        return TrainingPlan(steps=0, batch=0, seed=job.seed)
    return TrainingPlan(
        steps=preset.steps if job.steps is None else job.steps,
        batch=clips,
        seed=job.seed,
        annealed=preset.annealed,
        eval_every=preset.eval_every if job.eval_every is None else job.eval_every,
    )
