"""Many runs: every model under every protocol with every seed, one process each, and their summary."""

import hashlib
import io
import itertools
import logging
import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from baselines import registry
from benchmark.catalogue import find_preset, find_protocol
from benchmark.child_processes import STOPPED, call, ended_at_a_stop, is_stopped
from benchmark.csv_tables import as_csv
from benchmark.job import Job
from benchmark.runs import environment
from benchmark.runs.folder import CONFIG, RESULTS, check_place, read_json, write_json
from benchmark.runs.seal import check_seal, is_sealed, is_whole
from benchmark.scoring.rows import COLUMNS, read_rows
from benchmark.setup import prepare_dataset
from mmnist_av import families
from mmnist_av.dataset import open_dataset
from mmnist_av.system.engine import Engine, in_order, open_engine
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import named_in_errors, sha256, written_whole
from mmnist_av.system.progress import track

log = logging.getLogger(__name__)

LINE = ("protocol", "preset", "fingerprint", "metric", "sampling", "k", "frame")  # with the model: a line of a summary
GIVEN = {  # options of a run that the sweep sets, and the sweep's own that decide them
    "model": "--models",
    "protocol": "--protocols",
    "preset": "--preset",
    "seed": "--seeds",
    "data": "--data PROTOCOL=FOLDER",
    "out": "--out",
}
ROWS, SUMMARY = "rows.csv", "sweep.csv"
MOVE = "move it, or choose another --out"  # what to do with a file that no sweep wrote
WRITTEN = "sweep.json"  # the SHA-256 of ROWS and SUMMARY as sweeps wrote them
RUN = ("-m", "benchmark.cli", "run")  # of the command in the first line of a run's log, behind the interpreter
TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # of logs: paths may be no UTF-8, as Python has them
DONE = "done"  # the last line of the log of a run that ended well


@dataclass(frozen=True)
class Sweep:
    """What the user requests."""

    models: Sequence[str]
    protocols: Sequence[str]
    seeds: Sequence[int]
    preset: str = "demo"
    data: Mapping[str, Path] = field(default_factory=dict)  # protocol -> dataset; others are generated under data/
    out: Path = Path("runs")
    engine: str = "local"
    workers: int = 1  # runs at a time
    gpus: float = 0  # of a Ray cluster, per run
    options: Sequence[str] = ()  # of avbench run, passed on as they are
    mnist_root: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    state: str  # done, skipped (it was done before), failed, or stopped (by Ctrl-C, also before it started)
    message: str = ""  # the last line of a failed run's log

    @property
    def is_finished(self) -> bool:
        """Return whether the run's folder holds its results."""
        return self.state in ("done", "skipped")


def sweep(requested: Sweep) -> list[Outcome]:
    """Do the runs that are not done yet, and return how each ended, in order; a failed run does not stop the others.

    Datasets are generated first, one after the other, so that runs of one protocol share theirs. Every run is a process
    of its own, with a log beside its folder. Ctrl-C and SIGTERM stop the runs, and no other starts. Raises InputError
    for unknown names, and for files in the way of the summary, before anything is done.
    """
    planned = jobs_of(requested)
    if math.isnan(requested.gpus) or (requested.gpus and requested.engine == "local"):
        raise InputError(
            f"--gpus {requested.gpus:g}: a number for --engine ray, whose cluster counts GPUs, is expected"
        )
    refuse_foreign(requested.out)
    for job in planned:
        refuse_foreign_log(log_of(job.folder))
    with open_engine(requested.engine, requested.workers, requested.gpus) as engine:
        jobs = [replace(job, data=data) for job, data in with_data(planned)]
        waiting = [job for job in jobs if not is_done(job, requested.options)]
        codes = codes_of(engine, waiting, requested.options)
    rest = waiting[len(codes) :]  # of an interrupted sweep
    ended = dict(zip((job.folder for job in waiting), codes, strict=False))
    ended |= {job.folder: 0 for job in rest if is_done(job, requested.options)}
    stopped = {job.folder for job in rest} - ended.keys()
    return [
        Outcome(job.folder, "stopped") if job.folder in stopped else outcome(job.folder, ended.get(job.folder))
        for job in jobs
    ]


