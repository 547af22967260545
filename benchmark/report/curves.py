"""The curves that a report draws, as numbers: a mean over clips and its 95% bootstrap interval at every place."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.metrics import METRICS
from benchmark.report.runs import RunFolder, futures_of
from benchmark.scoring.scores import samplings
from benchmark.scoring.statistics import best_of_k, bootstrap_interval, mean_over_clips

Floats = NDArray[np.floating]

POINTS = 200  # of a training curve, at most


class Curve(NamedTuple):
    """A line and its band; `low` and `high` are NaN where there is none."""

    at: Floats  # frame numbers, K or steps
    value: Floats
    low: Floats
    high: Floats


def over_clips(at: NDArray[Any], values: Floats) -> Curve:
    """The mean over clips of (clips, places), and its interval."""
    return Curve(at.astype(np.float64), mean_over_clips(values), *bootstrap_interval(values))


def frame_curves(run: RunFolder, metric: str, model: str | None = None) -> dict[str, Curve]:
    """A metric against the 1-based frame number, by what the futures became: "mean of 100", "single" and so on.

    Of the run's own model, or of a floor scored beside it. A metric of the last frame only has one place. Empty where
    it was not scored.
    """
    scores = run.scores.get(model or run.model, {})
    if metric not in scores or METRICS[metric].of == "set":
        return {}
    found = samplings(scores, metric)
    frames = np.arange(run.protocol.seen + 1, run.protocol.test_frames + 1)
    drawn = run.samples or 1
    pairs_of = min(METRICS[metric].futures or drawn, drawn)
    samples = scores[metric].shape[1] if METRICS[metric].of == "future" else pairs_of
    return {
        futures_of(sampling, samples): over_clips(frames[-values.shape[1] :], values)
        for sampling, values in found.items()
    }


def best_of_k_curve(run: RunFolder, metric: str, model: str | None = None) -> Curve | None:
    """The expected best of K futures for every K, each scored by its mean over frames; None if it was not scored.

    A frame that has no score under some future of a clip is left out of that clip, as `best_sequence` does.
    """
    scores = run.scores.get(model or run.model, {}).get(metric)
    if scores is None or METRICS[metric].of != "future":
        return None
    defined = ~np.isnan(scores).any(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        means = np.where(defined, scores, 0).sum(2, dtype=np.float64) / defined.sum(2)
    return over_clips(np.arange(1, means.shape[1] + 1), best_of_k(means, METRICS[metric].better))


def training_curves(run: RunFolder) -> dict[str, Curve]:
    """Every loss and term against the step, over long runs as means of POINTS stretches of equally many steps."""
    if not run.training:
        return {}
    curves = {}
    for name, column in run.training.items():
        there = ~np.isnan(column)  # a player of another stage has none
        steps, values = run.training["step"][there], column[there]
        if name == "step" or not len(steps):
            continue
        stretches = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
        at, means = (np.array([each[stretch].mean() for stretch in stretches]) for each in (steps, values))
        none = np.full(len(stretches), np.nan)
        curves[name] = Curve(at, means, none, none)
    return curves


def validation_curves(run: RunFolder, metric: str) -> dict[str, Curve]:
    """A metric on validation clips against the step, by what the futures became; of the mean over frames if there is
    one, else of the last frame."""
    if run.validation is None:
        return {}
    rows = run.validation[run.validation["metric"] == metric]
    curves = {}
    for futures, own in rows.groupby("futures", sort=False):
        numbers = pd.to_numeric(own["frame"], errors="coerce").fillna(np.inf)  # "mean" comes last
        last = own[numbers == numbers.max()].sort_values("step", kind="stable")
        curves[str(futures)] = Curve(*(last[name].to_numpy(np.float64) for name in ("step", "value", "low", "high")))
    return curves


def uncertainty_curve(run: RunFolder) -> Curve | None:
    """PUQ's 1/m_t, in the mean over pixels, against the frame number; None where the examples have none."""
    if run.examples is None or run.examples.variance is None:
        return None
    variance = run.examples.variance.astype(np.float64)
    frames = np.arange(run.protocol.seen + 1, run.protocol.test_frames + 1)
    return over_clips(frames, variance.reshape(*variance.shape[:2], -1).mean(2))
