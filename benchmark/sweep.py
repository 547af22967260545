"""Many runs: every model under every protocol with every seed, one process each; and their sum."""

import itertools
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from baselines import registry
from benchmark import presets, protocols
from benchmark.run import Job, folder_of, open_or_make
from benchmark.runs import environment
from benchmark.runs.folder import read_json
from benchmark.runs.seal import SEAL, is_whole
from benchmark.scoring.rows import COLUMNS, read_rows, wide_console
from mmnist_av.dataset import open_dataset
from mmnist_av.system.engine import in_order, open_engine
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_whole
from mmnist_av.system.progress import track

LINE = ("protocol", "preset", "fingerprint", "metric", "sampling", "k", "frame")  # with the model: one line of a sum
GIVEN = ("model", "protocol", "preset", "seed", "data", "out")  # options of a run that the sweep gives
DONE = "done"  # the last line of the log of a run that ended well


@dataclass(frozen=True)
class Sweep:
    """What the user asked for."""

    models: Sequence[str]
    protocols: Sequence[str]
    seeds: Sequence[int]
    preset: str = "demo"
    data: Mapping[str, Path] = field(default_factory=dict)  # protocol -> dataset; the others' are made under data/
    out: Path = Path("runs")
    engine: str = "local"
    workers: int = 1  # runs at a time
    gpus: float = 0  # that each run is given on a Ray cluster
    options: Sequence[str] = ()  # of avbench run, handed on as they are
    mnist_root: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    state: str  # done, skipped (it was done before) or failed
    told: str = ""  # the last line of a failed run's log


def sweep(asked: Sweep) -> list[Outcome]:
    """Do the runs that are not done yet; a failed one does not stop the others. Returns how each ended, in order.

    Datasets are made first, one after the other, so that runs of one protocol share theirs. Every run is a process of
    its own, with a log beside its folder. Raises InputError for names that do not exist, before anything is done.
    """
    found = jobs_of(asked)
    with open_engine(asked.engine, asked.workers, asked.gpus) as engine:
        jobs = [replace(job, data=data) for job, data in with_data(found)]
        waiting = [job for job in jobs if not is_done(job, asked.options)]
        tasks = ((command(job, asked.options), job.out) for job in waiting)
        codes = list(track(in_order(engine, run_process, tasks), "runs", len(waiting)))
    ended = {job.out: code for job, code in zip(waiting, codes, strict=True)}
    return [outcome(job.out or folder_of(job), ended.get(job.out)) for job in jobs]


def jobs_of(asked: Sweep) -> list[Job]:
    """The runs, by protocol, then model, then seed; InputError for names that do not exist, or come twice."""
    for model in asked.models:
        registry.find(model)
    for protocol in asked.protocols:
        protocols.find(protocol)
    for names in (asked.models, asked.protocols, [str(seed) for seed in asked.seeds]):
        if not names or len(set(names)) < len(names):
            raise InputError(f"a sweep needs one or more names, each once, not '{','.join(names)}'")
    own = {option.partition("=")[0] for option in asked.options} & {f"--{name}" for name in GIVEN}
    if own:
        raise InputError(f"{own.pop()} is the sweep's own to give: leave it out behind --")
    stray = set(asked.data) - set(asked.protocols)
    if stray:
        raise InputError(f"--data {stray.pop()}=...: the sweep has the protocols {', '.join(asked.protocols)}")
    jobs = []
    for protocol, model, seed in itertools.product(asked.protocols, asked.models, asked.seeds):
        job = Job(model, protocol, asked.preset, asked.data.get(protocol), seed=seed, mnist_root=asked.mnist_root)
        jobs.append(replace(job, out=asked.out.absolute() / folder_of(job).name))
    return jobs


def with_data(jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """Every run and its dataset's folder; datasets that are not there are made."""
    made: dict[str, Path] = {}
    for job in jobs:
        if job.protocol not in made:
            dataset = open_or_make(job, protocols.find(job.protocol), presets.find(job.preset))
            made[job.protocol] = dataset.path.absolute()
        yield job, made[job.protocol]


def is_done(job: Job, options: Sequence[str]) -> bool:
    """Whether the run's folder holds this very run, finished and whole: the same command on the same data and code."""
    folder = job.out or folder_of(job)
    log = log_of(folder)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    if not lines or (lines[0], lines[-1]) != (shlex.join(command(job, options)), DONE) or not is_whole(folder):
        return False
    facts = read_json(folder / "config.json")
    code = environment.code_version(registry.find(job.model).predictor)
    same = {"fingerprint": open_dataset(job.data or "").fingerprint, "code_version": code}
    return all(facts.get(name) == value for name, value in same.items())


def command(job: Job, options: Sequence[str]) -> list[str]:
    """The command line of a run."""
    named = [part for name in GIVEN for part in (f"--{name}", str(getattr(job, name)))]
    return [sys.executable, "-m", "benchmark.cli", "run", *named, *options]


def run_process(command: Sequence[str], folder: Path) -> int:
    """Run a command; it, and then what it says, goes into a log beside its folder. Returns its exit code."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with log_of(folder).open("w") as log:
        log.write(f"{shlex.join(command)}\n")
        log.flush()
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if code == 0:
            log.write(f"{DONE}\n")
        return code


def log_of(folder: Path) -> Path:
    """Where the run in `folder` is logged."""
    return folder.with_name(f"{folder.name}.log")


def outcome(folder: Path, code: int | None) -> Outcome:
    """How the run ended; `code` is None where it was not run."""
    if code is None:
        return Outcome(folder, "skipped")
    if code == 0 and (folder / SEAL).exists():
        return Outcome(folder, "done")
    told = log_of(folder).read_text(errors="replace").strip().splitlines()[1:]  # the first line is the command
    return Outcome(folder, "failed", "   ".join([*told[-1:], f"(exit code {code})"]))


def rows_of(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """The rows of all runs that ended well."""
    tables = [read_rows(each.folder / "results.csv") for each in outcomes if each.state != "failed"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation over the seeds of every figure: columns model, LINE, mean, sd, seeds.

    A single seed has no standard deviation (NaN). Floors, which need no seed, have that of the run beside them.
    """
    groups = rows.drop_duplicates(["model", *LINE, "seed"]).groupby(["model", *LINE], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def write_sum(rows: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Write rows.csv, every row of every run, and sweep.csv, their mean over seeds; returns the latter."""
    summed = over_seeds(rows)
    for table, name in ((rows, "rows.csv"), (summed, "sweep.csv")):
        with written_whole(out / name) as part:
            table.to_csv(part, index=False, float_format="%.9g", na_rep="nan", lineterminator="\n")
    return summed


def print_sum(summed: pd.DataFrame) -> None:
    """Print a table a protocol and metric: a line a model and sampling, a column a frame, mean +- sd over the seeds."""
    from rich import box
    from rich.table import Table

    console = wide_console()
    for (protocol, metric), own in summed.groupby(["protocol", "metric"], sort=False):
        frames = list(dict.fromkeys(own["frame"]))
        table = Table("model", "futures", "seeds", *frames, box=box.ASCII_DOUBLE_HEAD, show_edge=False)
        for (model, sampling, k), line in own.groupby(["model", "sampling", "k"], sort=False):
            cells = [f"{mean:.4g} +- {sd:.2g}" for mean, sd in zip(line["mean"], line["sd"], strict=True)]
            table.add_row(str(model), f"{sampling} of {k}", str(line["seeds"].max()), *cells)
        console.print(f"{metric}; {protocol}: mean +- standard deviation over seeds")
        console.print(table, "")
