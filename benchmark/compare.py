"""Two models on the same clips: by how much one is better than the other, and whether that is more than chance."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.catalogue import METRICS, Metric, Protocol, find_metric, merit
from benchmark.csv_tables import as_csv
from benchmark.runs.folder import check_place
from benchmark.scoring.rows import Floats, reported_scores
from benchmark.scoring.statistics import mean_over_clips, paired_interval
from benchmark.sides import Side, chance_of_agreement, open_all, sides_of
from benchmark.significance import holm, sign_flip_test
from mmnist_av.system.errors import InputError, one_line
from mmnist_av.system.files import written_once

LEVEL = 0.05  # a difference with a corrected p-value below it is more than chance
# What a row may say, without the side of which it is said, and what it means
VERDICTS = {
    "better": "p < 0.05, and all pairs of training seeds agree, where there is training",
    "ahead": "p < 0.05 on these clips; a side has one training seed, or unknown ones",
    "seeds differ": "p < 0.05 for means over seeds, but not all pairs of seeds agree",
    "not shown": "p is not below 0.05: a difference is neither shown nor excluded",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Difference:
    """One row of a comparison. Figures are over the clips that have a value in all runs, and means over seeds."""

    metric: str
    sampling: str
    frame: str
    one: float  # means over the clips and frames that have a value in both runs
    other: float
    difference: float  # one - other
    low: float  # of the difference's paired 95% bootstrap interval over clips, for this row alone
    high: float
    clips: int
    p: float = np.nan  # of the paired test over clips; NaN without a value
    p_holm: float = np.nan  # corrected for all rows of the comparison
    verdict: str = ""  # "one better", "other better", "one ahead", "other ahead", "seeds differ", "not shown"


class Measured(NamedTuple):
    """A row of a comparison before it is tested among all rows."""

    row: Difference
    gains: Floats  # (clips,) by how much one is better than the other
    seeds_agree: bool  # whether every pair of one's and the other's runs has a mean gain of the same sign


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common, compared."""

    one: Side
    other: Side
    rows: pd.DataFrame  # a row per metric, sampling and reported frame: the fields of Difference
    left_out: list[str]  # what was not compared, and why: a line each

    @property
    def clips(self) -> int:
        """Return the number of test clips of all runs."""
        clips: int = self.one.runs[0].config["test_clips"]
        return clips

    @property
    def seeds_in_words(self) -> str:
        """Return how likely all pairs of seeds agree by chance; "" where no side has several seeds to agree."""
        chance = chance_of_agreement(self.one, self.other)
        if chance is None or not (self.one.is_replicated and self.other.is_replicated):
            return ""
        return f"if only seeds made a difference, all pairs would agree in {100 * chance:.2g}% of cases"

    @property
    def family(self) -> int:
        """Return the number of tests, for which each one is corrected."""
        return int(self.rows["p"].notna().sum())


def compare(*folders: Path, metrics: Sequence[str] = ()) -> Comparison:
    """Compare the models of two runs, or of two groups of runs, clip by clip, by some metrics (by default all).

    Of more than two runs, those that differ in their seeds alone form a group: their values are averaged clip by clip.
    Every row is tested by `sign_flip_test` and corrected by `holm` for all rows. A side is called better only where the
    corrected p is below LEVEL, every side that is trained has two training seeds or more, and all pairs of seeds agree:
    clips say nothing of how a training with another seed would have ended. Few seeds say little of it, too: see
    `chance_of_agreement`.

    Raises InputError where the runs do not compare (other clips, another protocol, nothing in common, not two groups),
    for a damaged folder, and for an unknown metric. Left out are sampling rules whose figures depend on K, where K
    differs, and metrics that only one of the sides was scored with. Notes name metrics of other versions and runs
    without a seal.
    """
    named = [find_metric(name).name for name in metrics]
    one, other = sides_of(open_all(folders))
    scored = {name for side in (one, other) for run in side.runs for name in run.scores}
    found: list[Measured] = []
    left_out: dict[str, list[str]] = {}  # why -> metrics or sampling rules
    for metric in METRICS.values():
        if metric.name not in (named or scored):
            continue
        why = why_not(metric, one, other)
        if why:
            left_out.setdefault(why, []).append(metric.name)
            continue
        rules = [side.by_sampling(metric) for side in (one, other)]
        for sampling in {**rules[0], **rules[1]}:
            why = why_not_under(sampling, (one, other), rules)
            if why:
                left_out.setdefault(why, []).append(sampling)
            else:
                found += measure(metric, sampling, one.runs[0].protocol, *(own[sampling] for own in rules))
    lines = [f"{', '.join(dict.fromkeys(names))}: {why}" for why, names in left_out.items()]
    if not found:
        raise InputError(f"{' and '.join(map(str, folders))} have nothing in common to compare: {'; '.join(lines)}")
    if not any(np.nan_to_num(each.gains).any() for each in found):
        log.warning("all scores of the two are equal, clip by clip: one may be a copy of the other")
    tested = judge(found, one.is_replicated and other.is_replicated)
    return Comparison(one, other, pd.DataFrame([asdict(row) for row in tested]), lines)


