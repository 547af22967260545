"""`avbench check`: a model's code is tried on two clips, without a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from baselines import registry
from benchmark.catalogue import find_preset, find_protocol
from benchmark.job import Job
from benchmark.options import Download
from benchmark.run import try_model
from benchmark.setup import Setup, prepare
from benchmark.training.checks import check_players
from benchmark.training.processes import ALONE
from benchmark.trial import Trial
from mmnist_av import families
from mmnist_av.system.errors import InputError

SIZES = {"train": 2, "val": 0, "test": 2}


def check_model(
    model: str,
    protocol: str,
    data: Path | None = None,
    settings: Mapping[str, str] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    weights: Path | Download | None = None,
) -> Iterator[str]:
    """Yield lines that say what works; InputError with the first mistake: what is wrong, and what to do.

    data: the dataset whose first clips are taken; None: two clips are generated, and nothing of them is kept.
    """
    with registry.errors_in_one_line(model), TemporaryDirectory() as folder:
        if data is None:
            rules, source = find_protocol(protocol), find_preset("demo").source
            data = families.generate(rules.family, Path(folder) / "clips", rules.world, SIZES, 0, source, None).path
        job = Job(
            model=model,
            protocol=protocol,
            data=data,
            out=Path(folder) / "run",
            settings=settings or {},
            device=device,
            weights=weights,
        )
        setup = prepare(job, ALONE)
        if not job.learns:
            raise InputError(f"{model} is not trained: there is nothing more to check")
        check_players(setup.model)
        yield described(setup)
        yield from results(try_model(setup))
    yield f"avbench run --model {model} --protocol {protocol} trains it"


def described(setup: Setup) -> str:
    """Return what was built, in a line."""
    model, protocol = setup.model, setup.protocol
    counts = [sum(each.numel() for each in player.parameters) for player in model.players().values()]
    parameters = " + ".join(f"{count:,}" for count in counts)
    return (
        f"{setup.job.model}: {parameters} parameters; {protocol.seen} seen frames, {protocol.test_predicted} to predict"
    )


def results(trial: Trial) -> Iterator[str]:
    """Yield what the trial has shown, a line each."""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in trial.losses.items())
    yield f"losses: {losses}; each has a gradient"
    frames = trial.prediction.frames
    low, high = frames.min().item(), frames.max().item()
    yield f"samples: {tuple(frames.shape)}, values {low:.3g} to {high:.3g}; the same noise gives the same samples"