def codes_of(engine: Engine, jobs: Sequence[Job], options: Sequence[str]) -> list[int]:
    """Run some jobs, and return their exit codes in order; fewer where Ctrl-C or SIGTERM stopped them."""
    codes: list[int] = []
    tasks = ((command(job, options), job.folder) for job in jobs)
    with suppress(KeyboardInterrupt), ended_at_a_stop():
        codes.extend(track(in_order(engine, run_process, tasks), "runs", len(jobs)))  # keeps those before a stop
    return codes


def jobs_of(requested: Sweep) -> list[Job]:
    """Return the runs, by protocol, then model, then seed; InputError for unknown names, and names given twice."""
    for model in requested.models:
        registry.find(model)
    for protocol in requested.protocols:
        find_protocol(protocol)
    for names in (requested.models, requested.protocols, [str(seed) for seed in requested.seeds]):
        if not names or len(set(names)) < len(names):
            raise InputError(f"a sweep needs one or more names, each once, not '{','.join(names)}'")
    for name, own in GIVEN.items():
        if any(option.partition("=")[0] == f"--{name}" for option in requested.options):
            raise InputError(f"--{name} behind `--`: the sweep sets it for every run, by {own} before `--`")
    stray = set(requested.data) - set(requested.protocols)
    if stray:
        raise InputError(f"--data {stray.pop()}=...: the sweep has the protocols {', '.join(requested.protocols)}")
    jobs = []
    for protocol, model, seed in itertools.product(requested.protocols, requested.models, requested.seeds):
        job = Job(
            model=model,
            protocol=protocol,
            preset=requested.preset,
            data=requested.data.get(protocol),
            seed=seed,
            mnist_root=requested.mnist_root,
        )
        jobs.append(replace(job, out=requested.out.absolute() / job.folder.name))
    return jobs


def with_data(jobs: Sequence[Job]) -> Iterator[tuple[Job, Path]]:
    """Yield every run with its dataset's folder; datasets that are missing are generated."""
    folders: dict[str, Path] = {}
    for job in jobs:
        if job.protocol not in folders:
            dataset = prepare_dataset(job, find_protocol(job.protocol), find_preset(job.preset))
            folders[job.protocol] = dataset.path.absolute()
        yield job, folders[job.protocol]


def is_done(job: Job, options: Sequence[str]) -> bool:
    """Return whether the run's folder holds this very run, finished and whole: same command, same data, same code."""
    lines = last_log(job.folder)
    if not lines or (lines[0], lines[-1]) != (shlex.join(command(job, options)), DONE) or not is_whole(job.folder):
        return False
    config = read_json(job.folder / CONFIG)
    assert isinstance(job.data, Path)
    dataset = open_dataset(job.data)
    family = families.find(dataset.family)
    code = environment.code_version(registry.find(job.model).predictor, type(family))
    same = {"fingerprint": dataset.fingerprint, "code_version": code}
    return all(config.get(name) == value for name, value in same.items())


def command(job: Job, options: Sequence[str]) -> list[str]:
    """Return the command line of a run."""
    named = [part for name in GIVEN for part in (f"--{name}", str(getattr(job, name)))]
    return [sys.executable, *RUN, *named, *options]


def run_process(command: Sequence[str], folder: Path) -> int:
    """Run a command, and return its exit code; a log beside its folder gets the command and what it prints.

    The log keeps what earlier calls printed. STOPPED, and no log, where Ctrl-C or SIGTERM has stopped the sweep.
    """
    if is_stopped():
        return STOPPED
    folder.parent.mkdir(parents=True, exist_ok=True)
    with named_in_errors(log_of(folder)), log_of(folder).open("a", **TEXT) as log:
        if log.tell():
            log.write("\n")  # what a killed run printed last may be no whole line
        log.write(f"{shlex.join(command)}\n")
        log.flush()
        code = call(command, log)
        if code == 0:
            log.write(f"{DONE}\n")
        return code


def log_of(folder: Path) -> Path:
    """Return the log file of the run in `folder`."""
    return folder.with_name(f"{folder.name}.log")


