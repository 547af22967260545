"""The two sides of a comparison: a run each, or several runs each that differ in their seeds."""

import itertools
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.catalogue import EXTERNAL, MEANS, METRICS, Metric, Protocol, find_protocol, known_metrics
from benchmark.report.runs import check_scores, metrics_of, of_metrics
from benchmark.runs.folder import CONFIG, check_comparable, read_config
from benchmark.runs.seal import check_seal, note_unsealed
from benchmark.scoring.rows import Floats
from benchmark.scoring.scores import Scores, read_scores, samplings
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import real_path

log = logging.getLogger(__name__)

NEEDED = {"preset": str, "samples": int, "test_clips": int, "fingerprint": str}  # of config.json
WHERE = ("device", "precision", "code_version")  # entries of config.json in which runs of one side may differ: a note
OWN = ("seed", "pretrained", "predictions", *WHERE)  # all entries in which they may differ


@dataclass(frozen=True)
class ScoredRun:
    """A run as it is compared: its own model's scores."""

    folder: Path
    config: Mapping[str, Any]
    protocol: Protocol
    scores: Scores
    samples: int | None  # K; None for a deterministic model, which has one sample whatever K was requested

    @property
    def shared(self) -> dict[str, Any]:
        """Return what the runs of one side share."""
        return {name: value for name, value in self.config.items() if name not in OWN}

    @property
    def is_trained(self) -> bool:
        """Return whether its model is trained; that of external predictions counts as such."""
        return self.config.get("batch") != 0

    @property
    def seed(self) -> str:
        """Return the training's seed; "" for external predictions whose seed is unknown."""
        return str(self.config.get("seed", ""))


@dataclass(frozen=True)
class Side:
    """One of the two sides of a comparison: runs that differ in their seeds."""

    runs: tuple[ScoredRun, ...]

    @property
    def samples(self) -> int | None:
        """Return K, which all runs of the side share; None for a deterministic model."""
        return self.runs[0].samples

    @property
    def training_seeds(self) -> str:
        """Return how many training seeds the side has, as text: "not trained", "unknown", or a number."""
        if not self.runs[0].is_trained:
            return "not trained"
        return str(len(self.runs)) if all(run.seed for run in self.runs) else "unknown"

    @property
    def is_replicated(self) -> bool:
        """Return whether the side says something of its model, not only of one training of it."""
        return self.training_seeds == "not trained" or (self.training_seeds != "unknown" and len(self.runs) > 1)

    @property
    def in_words(self) -> str:
        """Return the side in a line, with the folder of its run, or a line more for each of several folders."""
        config, folders = self.runs[0].config, [str(run.folder) for run in self.runs]
        count = f"K = {self.samples}" if self.samples else "one sample"
        words = ", ".join([config["model"], config["protocol"], config["preset"], count, self.training_in_words])
        return "\n       ".join([words, *folders]) if len(folders) > 1 else f"{words} ({folders[0]})"

    @property
    def training_in_words(self) -> str:
        """Return how often the side's model was trained: "2 training seeds (0, 1)"."""
        if self.training_seeds == "not trained":
            return "not trained"
        if self.training_seeds == "unknown":
            return "training seed unknown"
        seeds = ", ".join(run.seed for run in self.runs)
        return f"{self.training_seeds} training seed{'s' if len(self.runs) > 1 else ''} ({seeds})"

    def has(self, metric: Metric) -> bool:
        """Return whether all its runs were scored with a metric."""
        return all(metric.name in run.scores for run in self.runs)

    def by_sampling(self, metric: Metric) -> dict[str, Floats]:
        """Return a metric's values under the sampling rules that all its runs have: (runs, clips, frames)."""
        rules = [of_deterministic(metric, samplings(run.scores, metric.name)) for run in self.runs]
        shared = [name for name in rules[0] if all(name in own for own in rules)]
        return {name: np.stack([own[name] for own in rules]) for name in shared}


def chance_of_agreement(one: Side, other: Side) -> float | None:
    """Return how likely all pairs of training seeds agree in sign where nothing but the seeds makes a difference.

    None where neither side is trained. Of two trained sides, one's seeds must be the best or the worst of all seeds; of
    one, all its seeds must be on the same side of the untrained model, each as likely above it as below.
    """
    counts = [len(side.runs) for side in (one, other) if side.training_seeds != "not trained"]
    if len(counts) == 2:
        return 2 / math.comb(sum(counts), counts[0])
    return 2 / 2 ** counts[0] if counts else None


def open_all(folders: Sequence[Path]) -> list[ScoredRun]:
    """Return some runs as they are compared; InputError for fewer than two, one twice, and runs of other clips."""
    if len(folders) < 2:
        raise InputError("a comparison needs two runs or more")
    if len({real_path(folder) for folder in folders}) < len(folders):
        raise InputError(f"a run is given twice: {', '.join(map(str, folders))}")
    configs = [read_config(folder) for folder in folders]
    for folder, config in zip(folders[1:], configs[1:], strict=True):
        check_comparable(folders[0], configs[0], folder, config)
    return [open_scored(folder, config) for folder, config in zip(folders, configs, strict=True)]


def sides_of(runs: Sequence[ScoredRun]) -> tuple[Side, Side]:
    """Return two runs as two sides, and more runs as two groups that differ within them in their seeds alone.

    Raises InputError where they form another number of groups, and for two runs of a group with the same seed or the
    same external predictions. A note says where runs of a group were computed by other code or on another device.
    """
    if len(runs) == 2:
        return Side((runs[0],)), Side((runs[1],))
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.shared, sort_keys=True), []).append(run)
    if len(groups) != 2:
        difference = groups_in_words([*groups.values()])
        raise InputError(f"more than two runs must form two groups, not {len(groups)}: {difference}")
    for group in groups.values():
        for run, again in itertools.combinations(group, 2):
            same = repeated(run, again)
            if same:
                raise InputError(f"{run.folder} and {again.folder} form one group, both with {same}: leave one out")
        mixed = [name for name in WHERE if len({str(run.config.get(name)) for run in group}) > 1]
        if mixed:
            log.warning("the runs of %s differ in %s", group[0].config["model"], ", ".join(mixed))
    one, other = groups.values()
    return Side(tuple(one)), Side(tuple(other))


def repeated(run: ScoredRun, again: ScoredRun) -> str:
    """Return what makes two runs of a side the same training, in words; "" for different trainings."""
    if run.seed == again.seed:
        return f"the seed {run.seed}" if run.seed else "an unknown seed"
    predictions = run.config.get("predictions")  # of external ones, the files' SHA-256
    return "the same predictions" if predictions and predictions == again.config.get("predictions") else ""


def groups_in_words(groups: Sequence[Sequence[ScoredRun]]) -> str:
    """Return in what the first runs of some groups differ."""
    if len(groups) == 1:
        return "all of them differ in their seeds alone"
    parts = []
    for (first, *_), (second, *_) in itertools.pairwise(groups):
        one, other = first.shared, second.shared
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        parts.append(f"{first.folder} and {second.folder} differ in {', '.join(names)}")
    return "; ".join(parts)


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


def of_deterministic(metric: Metric, rules: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """Return a deterministic model's single sample under the metric's rules for means, as all its samples agree."""
    if "single" not in rules:
        return rules
    return {name: rules["single"] for name in MEANS if name in metric.samplings}
