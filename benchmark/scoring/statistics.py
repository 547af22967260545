"""From one score per (clip, sample, frame) to what is reported: sampling rules, best of K, bootstrap intervals.

Score arrays are (N clips, K samples, T frames). A NaN says that a metric has no value there (block IoU in a clip
without a block, the position of a digit that a sample does not show). Means leave NaN out, and are NaN where all values
are. Best-of-K rules have no value where one of the samples has none.
"""

import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.catalogue import Better, merit

Floats = NDArray[np.floating]

RESAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A bootstrap interval of the mean over clips, one entry per column."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def mean(scores: Floats, better: Better) -> NDArray[np.float64]:
    """Return the mean over those of the K samples that have a value, NaN for none: (N, K, T) -> (N, T)."""
    valid = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.where(valid, scores, 0).sum(1, dtype=np.float64) / valid.sum(1)


def best_sequence(scores: Floats, better: Better) -> NDArray[np.float64]:
    """Return, per clip, the values of the sample with the best mean over frames, the first of equals: -> (N, T).

    Source: Denton and Fergus 2018; the text of Sound2Sight (2020).
    """
    defined = ~np.isnan(scores).any(1, keepdims=True)
    chosen = np.where(defined, merit(scores, better), 0).sum(2, dtype=np.float64).argmax(1)
    values = np.take_along_axis(scores, chosen[:, None, None], 1)
    return np.where(defined, values, np.nan)[:, 0].astype(np.float64)


def best_frame(scores: Floats, better: Better) -> NDArray[np.float64]:
    """Return, per clip and frame, the value of the sample that is best at that frame: (N, K, T) -> (N, T).

    Source: what Sound2Sight's released code computes.
    """
    chosen = merit(scores, better).argmax(1)
    return np.take_along_axis(scores, chosen[:, None], 1)[:, 0].astype(np.float64)


def single(scores: Floats, better: Better) -> NDArray[np.float64]:
    """Return the only sample of a deterministic model: (N, 1, T) -> (N, T); ValueError for more samples."""
    if scores.shape[1] != 1:
        raise ValueError(f"`single` is for one sample per clip, not {scores.shape[1]}")
    return scores[:, 0].astype(np.float64)


RULES: dict[str, Callable[[Floats, Better], NDArray[np.float64]]] = {
    "mean": mean,
    "best_sequence": best_sequence,
    "best_frame": best_frame,
}


def by_sampling(
    scores: Floats, names: Collection[str], better: Better, mean_frame: Floats | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the values of the sampling rules called `names`, each (N, T), in the order of RULES; `single` if K is 1.

    scores: (N, K, T). mean_frame: (N, T), the scores of the averaged samples; the rule is left out if None or K is 1.
    """
    if scores.shape[1] == 1:
        return {"single": single(scores, better)}
    found = {name: rule(scores, better) for name, rule in RULES.items() if name in names}
    if mean_frame is not None and "mean_frame" in names:
        found["mean_frame"] = mean_frame.astype(np.float64)
    return found


def best_of_k(scores: Floats, better: Better) -> NDArray[np.float64]:
    """Return the expected best of K samples out of N, for every K from 1 to N, without drawing again.

    scores: (clips, N samples) or (clips, N samples, frames). Returns the same shape: index K - 1 along axis 1 holds
    sum_i x_(i) C(i-1, K-1) / C(N, K), x_(i) sorted so that the best is last. The diversity curve of Sound2Sight,
    figure 5b; the closed form is the mean of the best over all subsets of K samples.
    """
    values = scores.astype(np.float64)
    ordered = np.take_along_axis(values, merit(values, better).argsort(axis=1), 1)
    return np.einsum("ki,ni...->nk...", _best_of_k_weights(scores.shape[1]), ordered)


@lru_cache(maxsize=8)
def _best_of_k_weights(samples: int) -> NDArray[np.float64]:
    """Return (K, i): how often the i-th worst of `samples` is the best of K, computed from exact integers."""
    numbers = range(1, samples + 1)
    return np.array([[math.comb(i - 1, k - 1) / math.comb(samples, k) for i in numbers] for k in numbers])


def mean_over_clips(values: Floats) -> NDArray[np.float64]:
    """Return the mean over clips of every column, NaN left out: (N, columns) -> (columns,); NaN for a column of NaN."""
    valid = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(valid, values, 0).sum(0, dtype=np.float64) / valid.sum(0)


def bootstrap_interval(values: Floats, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Return the percentile bootstrap interval of every column's mean over clips: (N, columns) -> two of (columns,).

    Clips are drawn with replacement, the same draws for every column and for every array of N clips, so that an
    interval depends on nothing but its own column and the seed. NaN clips are left out of each resample's mean;
    a column with fewer than two values gets NaN, as one clip says nothing of the others. Source: Efron and Tibshirani
    1993, chapter 13.
    """
    counts = _resampled_counts(len(values), seed, resamples)
    tails = (50 * (1 - level), 50 * (1 + level))
    # One product a column: in a product over all of them, the last bits could depend on a column's place.
    bounds = np.array([_tails(counts, column.astype(np.float64), tails) for column in values.T]).reshape(-1, 2)
    return Interval(bounds[:, 0], bounds[:, 1])


def _tails(counts: NDArray[np.float64], column: NDArray[np.float64], tails: tuple[float, float]) -> Floats:
    valid = ~np.isnan(column)
    if valid.sum() < 2:
        return np.full(2, np.nan)
    totals = counts @ np.where(valid, column, 0)
    with np.errstate(invalid="ignore"):
        means = totals / (counts @ valid.astype(np.float64))
    return np.percentile(means[~np.isnan(means)], tails)  # a resample may miss every clip that has a value


@lru_cache(maxsize=8)
def _resampled_counts(clips: int, seed: int, resamples: int) -> NDArray[np.float64]:
    """Return (resamples, clips): how often each resample draws each clip."""
    drawn = np.random.default_rng(seed).integers(clips, size=(resamples, clips))
    rows = np.arange(resamples)[:, None] * clips
    counts = np.bincount((rows + drawn).ravel(), minlength=resamples * clips)
    return counts.reshape(resamples, clips).astype(np.float64)


def paired_interval(values: Floats, other: Floats, seed: int = 0) -> Interval:
    """Return the bootstrap interval of the mean of `values - other`, two models' values on the same clips."""
    if values.shape != other.shape:
        raise ValueError(f"a paired comparison needs the same clips and columns: {values.shape} and {other.shape}")
    return bootstrap_interval(values - other, seed)