def last_log(folder: Path) -> list[str]:
    """Return the lines of a run's log from the last command on; [] where there is none."""
    log = log_of(folder)
    lines = log.read_text(**TEXT).splitlines() if log.exists() else []
    begins = [number for number, line in enumerate(lines) if f" {shlex.join(RUN)} " in line]
    return lines[begins[-1] :] if begins else []


def refuse_foreign_log(log: Path) -> None:
    """Raise InputError where a run's log would replace a file that is none: one that begins with no run's command."""
    if not log.exists():
        return
    with log.open("rb") if log.is_file() else io.BytesIO(b"no file") as file:
        first = file.readline()
    if first and f" {shlex.join(RUN)} ".encode() not in first:
        raise InputError(f"{log} is not the log of a run: {MOVE}")


def outcome(folder: Path, code: int | None) -> Outcome:
    """Return how the run in `folder` ended; `code` is None for a run that was skipped."""
    if code is None:
        return Outcome(folder, "skipped")
    if code == 0 and is_sealed(folder):
        return Outcome(folder, "done")
    said = [line for line in last_log(folder)[1:] if line]  # the first line is the command
    return Outcome(folder, "failed", "   ".join([*said[-1:], f"(exit code {code})"]))


def rows_of(folders: Iterable[Path]) -> pd.DataFrame:
    """Return the rows of some runs."""
    return joined([read_rows(folder / RESULTS) for folder in folders])


def finished_rows(out: Path) -> pd.DataFrame:
    """Return the rows of all finished runs in `out`; a note names those that cannot be read or have changed."""
    tables = []
    for folder in sorted(out.iterdir()):
        try:
            if is_sealed(folder) and (folder / RESULTS).is_file():
                check_seal(folder)
                tables.append(read_rows(folder / RESULTS))
        except (InputError, OSError) as error:
            log.warning("%s leaves out %s: %s", out / ROWS, folder.name, error)
    return joined(tables)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of some runs as one table; what a run does not say of its rows is empty."""
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = pd.concat(tables, ignore_index=True)
    return rows.fillna(dict.fromkeys(rows.columns.difference([*COLUMNS]), ""))


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample standard deviation over seeds of every figure: columns model, LINE, mean, sd, seeds.

    A single seed has no standard deviation (NaN). Floors, which need no seed, have that of the run beside them.
    """
    groups = rows.drop_duplicates(["model", *LINE, "seed"]).groupby(["model", *LINE], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def write_summary(outcomes: Iterable[Outcome], out: Path) -> pd.DataFrame:
    """Write rows.csv, the rows of all finished runs in `out`, and sweep.csv, means over seeds; return the latter.

    The means are over the runs of this sweep. WRITTEN says which files a sweep wrote: it overwrites no others.
    """
    known = refuse_foreign(out)
    summary = over_seeds(rows_of(each.folder for each in outcomes if each.is_finished))
    texts = {ROWS: as_csv(finished_rows(out)), SUMMARY: as_csv(summary)}
    written = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    write_json(out / WRITTEN, {name: f"{known[name]} {written[name]}".strip() for name in written})
    for name, text in texts.items():  # a kill on the way leaves files of before and of now: WRITTEN knows both
        with written_whole(out / name) as part:
            part.write_bytes(text)
    write_json(out / WRITTEN, written)
    return summary


def refuse_foreign(out: Path) -> dict[str, str]:
    """Return the SHA-256 of the summary's files that sweeps wrote, by name: "" for none, several with spaces between.

    Raises InputError where a file is in the way that no sweep wrote, or that changed since.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out")
    check_place(out / ROWS)
    written = dict.fromkeys((ROWS, SUMMARY), "")
    if (out / WRITTEN).exists():
        written = read_json(out / WRITTEN, remedy=MOVE)
    if written.keys() != {ROWS, SUMMARY} or not all(isinstance(known, str) for known in written.values()):
        raise InputError(f"{out / WRITTEN} is not as a sweep wrote it: {MOVE}")
    for name, known in written.items():
        path = out / name
        if path.exists() and not (path.is_file() and sha256(path) in known.split()):
            raise InputError(f"{path} is not as a sweep wrote it: {MOVE}")
    return written
