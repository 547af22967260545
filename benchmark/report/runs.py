"""Run folders, read for a report. A missing file is left out; a damaged one is an error that names it."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.names import FLOORS
from benchmark.catalogue import METRICS, Protocol, find_protocol, known_metrics
from benchmark.report.examples import Examples, read_examples
from benchmark.report.training_logs import Columns, read_training, read_validation
from benchmark.runs.differences import identity
from benchmark.runs.folder import check_comparable, read_config, read_json
from benchmark.runs.seal import check_seal
from benchmark.scoring.archives import other_run, read_run
from benchmark.scoring.rows import read_rows
from benchmark.scoring.scores import Scores, is_impossible, read_scores
from benchmark.scoring.statistics import mean_over_clips
from mmnist_av.system.errors import InputError, one_line
from mmnist_av.system.files import real_path

# The largest relative difference of a floor's means over clips between two runs that scored the same clips alike
FLOOR_TOLERANCE = 1e-3
AVERAGED = "/mean_frame"  # the end of the names of scores of averaged samples

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """The content of a run's folder. What the run did not write is None or empty."""

    path: Path
    label: str  # the model's name, and what tells it apart from the other runs of a report
    facts: dict[str, Any]  # config.json
    environment: dict[str, Any]  # environment.json
    protocol: Protocol
    scores: dict[str, Scores]  # model -> metric -> (clips, K, frames); "metric/mean_frame" -> (clips, frames)
    rows: pd.DataFrame | None  # results.csv
    training: Columns  # training.csv: "step", and one column per loss or term
    validation: pd.DataFrame | None  # validation.csv
    examples: Examples | None  # examples.npz

    @property
    def model(self) -> str:
        """Return the name of the run's own model; the floors are scored beside it."""
        return self.facts["model"]

    @property
    def samples(self) -> int | None:
        """Return K, the number of samples per clip that were scored; None before scoring."""
        own = self.scores.get(self.model, {})
        of_all = {name for name, row in METRICS.items() if row.score_of == "sample" and not row.max_samples}
        name = next((name for name in own if name in of_all), None)
        return own[name].shape[1] if name else self.facts.get("samples") if own else None

    @property
    def floors(self) -> list[str]:
        """Return the floors that were scored beside the run's own model."""
        return [name for name in FLOORS if name in self.scores and name != self.model]


def open_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """Return the runs in some folders, each with a label of its own.

    Raises InputError for folders without a run, damaged files, a folder given twice, and runs that cannot be compared:
    other clips, another protocol, or metrics that were computed differently, which the floors' scores show.
    """
    if not paths:
        raise InputError("a report needs at least one run's folder")
    if len({real_path(path) for path in paths}) < len(paths):
        raise InputError(f"a run is given twice: {', '.join(map(str, paths))}")
    runs = [open_run(path) for path in paths]
    for other in runs[1:]:
        _check_same(runs[0], other)
    return [replace(run, label=label) for run, label in zip(runs, _labels(runs), strict=True)]


def open_run(path: Path) -> RunFolder:
    """Return the run in a folder; only config.json must exist. Raises InputError for a damaged file.

    A note names metrics of other versions, which are left out.
    """
    check_seal(path)
    facts = read_config(path)
    protocol = find_protocol(facts["protocol"])
    scores = _if_exists(path / "scores.npz", read_scores)
    rows = _if_exists(path / "results.csv", read_rows)
    validation = _if_exists(path / "validation.csv", read_validation)
    tables = [table for table in (rows, validation) if table is not None]
    if scores is None:
        scores = {}
    else:
        check_scores(scores, facts, protocol, path / "scores.npz")
    known = known_metrics(chain(*map(metrics_of, scores.values()), *(table["metric"] for table in tables)), path)
    scores = {model: of_metrics(known, own) for model, own in scores.items()}
    return RunFolder(
        path=path,
        label=f"{facts['model']}{', other sound' if protocol.mismatched else ''}",
        facts=facts,
        environment=_if_exists(path / "environment.json", read_json) or {},
        protocol=protocol,
        scores=scores,
        rows=None if rows is None else rows[rows["metric"].isin(known)],
        training=_if_exists(path / "training.csv", read_training) or {},
        validation=None if validation is None else validation[validation["metric"].isin(known)],
        examples=_if_exists(path / "examples.npz", lambda file: read_examples(file, protocol)),
    )


