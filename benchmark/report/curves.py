"""The curves of a report as numbers: means over clips with 95% bootstrap intervals, by frame, by K or by step."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmark.catalogue import METRICS, sampling_name
from benchmark.report.runs import RunFolder
from benchmark.scoring.scores import samplings
from benchmark.scoring.statistics import best_of_k, bootstrap_interval, mean_over_clips

Floats = NDArray[np.floating]

POINTS = 200  # of a training curve, at most


class Curve(NamedTuple):
    """A line, and the band around it; `low` and `high` are NaN where a value has no interval."""

    at: Floats  # frame numbers, K or steps
    value: Floats
    low: Floats
    high: Floats


def over_clips(at: ArrayLike, values: Floats) -> Curve:
    """Return the mean over clips of `values` (clips, len(at)), and its interval."""
    return Curve(np.asarray(at, np.float64), mean_over_clips(values), *bootstrap_interval(values))


def frame_curves(run: RunFolder, metric: str, model: str | None = None) -> dict[str, Curve]:
    """Return a metric's curves over frame numbers by sampling rule: "mean of 100", "single" and so on.

    They are those of `model`, a floor, or by default of the run's own model. A metric of the last frame has a single
    point. Empty where the metric was not scored.
    """
    scores = run.scores.get(model or run.model, {})
    if metric not in scores or METRICS[metric].score_of == "set":
        return {}
    all_samples = run.samples or 1
    k = min(METRICS[metric].max_samples or all_samples, all_samples)
    if METRICS[metric].score_of == "sample":
        k = scores[metric].shape[1]
    frames = np.array(run.protocol.predicted_frames)
    return {
        sampling_name(sampling, k): over_clips(frames[-values.shape[1] :], values)
        for sampling, values in samplings(scores, metric).items()
    }


def best_of_k_curve(run: RunFolder, metric: str, model: str | None = None) -> Curve | None:
    """Return the expected best of K samples for every K, each sample scored by its mean over frames.

    A frame that has no score for some sample of a clip is left out of that clip, as `best_sequence` does. None where
    the metric was not scored, or has no best of K samples.
    """
    scores = run.scores.get(model or run.model, {}).get(metric)
    if scores is None or "best_sequence" not in METRICS[metric].samplings:
        return None
    defined = ~np.isnan(scores).any(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        means = np.where(defined, scores, 0).sum(2, dtype=np.float64) / defined.sum(2)
    return over_clips(np.arange(1, means.shape[1] + 1), best_of_k(means, METRICS[metric].better))


def training_curves(run: RunFolder) -> dict[str, Curve]:
    """Return every loss and term over steps, without intervals; long trainings as means over POINTS stretches."""
    curves = {}
    for name, column in run.training.items():
        trained = ~np.isnan(column)  # the players of another stage have no loss
        steps, values = run.training["step"][trained], column[trained]
        if name == "step" or not len(steps):
            continue
        stretches = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
        at, means = (np.array([each[stretch].mean() for stretch in stretches]) for each in (steps, values))
        none = np.full(len(stretches), np.nan)
        curves[name] = Curve(at, means, none, none)
    return curves


def validation_curves(run: RunFolder, metric: str) -> dict[str, Curve]:
    """Return a metric on validation clips over steps, by sampling rule: its mean over frames, else its last frame."""
    if run.validation is None:
        return {}
    rows = run.validation[run.validation["metric"] == metric]
    curves = {}
    for samples, own in rows.groupby("samples", sort=False):
        numbers = pd.to_numeric(own["frame"], errors="coerce").fillna(np.inf)  # "mean" comes last
        last = own[numbers == numbers.max()].sort_values("step", kind="stable")
        curves[str(samples)] = Curve(*(last[name].to_numpy(np.float64) for name in ("step", "value", "low", "high")))
    return curves


def uncertainty_curve(run: RunFolder) -> Curve | None:
    """Return the variance that the model predicts, over frame numbers; None where the examples have no variance."""
    if run.examples is None or run.examples.variance is None:
        return None
    return over_clips(run.protocol.predicted_frames, run.examples.variance.astype(np.float64))
