"""Run folders, read for a report: each file if it is there, and refused by name if it is damaged."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines import registry
from benchmark import protocols
from benchmark.metrics import METRICS
from benchmark.protocols import Protocol
from benchmark.report.examples import Examples, read_examples
from benchmark.runs.folder import check_same, read_facts, read_json
from benchmark.runs.seal import check_seal
from benchmark.scoring import rows as results
from benchmark.scoring import scores as scoring
from benchmark.scoring.scores import Scores
from benchmark.scoring.statistics import SAMPLINGS, mean_over_clips
from mmnist_av.system.errors import InputError

CURVE = ("step", "epoch", "seconds")  # the first columns of training.csv
FLOOR_TOLERANCE = 1e-3  # relative: floors' means over clips differ by no more where the same clips were scored alike

T = TypeVar("T")
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class RunFolder:
    """What a run left; None or empty: it did not leave that."""

    path: Path
    label: str  # the model, what it heard where that is not its own, the folder where that does not tell runs apart
    facts: dict[str, Any]  # config.json
    environment: dict[str, Any]  # environment.json
    protocol: Protocol
    scores: dict[str, Scores]  # model -> metric -> (clips, K, frames); "metric/mean_frame" -> (clips, frames)
    rows: pd.DataFrame | None  # results.csv
    training: Columns  # training.csv: "step", and a column a loss or term
    validation: pd.DataFrame | None  # validation.csv
    examples: Examples | None  # examples.npz

    @property
    def model(self) -> str:
        """The run's own model, which the floors are scored beside."""
        return self.facts["model"]

    @property
    def samples(self) -> int | None:
        """K: the futures a clip that were scored; before that, None."""
        own = self.scores.get(self.model, {})
        whole = (name for name in own if name in METRICS and METRICS[name].of == "future" and not METRICS[name].futures)
        name = next(whole, None)
        return own[name].shape[1] if name else self.facts.get("samples") if own else None

    @property
    def floors(self) -> list[str]:
        """The floors that were scored beside it."""
        return [name for name in registry.FLOORS if name in self.scores and name != self.model]


def open_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """The runs in some folders, which must compare.

    Raises InputError for folders that hold no run, damaged files, a folder given twice, and runs of other clips,
    another protocol, or metrics that were not computed alike (the floors tell).
    """
    if not paths:
        raise InputError("a report needs at least one run's folder")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"a run is given twice: {', '.join(map(str, paths))}")
    runs = [open_run(path) for path in paths]
    for other in runs[1:]:
        _check_same(runs[0], other)
    return [replace(run, label=label) for run, label in zip(runs, _labels(runs), strict=True)]


def open_run(path: Path) -> RunFolder:
    """The run in a folder: config.json must be there, the rest may. Raises InputError for what is damaged."""
    check_seal(path)
    facts = read_facts(path)
    protocol = protocols.find(facts["protocol"])
    scores = _if_there(path / "scores.npz", scoring.read_all) or {}
    _check_scores(scores, facts, protocol, path / "scores.npz")
    return RunFolder(
        path=path,
        label=f"{facts['model']}{', other sound' if protocol.mismatched else ''}",
        facts=facts,
        environment=_if_there(path / "environment.json", read_json) or {},
        protocol=protocol,
        scores=scores,
        rows=_if_there(path / "results.csv", results.read_rows),
        training=_if_there(path / "training.csv", _read_training) or {},
        validation=_if_there(path / "validation.csv", _read_validation),
        examples=_if_there(path / "examples.npz", lambda file: read_examples(file, protocol)),
    )


