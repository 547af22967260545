"""The job of a run: what the user requests. Only checks of it import torch."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from baselines.names import FLOORS
from benchmark.catalogue import find_preset, find_protocol, named_metrics
from benchmark.options import Download, Stream, check_weights
from benchmark.runs.folder import check_folder
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import real_path
from mmnist_av.system.settings import checked

log = logging.getLogger(__name__)

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


@checked
class Job:
    """What the user requests. None: as the preset has it."""

    model: str
    protocol: str = "m3so-nb"
    preset: str = "demo"
    data: Path | Stream | None = None  # a dataset's folder, or training on endless clips; None: generated under data/
    out: Path | None = None  # the run's folder; None: named after the job, under runs/
    samples: Positive | None = None  # K, samples per clip
    steps: NotNegative | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # of the weights, the batches and the samples, not of the dataset
    device: Literal["auto", "cpu", "cuda"] = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)  # of the model: name -> text
    mnist_root: Path | None = None
    metrics: str = "standard"  # or "all", or names separated by commas
    weights: Path | Download | None = None  # published weights; None: metrics that need them are left out
    eval_every: NotNegative | None = None  # steps between two validations; 0: none
    tensorboard: bool = False
    devices: Positive = 1  # processes per machine that train together
    nodes: Positive = 1  # machines
    report: bool = True  # whether figures, movies and the page are drawn at the end
    checkpoint: Literal["best", "last"] = "best"  # whose weights are scored: the best validation's, or the last ones
    trained: Path | None = None  # a finished run whose model is scored; None: the model is trained

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        stream = "-stream" if self.data == Stream() else ""
        name = f"{self.model}-{self.protocol}-{self.preset}{stream}-seed{self.seed}"
        return Path("runs") / name if self.out is None else self.out

    @property
    def learns(self) -> bool:
        """Return whether the run trains a model."""
        from baselines import registry

        return registry.is_trained(self.model) and self.trained is None


def check(job: Job) -> None:
    """Raise InputError for a job that cannot be done, as far as can be said before anything is opened or generated."""
    from baselines import registry
    from benchmark.metrics import named
    from benchmark.training import logs
    from benchmark.training.processes import Ranks

    find_protocol(job.protocol)
    named_metrics(job.metrics)
    note_unused(job)
    Ranks(count=job.devices * job.nodes).share(find_preset(job.preset).batch)
    if job.trained is not None:
        check_trained(job, job.trained)
    if job.tensorboard:
        logs.find_tensorboard()
    check_weights(job.weights)
    named.check_weights(job.metrics, job.weights)
    named.check_model(job.metrics, job.model, registry.find(job.model).predictor.predicts)
    for floor in FLOORS:  # scored beside every model, after its training
        registry.find(floor)
    check_folder(job.folder)


def note_unused(job: Job) -> None:
    """Say in a note which options of a training are of no use to a model that is not trained."""
    from baselines import registry

    names = ("steps", "eval_every", "tensorboard", "devices", "nodes", "checkpoint")
    usual = Job(job.model)
    used = [name for name in names if getattr(job, name) != getattr(usual, name)]
    options = [f"--{name.replace('_', '-')}" for name in used]
    if isinstance(job.data, Stream):
        options.append("--data stream")
    if options and not registry.is_trained(job.model):
        log.warning("%s is not trained, so that nothing is changed by %s", job.model, ", ".join(options))


def check_trained(job: Job, trained: Path) -> None:
    """Raise InputError where --trained contradicts the rest of the job."""
    from baselines import registry
    from benchmark.runs.pretrained import pretrained_config

    if not registry.is_trained(job.model):
        raise InputError(f"--trained {trained}: {job.model} needs no training")
    if job.steps is not None or job.eval_every is not None or job.tensorboard or (job.devices, job.nodes) != (1, 1):
        raise InputError(
            "--trained takes a training as it was: leave out --steps, --eval-every, --devices and the like"
        )
    if real_path(trained) == real_path(job.folder):
        raise InputError(f"--trained {trained} is the folder of this run: choose another --out")
    requested = {"model": job.model, "protocol": job.protocol, "preset": job.preset, "seed": job.seed}
    settings = registry.configure(job.model, job.settings)
    pretrained_config(trained, requested | {"settings": as_dict(settings)})


def as_dict(settings: Any) -> dict[str, Any]:
    """Return a model's settings by name; none for a model without any."""
    return {} if settings is None else dataclasses.asdict(settings)
