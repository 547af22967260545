"""Two runs on the same clips: by how much one is better, with paired intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baselines import registry
from benchmark import protocols
from benchmark.metrics import METRICS
from benchmark.runs.folder import check_same, read_facts
from benchmark.runs.seal import check_seal
from benchmark.scoring import scores as scoring
from benchmark.scoring.rows import Floats, reported
from benchmark.scoring.statistics import mean_over_clips, paired_interval
from mmnist_av.system.errors import InputError


def compare(one: Path, other: Path) -> pd.DataFrame:
    """The differences `one - other` of two runs' models, a row a metric, sampling and reported frame.

    Columns: metric, sampling, frame, one, other (means over clips), difference, low, high (its paired 95% bootstrap
    interval), better (which of the two; neither where the interval holds 0). Raises InputError where the runs do not
    compare: other clips or protocol. Rules whose figures depend on K (the best of K, the mean of K frames) are left
    out where K differs. A metric that one of them was not scored with is left out.
    """
    for folder in (one, other):
        check_seal(folder)
    facts = [read_facts(folder) for folder in (one, other)]
    check_same(one, facts[0], other, facts[1])
    protocol = protocols.find(facts[0]["protocol"])
    scores = [
        scoring.read_all(folder / "scores.npz")[fact["model"]] for folder, fact in zip((one, other), facts, strict=True)
    ]
    frames = range(protocol.seen + 1, protocol.test_frames + 1)
    rows: list[tuple] = []
    shared = (name for name in protocol.metrics if all(name in score for score in scores))
    for metric in (name for name in shared if METRICS[name].of != "set"):  # a distance of sets has no value a clip
        found = [agreeing(scoring.samplings(score, metric)) for score in scores]
        for sampling in found[0]:
            if sampling not in found[1]:
                continue
            if sampling not in ("mean", "pairs") and len({number_of(fact) for fact in facts} - {None}) > 1:
                continue
            columns = [reported(metric, each[sampling], frames, (*protocol.reported, "mean")) for each in found]
            rows += differences(metric, sampling, columns[0][0], columns[0][1], columns[1][1])
    if not rows:
        raise InputError(f"{one} and {other} have no sampling in common")
    return pd.DataFrame(
        rows, columns=["metric", "sampling", "frame", "one", "other", "difference", "low", "high", "better"]
    )


def number_of(facts: Mapping[str, Any]) -> int | None:
    """K of a run; None where all futures of its model agree (of an outside model with one future, it is taken so)."""
    if facts["preset"] == "outside":
        return None if facts["samples"] == 1 else facts["samples"]
    return facts["samples"] if registry.find(facts["model"]).predictor.stochastic else None


def agreeing(found: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """The samplings of a metric; a deterministic model's only one under every mean, as all its futures agree."""
    return {"mean": found["single"], "mean_frame": found["single"]} if "single" in found else found


def differences(metric: str, sampling: str, names: list[str], one: Floats, other: Floats) -> list[tuple]:
    """A row a column of `one` and `other`, (clips, columns) each."""
    interval = paired_interval(one, other)
    both = ~np.isnan(one - other)
    rows = []
    for number, name in enumerate(names):
        kept = both[:, [number]]
        means = [mean_over_clips(np.where(kept, each[:, [number]], np.nan))[0] for each in (one, other)]
        low, high = interval.low[number], interval.high[number]
        ahead = low > 0 if METRICS[metric].better == "higher" else high < 0
        behind = high < 0 if METRICS[metric].better == "higher" else low > 0
        better = "one" if ahead else "other" if behind else "neither"
        rows.append((metric, sampling, name, *means, means[0] - means[1], low, high, better))
    return rows