def _if_there(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def _labels(runs: Sequence[RunFolder]) -> list[str]:
    """Each run's model; where runs share one, with as much of the end of their folders' paths as tells them apart."""
    models = [run.label for run in runs]
    labels, parts = models, 0
    while len(set(labels)) < len(labels):
        parts += 1
        ends = ["/".join(run.path.resolve().parts[-parts:]) for run in runs]
        labels = [
            model if models.count(model) == 1 else f"{model} ({end})" for model, end in zip(models, ends, strict=True)
        ]
    return labels


def _check_same(one: RunFolder, other: RunFolder) -> None:
    check_same(one.path, one.facts, other.path, other.facts)
    for floor in set(one.floors) & set(other.floors):
        for metric in set(one.scores[floor]) & set(other.scores[floor]):
            here, there = (_level(run.scores[floor][metric]) for run in (one, other))
            if not np.allclose(here, there, rtol=FLOOR_TOLERANCE, equal_nan=True):
                told = f"the {metric} of {floor} is not the same in {one.path} and {other.path}"
                raise InputError(f"the runs do not compare: {told}; score both again with one version of the code")


def _level(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """A floor's scores in the mean over clips; a distance of sets as it is."""
    return mean_over_clips(scores[:, 0]) if scores.ndim else scores


def _check_scores(scores: dict[str, Scores], facts: dict[str, Any], protocol: Protocol, path: Path) -> None:
    """Raise InputError where scores are not those of the run's model under its protocol."""
    if not scores:
        return
    if facts["model"] not in scores:
        raise InputError(f"{path} holds no scores of {facts['model']}: delete it to score again")
    for model, found in scores.items():
        for name, values in found.items():
            metric, _, averaged = name.partition("/")
            if metric not in METRICS or averaged not in ("", "mean_frame"):
                raise InputError(f"{path} holds {model}/{name}, which is no metric of this version")
            if METRICS[metric].of == "set":
                continue
            frames = protocol.test_predicted if METRICS[metric].frames == "all" else 1
            clips = facts.get("test_clips", len(values))
            ends, dimensions = (clips, frames), 2 if averaged else 3
            if values.ndim != dimensions or (values.shape[0], values.shape[-1]) != ends or not values.size:
                wanted = f"({clips}, {frames})" if averaged else f"({clips}, K, {frames})"
                raise InputError(f"{path}: {model}/{name} has the shape {values.shape}, {wanted} is wanted")
            if model in registry.FLOORS and model != facts["model"] and not averaged and values.shape[1] != 1:
                raise InputError(f"{path}: {model} is a floor and has one future, not {values.shape[1]}")
            if values.dtype.kind != "f" or np.isinf(values).any():
                raise InputError(f"{path}: {model}/{name} holds what is no score: delete it to score again")


def _read_training(path: Path) -> Columns:
    """The columns of training.csv but epoch and seconds."""
    if not path.stat().st_size:  # what a training of 0 steps leaves
        return {}
    header, lines = _read_csv(path, CURVE)
    found = []
    for number, fields in enumerate(lines, 2):
        try:
            found.append([float(field) if field else math.nan for field in fields])  # empty: another stage's player
        except ValueError:
            raise InputError(f"{path}, line {number}: numbers wanted, not '{','.join(fields)}'") from None
    table = np.array(found, np.float64).reshape(-1, len(header))
    there = np.array([[field != "" for field in fields] for fields in lines], bool).reshape(table.shape)
    if not np.isfinite(table[there]).all() or not there[:, 0].all() or (np.diff(table[:, 0]) <= 0).any():
        raise InputError(f"{path} is damaged: steps must rise and losses be finite")
    return {name: column for name, column in zip(header, table.T, strict=True) if name not in CURVE[1:]}


def _read_validation(path: Path) -> pd.DataFrame | None:
    """validation.csv's step, metric, futures ("mean of 10"), frame, value, low and high; None where it is empty."""
    if not path.stat().st_size:  # what a training of 0 steps leaves
        return None
    wanted = ("step", "metric", "sampling", "frame", "value", "low", "high")
    header, lines = _read_csv(path, wanted, in_order=False)
    found = []
    for number, fields in enumerate(lines, 2):
        row: dict[str, Any] = dict(zip(header, fields, strict=True))
        try:
            figures = {name: float(row[name]) for name in ("step", "value", "low", "high")}
            if row["metric"] not in METRICS or row["sampling"] not in SAMPLINGS or not math.isfinite(figures["step"]):
                raise ValueError
        except ValueError:
            raise InputError(f"{path}, line {number} is damaged: '{','.join(fields)}'") from None
        row["futures"] = futures_of(row["sampling"], row["k"]) if "k" in row else row["sampling"]
        found.append({**row, **figures})
    return pd.DataFrame(found, columns=[*header, "futures"])


def _read_csv(path: Path, wanted: Sequence[str], in_order: bool = True) -> tuple[list[str], list[list[str]]]:
    """Header and lines; InputError where columns are missing or a line has more or fewer fields."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = [*csv.reader(file, strict=True)] or [[]]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    there = tuple(header[: len(wanted)]) == tuple(wanted) if in_order else set(wanted) <= set(header)
    if not there:
        raise InputError(f"{path}, line 1: the columns {', '.join(wanted)} are wanted, not {','.join(header)}")
    for number, fields in enumerate(lines, 2):
        if len(fields) != len(header):
            raise InputError(f"{path}, line {number}: {len(header)} fields wanted, {len(fields)} found")
    return header, lines


def futures_of(sampling: str, k: object) -> str:
    """How futures became one number: "mean of 100", or "single"."""
    return sampling if sampling == "single" else f"{sampling} of {k}"