def why_not(metric: Metric, one: Side, other: Side) -> str | None:
    """Return why two sides cannot be compared by a metric; None where they can be."""
    lacking = [name for name, side in (("one", one), ("other", other)) if not side.has(metric)]
    if lacking:
        return "neither run was scored with it" if len(lacking) == 2 else f"run {lacking[0]} was not scored with it"
    return "distances between sets have no value per clip" if metric.score_of == "set" else None


def why_not_under(sampling: str, sides: Sequence[Side], rules: Sequence[Mapping[str, Floats]]) -> str | None:
    """Return why figures under a sampling rule cannot be compared; None where they can be."""
    for name, side, own in zip(("one", "other"), sides, rules, strict=True):
        if sampling not in own:
            return f"run {name} has {'no such scores' if (side.samples or 1) > 1 else 'one sample per clip'}"
    counts = [side.samples for side in sides]
    if len(set(counts) - {None}) > 1 and sampling not in ("mean", "pairs"):
        return f"they depend on K, which is {counts[0]} and {counts[1]}"
    return None


def measure(metric: Metric, sampling: str, protocol: Protocol, one: Floats, other: Floats) -> Iterator[Measured]:
    """Yield, per reported frame, how two sides differ in one metric and sampling: each side (runs, clips, frames).

    A frame that has no value in one of the runs is left out of all of them: their means are over the same frames.
    """
    known = ~np.isnan(one.sum(0) + other.sum(0))
    frames = reported_scores(metric.name, one[0], protocol)[0]
    sides = [
        np.stack([reported_scores(metric.name, np.where(known, run, np.nan), protocol)[1] for run in side])
        for side in (one, other)
    ]
    first, second = (side.mean(0) for side in sides)
    merits = [merit(side, metric.better) for side in sides]
    gains = merits[0].mean(0) - merits[1].mean(0)
    of_pairs = np.array([mean_over_clips(run - another) for run, another in itertools.product(*merits)])
    agree = (np.sign(of_pairs) == np.sign(mean_over_clips(gains))).all(0)
    interval = paired_interval(first, second)
    for number, frame in enumerate(frames):
        means = [mean_over_clips(each[:, [number]])[0] for each in (first, second)]
        row = Difference(
            metric=metric.name,
            sampling=sampling,
            frame=frame,
            one=means[0],
            other=means[1],
            difference=means[0] - means[1],
            low=interval.low[number],
            high=interval.high[number],
            clips=int((~np.isnan(first[:, number])).sum()),
        )
        yield Measured(row, gains[:, number], bool(agree[number]))


def judge(found: Sequence[Measured], replicated: bool) -> list[Difference]:
    """Return the rows with their p-values, corrected for their number, and their verdicts.

    replicated: whether both sides say something of their models, not only of one training.
    """
    p = sign_flip_test(np.stack([each.gains for each in found], 1))
    return [
        replace(each.row, p=own, p_holm=corrected, verdict=verdict(each, corrected, replicated))
        for each, own, corrected in zip(found, p, holm(p), strict=True)
    ]


def verdict(measured: Measured, p: float, replicated: bool) -> str:
    """Return what a corrected p-value shows: one of VERDICTS, with the side of which it is said."""
    if not p < LEVEL:  # NaN is not
        return "not shown"
    if not measured.seeds_agree:
        return "seeds differ"
    side = "one" if np.nanmean(measured.gains) > 0 else "other"
    return f"{side} {'better' if replicated else 'ahead'}"


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison's rows to a CSV file, with the runs' folders, K, training seeds and tests.

    Raises InputError where the file exists and has other bytes, or lies in a run or a dataset, OSError where it cannot
    be written.
    """
    check_place(path, "--csv")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}: make it first")
    chance = chance_of_agreement(comparison.one, comparison.other)
    about = {"tests": str(comparison.family), "agreement_by_chance": "" if chance is None else f"{chance:.9g}"}
    for name, side in (("one", comparison.one), ("other", comparison.other)):
        about[f"{name}_run"] = one_line(";".join(str(run.folder) for run in side.runs))
        about[f"{name}_k"] = str(side.samples or 1)
        about[f"{name}_training_seeds"] = side.training_seeds
    table = comparison.rows.assign(**about)
    with written_once(path, remedy="name another file, or remove that one") as part:
        part.write_bytes(as_csv(table))
