"""Two runs on the same clips: by how much one is better, with paired intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.catalogue import EXTERNAL, METRICS, Metric, Protocol, find_metric, find_protocol, known_metrics
from benchmark.csv_tables import refuse_foreign
from benchmark.report.runs import check_scores, metrics_of, of_metrics
from benchmark.runs.folder import CONFIG, check_comparable, read_config
from benchmark.runs.seal import check_seal, note_unsealed
from benchmark.scoring.rows import Floats, reported_scores
from benchmark.scoring.scores import Scores, read_scores, samplings
from benchmark.scoring.statistics import mean_over_clips, paired_interval
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_whole

NEEDED = {"preset": str, "samples": int, "test_clips": int, "fingerprint": str}  # of config.json


@dataclass(frozen=True)
class ScoredRun:
    """A run as it is compared: its own model's scores."""

    folder: Path
    config: Mapping[str, Any]
    protocol: Protocol
    scores: Scores
    samples: int | None  # K; None for a deterministic model, which has one sample whatever K was requested

    @property
    def in_words(self) -> str:
        """Return the run in one line."""
        count = f"K = {self.samples}" if self.samples else "one sample"
        return f"{self.config['model']}, {self.config['protocol']}, {self.config['preset']}, {count} ({self.folder})"


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
    clips: int  # that have a value in both runs


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, compared."""

    one: ScoredRun
    other: ScoredRun
    rows: pd.DataFrame  # a row per metric, sampling and reported frame: the fields of Difference
    left_out: list[str]  # what was not compared, and why: a line each

    @property
    def clips(self) -> int:
        """Return the number of test clips of both runs."""
        return self.one.config["test_clips"]


def compare(one: Path, other: Path, metrics: Sequence[str] = ()) -> Comparison:
    """Compare the models of two runs clip by clip, by some metrics (by default all).

    Raises InputError where the runs do not compare (other clips, another protocol, nothing in common), for a damaged
    folder, and for an unknown metric. Left out are sampling rules whose figures depend on K, where K differs, and
    metrics that only one of the runs was scored with. Notes name metrics of other versions and runs without a seal.
    """
    named = [find_metric(name).name for name in metrics]
    configs = [read_config(folder) for folder in (one, other)]
    check_comparable(one, configs[0], other, configs[1])
    first, second = (open_scored(folder, config) for folder, config in zip((one, other), configs, strict=True))
    rows: list[Difference] = []
    left_out: dict[str, list[str]] = {}  # why -> metrics or sampling rules
    for metric in METRICS.values():
        if metric.name not in (named or {*first.scores, *second.scores}):
            continue
        why = why_not(metric, first, second)
        if why:
            left_out.setdefault(why, []).append(metric.name)
            continue
        rules = [of_deterministic(samplings(run.scores, metric.name)) for run in (first, second)]
        for sampling in {**rules[0], **rules[1]}:
            why = why_not_under(sampling, (first, second), rules)
            if why:
                left_out.setdefault(why, []).append(sampling)
            else:
                rows += differences(metric, sampling, first.protocol, *(own[sampling] for own in rules))
    lines = [f"{', '.join(dict.fromkeys(names))}: {why}" for why, names in left_out.items()]
    if not rows:
        raise InputError(f"{one} and {other} have nothing in common to compare: {'; '.join(lines)}")
    return Comparison(first, second, pd.DataFrame([asdict(row) for row in rows]), lines)


def open_scored(folder: Path, config: Mapping[str, Any]) -> ScoredRun:
    """Return a run of this config as it is compared; InputError for a folder without scores, and for a damaged one."""
    check_seal(folder)
    for name, kind in NEEDED.items():
        if not isinstance(config.get(name), kind):
            raise InputError(f"{folder / CONFIG} is damaged: its {name} is {config.get(name)}")
    path, protocol = folder / "scores.npz", find_protocol(config["protocol"])
    if not path.is_file():
        raise InputError(f"{folder} has no scores.npz: finish its run first")
    scores = read_scores(path)
    check_scores(scores, config, protocol, path)
    own = scores[config["model"]]
    note_unsealed(folder)
    known = of_metrics(known_metrics(metrics_of(own), folder), own)
    return ScoredRun(folder, config, protocol, known, samples_of(config, known))


def samples_of(config: Mapping[str, Any], scores: Scores) -> int | None:
    """Return K of a run; None for a deterministic model. An external model with one sample counts as such."""
    of_samples = {name for name, metric in METRICS.items() if metric.score_of == "sample"}
    counts = [values.shape[1] for name, values in scores.items() if name in of_samples]
    if max(counts, default=2) > 1:
        return config["samples"]
    return None if config["samples"] > 1 or config["preset"] == EXTERNAL else 1


def why_not(metric: Metric, one: ScoredRun, other: ScoredRun) -> str | None:
    """Return why two runs cannot be compared by a metric; None where they can be."""
    lacking = [name for name, run in (("one", one), ("other", other)) if metric.name not in run.scores]
    if lacking:
        return "neither run was scored with it" if len(lacking) == 2 else f"run {lacking[0]} was not scored with it"
    return "distances between sets have no value per clip" if metric.score_of == "set" else None


def why_not_under(sampling: str, runs: Sequence[ScoredRun], rules: Sequence[Mapping[str, Floats]]) -> str | None:
    """Return why figures under a sampling rule cannot be compared; None where they can be."""
    for name, run, own in zip(("one", "other"), runs, rules, strict=True):
        if sampling not in own:
            return f"run {name} has {'no such scores' if (run.samples or 1) > 1 else 'one sample per clip'}"
    counts = [run.samples for run in runs]
    if len(set(counts) - {None}) > 1 and sampling not in ("mean", "pairs"):
        return f"they depend on K, which is {counts[0]} and {counts[1]}"
    return None


def of_deterministic(rules: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """Return a deterministic model's single sample under both rules for means, as all its samples agree."""
    return {"mean": rules["single"], "mean_frame": rules["single"]} if "single" in rules else rules


def differences(metric: Metric, sampling: str, protocol: Protocol, one: Floats, other: Floats) -> Iterator[Difference]:
    """Yield the differences between two models' (clips, frames) of one metric and sampling, per reported frame."""
    frames, first = reported_scores(metric.name, one, protocol)
    _, second = reported_scores(metric.name, other, protocol)
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
            clips=int(kept.sum()),
        )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison's rows to a CSV file, with both runs' folders and K.

    Raises InputError where the file exists and holds something else, OSError where it cannot be written.
    """
    refuse_foreign(path, [each.name for each in fields(Difference)][:3])
    runs = {"one_run": comparison.one, "other_run": comparison.other}
    about = {name: str(run.folder) for name, run in runs.items()}
    about |= {name.replace("run", "k"): str(run.samples or 1) for name, run in runs.items()}
    with written_whole(path) as part:
        comparison.rows.assign(**about).to_csv(
            part, index=False, float_format="%.9g", na_rep="nan", lineterminator="\n", encoding="utf-8"
        )
