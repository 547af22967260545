"""Two runs on the same clips: by how much one is better, with paired intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baselines import registry
from benchmark.catalogue import METRICS, Metric, Protocol, find_protocol, known_metrics
from benchmark.external import PRESET as EXTERNAL
from benchmark.report.runs import metrics_of, of_metrics
from benchmark.runs.folder import check_comparable, read_config
from benchmark.runs.seal import check_seal
from benchmark.scoring.rows import Floats, report_frames
from benchmark.scoring.scores import Scores, read_scores, samplings
from benchmark.scoring.statistics import mean_over_clips, paired_interval
from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class Difference:
    """One row of a comparison."""

    metric: str
    sampling: str
    frame: str
    one: float  # means over the clips that have a value in both runs
    other: float
    difference: float  # one - other
    low: float  # of the difference's paired 95% bootstrap interval
    high: float
    better: str  # "one", "other", or "neither" where the interval contains 0


def compare(one: Path, other: Path) -> pd.DataFrame:
    """Return the differences between the models of two runs: a row per metric, sampling and reported frame.

    The columns are the fields of Difference. Raises InputError where the runs do not compare: other clips or another
    protocol. Left out are sampling rules whose figures depend on K, where K differs, and metrics that only one of the
    runs was scored with. A note names metrics of other versions, which are left out, too.
    """
    for folder in (one, other):
        check_seal(folder)
    configs = [read_config(folder) for folder in (one, other)]
    check_comparable(one, configs[0], other, configs[1])
    protocol = find_protocol(configs[0]["protocol"])
    scores = [
        known_scores(folder, read_scores(folder / "scores.npz")[config["model"]])
        for folder, config in zip((one, other), configs, strict=True)
    ]
    same_k = len({samples_of(config) for config in configs} - {None}) <= 1
    rows: list[Difference] = []
    for metric in METRICS.values():
        if metric.of == "set" or not all(metric.name in each for each in scores):
            continue  # a distance of sets has no value per clip
        first, second = (of_deterministic(samplings(each, metric.name)) for each in scores)
        for sampling in first:
            if sampling in second and (same_k or sampling in ("mean", "pairs")):
                rows += differences(metric, sampling, protocol, first[sampling], second[sampling])
    if not rows:
        raise InputError(f"{one} and {other} have no sampling in common")
    return pd.DataFrame([asdict(row) for row in rows])


def known_scores(folder: Path, scores: Scores) -> Scores:
    """Return a model's scores of the metrics that this version knows; a note names the others."""
    return of_metrics(known_metrics(metrics_of(scores), folder), scores)


def samples_of(config: Mapping[str, Any]) -> int | None:
    """Return K of a run; None for a deterministic model. An external model with one sample counts as such."""
    if config["preset"] == EXTERNAL:
        return None if config["samples"] == 1 else config["samples"]
    return config["samples"] if registry.find(config["model"]).predictor.stochastic else None


def of_deterministic(rules: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """Return a deterministic model's single sample under both rules for means, as all its samples agree."""
    return {"mean": rules["single"], "mean_frame": rules["single"]} if "single" in rules else rules


def differences(metric: Metric, sampling: str, protocol: Protocol, one: Floats, other: Floats) -> Iterator[Difference]:
    """Yield the differences between two models' (clips, frames) of one metric and sampling, per reported frame."""
    frames, first = report_frames(metric.name, one, protocol)
    _, second = report_frames(metric.name, other, protocol)
    interval = paired_interval(first, second)
    both = ~np.isnan(first - second)
    for number, frame in enumerate(frames):
        kept = both[:, [number]]
        means = [mean_over_clips(np.where(kept, each[:, [number]], np.nan))[0] for each in (first, second)]
        low, high = interval.low[number], interval.high[number]
        sign = int(low > 0) - int(high < 0)  # 0 where the interval contains 0
        yield Difference(
            metric=metric.name,
            sampling=sampling,
            frame=frame,
            one=means[0],
            other=means[1],
            difference=means[0] - means[1],
            low=low,
            high=high,
            better={0: "neither", 1: "one", -1: "other"}[sign if metric.better == "higher" else -sign],
        )