def metrics_of(scores: Scores) -> list[str]:
    """Return the names of the metrics in a model's scores."""
    return [name.removesuffix(AVERAGED) for name in scores]


def of_metrics(names: Container[str], scores: Scores) -> Scores:
    """Return a model's scores of the metrics called `names`."""
    return {name: values for name, values in scores.items() if name.removesuffix(AVERAGED) in names}


def _if_exists(path: Path, read: Callable[[Path], T]) -> T | None:
    if path.exists() and not path.is_file():  # reading from a pipe may never end
        raise InputError(f"{path} is not a regular file: move it away")
    return read(path) if path.exists() else None


def _labels(runs: Sequence[RunFolder]) -> list[str]:
    """Return the runs' labels; those that are equal get the end of their folders' paths, as long as needed."""
    models = [run.label for run in runs]
    labels, parts = models, 0
    while len(set(labels)) < len(labels):
        parts += 1
        ends = [one_line("/".join(real_path(run.path).parts[-parts:])) for run in runs]
        labels = [
            model if models.count(model) == 1 else f"{model} ({end})" for model, end in zip(models, ends, strict=True)
        ]
    return labels


def _check_same(one: RunFolder, other: RunFolder) -> None:
    """Raise InputError where two runs cannot be compared."""
    check_comparable(one.path, one.facts, other.path, other.facts)
    for floor in set(one.floors) & set(other.floors):
        for metric in set(one.scores[floor]) & set(other.scores[floor]):
            here, there = (_floor_means(run.scores[floor][metric]) for run in (one, other))
            if not np.allclose(here, there, rtol=FLOOR_TOLERANCE, equal_nan=True):
                difference = f"the {metric} of {floor} is not the same in {one.path} and {other.path}"
                raise InputError(
                    f"the runs do not compare: {difference}; score both again with one version of the code"
                )


def _floor_means(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the means over clips of a floor's only sample; a distance between sets as it is."""
    return mean_over_clips(scores[:, 0]) if scores.ndim else scores


def check_scores(scores: Mapping[str, Scores], facts: Mapping[str, Any], protocol: Protocol, path: Path) -> None:
    """Raise InputError where scores in the file `path` are another run's, or do not fit its model, K and clips.

    Metrics that this version does not know are not checked.
    """
    if facts["model"] not in scores:
        raise InputError(f"{path} holds no scores of {facts['model']}: delete it to score again")
    run = read_run(path)
    if run not in (None, identity(facts)):  # older versions did not say it
        raise InputError(f"{path} {other_run(run, identity(facts))}: restore the run's own")
    for model, found in scores.items():
        for name, values in found.items():
            if name.removesuffix(AVERAGED) in METRICS:
                _check_shape(model, name, values, facts, protocol, path)
                metric = METRICS[name.removesuffix(AVERAGED)]
                if values.dtype.kind != "f" or is_impossible(values, metric).any():
                    rule = f"finite numbers within {metric.lowest:g} and {metric.highest:g}, or NaN"
                    raise InputError(f"{path}: {model}/{name} must hold {rule}: move it away to score again")


def _check_shape(
    model: str, name: str, values: NDArray[Any], facts: Mapping[str, Any], protocol: Protocol, path: Path
) -> None:
    """Raise InputError where the scores of one model and metric have another shape than the run's."""
    metric = METRICS[name.removesuffix(AVERAGED)]
    if metric.score_of == "set":
        fits, expected = values.shape == (), "()"
    else:
        clips = facts.get("test_clips", values.shape[0] if values.ndim else 0)
        frames = protocol.test_predicted if metric.frames == "all" else 1
        samples = () if name.endswith(AVERAGED) else ("K",)
        ends = (clips, *samples, frames)
        fits = values.ndim == len(ends) and (values.shape[0], values.shape[-1]) == (clips, frames) and values.size > 0
        expected = f"({', '.join(map(str, ends))})"
    if not fits:
        raise InputError(f"{path}: {model}/{name} has the shape {values.shape}, expected {expected}")
    if metric.score_of != "sample" or name.endswith(AVERAGED):
        return
    if model in FLOORS and model != facts["model"] and values.shape[1] != 1:
        raise InputError(f"{path}: {model} is a floor and must have one sample, found {values.shape[1]}")
    most = facts.get("samples", values.shape[1])
    if values.shape[1] not in (1, min(most, metric.max_samples or most)):
        raise InputError(f"{path}: {model}/{name} has {values.shape[1]} samples per clip, the run {most}")
