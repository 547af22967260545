from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.catalogue import BEST_OF_K, MEANS, SAMPLINGS
from benchmark.scoring.statistics import (
    RULES,
    best_frame,
    best_of_k,
    best_sequence,
    bootstrap_interval,
    by_sampling,
    mean,
    mean_over_clips,
    paired_interval,
    single,
)

RNG = np.random.default_rng(0)
MERITS = {"higher": lambda value: value, "lower": lambda value: -value, "nearer 1": lambda value: -abs(value - 1)}
BETTER = [*MERITS]


def not_worse(values, others, better):
    return (values >= others - 1e-12).all() if better == "higher" else (values <= others + 1e-12).all()


scores_of = st.builds(
    lambda seed, clips, samples, frames, levels: (
        np.random.default_rng(seed).integers(levels, size=(clips, samples, frames)).astype(np.float32) / 7
    ),
    *(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.sampled_from([2, 1000])),
)


@settings(max_examples=150, deadline=None)
@given(scores=scores_of, better=st.sampled_from(["higher", "lower"]))
def test_best_frame_is_at_least_best_sequence_is_at_least_mean(scores, better):
    frame, sequence, average = (rule(scores, better) for rule in (best_frame, best_sequence, mean))
    assert not_worse(frame, sequence, better)
    assert not_worse(frame, average, better)
    assert not_worse(sequence.mean(1), average.mean(1), better)


@settings(max_examples=100, deadline=None)
@given(scores=scores_of, better=st.sampled_from(BETTER))
def test_sampling_rules_are_plain_loops(scores, better):
    best, merit = partial(max, key=MERITS[better]), MERITS[better]
    for clip, samples in enumerate(scores.astype(np.float64)):
        columns = list(zip(*samples, strict=True))
        np.testing.assert_allclose(mean(scores, better)[clip], [sum(column) / len(column) for column in columns])
        assert best_frame(scores, better)[clip].tolist() == [best(column) for column in columns]
        chosen = max(range(len(samples)), key=lambda i: round(sum(map(merit, samples[i])), 9))  # the first of equals
        assert best_sequence(scores, better)[clip].tolist() == samples[chosen].tolist()


def test_best_sequence_takes_one_sample_for_all_frames_and_best_frame_mixes():
    scores = np.array([[[1.0, 5.0], [3.0, 4.0], [4.0, 0.0]]])
    assert best_sequence(scores, "higher").tolist() == [[3, 4]]
    assert best_frame(scores, "higher").tolist() == [[4, 5]]
    assert best_sequence(scores, "lower").tolist() == [[4, 0]]
    assert best_frame(scores, "lower").tolist() == [[1, 0]]


def test_which_sample_is_best_is_decided_per_metric():
    psnr, error = np.array([[[20.0], [10.0]]]), np.array([[[0.5], [0.1]]])
    assert best_sequence(psnr, "higher").item() == 20
    assert best_sequence(error, "lower").item() == 0.1


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_cells_without_a_value_change_no_other(better):
    scores = RNG.random((4, 5, 3))
    gaps = scores.copy()
    gaps[1], gaps[2, 3, 0] = np.nan, np.nan
    for rule in RULES.values():
        found = rule(gaps, better)
        assert np.isnan(found).tolist() == [[False] * 3, [True] * 3, [rule is not mean, False, False], [False] * 3]
        np.testing.assert_array_equal(found[[0, 3]], rule(scores, better)[[0, 3]])
    np.testing.assert_array_equal(best_sequence(gaps, better)[2, 1:], best_sequence(scores[2:3, :, 1:], better)[0])


def test_the_mean_is_over_the_samples_that_have_a_value():
    scores = RNG.random((4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(mean(scores, "lower"), scores.mean(1, dtype=np.float64))  # bit for bit
    scores[0, 1:4, 2] = scores[1] = np.nan
    assert mean(scores, "lower")[0, 2] == scores[0, [0, 4], 2].mean(dtype=np.float64)
    assert np.isnan(mean(scores, "lower")[1]).all()


def test_all_rules_agree_on_one_sample():
    scores = RNG.random((4, 1, 3))
    for rule in (*RULES.values(), single):
        np.testing.assert_array_equal(rule(scores, "higher"), scores[:, 0])
    assert list(by_sampling(scores, BEST_OF_K, "higher", scores[:, 0])) == ["single"]
    with pytest.raises(ValueError, match="one sample per clip, not 2"):
        single(np.zeros((4, 2, 3)), "higher")


def test_by_sampling_gives_the_named_rules_in_one_order():
    scores, averaged = RNG.random((4, 6, 3)), RNG.random((4, 3))
    found = by_sampling(scores, BEST_OF_K[::-1], "lower", averaged)
    assert tuple(found) == tuple(name for name in SAMPLINGS if name not in ("single", "pairs"))
    np.testing.assert_array_equal(found["mean_frame"], averaged)
    np.testing.assert_array_equal(found["best_frame"], scores.min(1))
    assert "mean_frame" not in by_sampling(scores, BEST_OF_K, "lower")
    assert list(by_sampling(scores, MEANS, "lower", averaged)) == ["mean", "mean_frame"]
    assert list(by_sampling(scores, ("mean",), "lower", averaged)) == ["mean"]


@pytest.mark.parametrize("better", BETTER)
@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_best_of_k_is_the_mean_over_all_subsets(samples, better):
    scores = 2 * RNG.random((3, samples, 2))
    best = partial(max, key=MERITS[better])
    for k in range(1, samples + 1):
        subsets = [np.apply_along_axis(best, 1, scores[:, list(chosen)]) for chosen in combinations(range(samples), k)]
        np.testing.assert_allclose(best_of_k(scores, better)[:, k - 1], np.mean(subsets, 0), rtol=1e-13)
    np.testing.assert_allclose(best_of_k(scores[..., 0], better), best_of_k(scores, better)[..., 0], rtol=1e-13)


def test_best_of_k_of_100_goes_from_the_mean_to_the_best_and_never_down():
    scores = RNG.random((4, 100, 3))
    curve = best_of_k(scores, "higher")
    np.testing.assert_allclose(curve[:, 0], scores.mean(1), rtol=1e-13)
    np.testing.assert_array_equal(curve[:, -1], scores.max(1))
    assert (np.diff(curve, axis=1) > 0).all()
    np.testing.assert_allclose(best_of_k(-scores, "lower"), -curve, rtol=1e-13)
    ranks = np.arange(100.0)[None]  # the expected largest of K of 0 .. N-1 is K (N + 1) / (K + 1) - 1
    k = np.arange(1, 101)
    np.testing.assert_allclose(best_of_k(ranks, "higher")[0], k * 101 / (k + 1) - 1, rtol=1e-12, atol=1e-12)


def test_bootstrap_is_a_plain_loop_over_resamples():
    values = RNG.random((37, 4))
    values[5:9, 2] = np.nan
    rng = np.random.default_rng(11)
    draws = rng.integers(37, size=(1000, 37))
    means = np.array([np.nanmean(values[drawn], axis=0) for drawn in draws])
    found = bootstrap_interval(values, seed=11)
    np.testing.assert_allclose(found.low, np.percentile(means, 2.5, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.high, np.percentile(means, 97.5, axis=0), rtol=1e-12)


def test_bootstrap_of_a_column_depends_on_nothing_but_the_column_and_the_seed():
    values = RNG.random((50, 9))
    values[3, 4] = np.nan
    whole = np.array(bootstrap_interval(values))
    order = RNG.permutation(9)
    np.testing.assert_array_equal(np.array(bootstrap_interval(values[:, order])), whole[:, order])
    np.testing.assert_array_equal(np.array(bootstrap_interval(values[:, 4:5])), whole[:, 4:5])
    np.testing.assert_array_equal(np.array(bootstrap_interval(values.copy())), whole)
    assert (np.array(bootstrap_interval(values, seed=1)) != whole).any()


def test_bootstrap_interval_is_as_wide_as_the_standard_error_says():
    values = RNG.normal(3, 2, size=(1000, 50))
    interval = bootstrap_interval(values)
    width = interval.high - interval.low
    np.testing.assert_allclose(width, 2 * 1.96 * values.std(0) / np.sqrt(1000), rtol=0.15)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    found = bootstrap_interval(RNG.normal(1, 1, size=(100, 1000)))
    covered = ((found.low <= 1) & (found.high >= 1)).mean()
    assert 0.92 < covered < 0.97  # a percentile interval of 100 clips covers a little less than 95%


def test_one_clip_has_no_interval():
    gaps = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]])
    for interval, defined in (
        (bootstrap_interval(gaps), [True, False, False]),
        (bootstrap_interval(gaps[:1]), [False] * 3),
    ):
        assert np.isfinite(interval.low).tolist() == np.isfinite(interval.high).tolist() == defined


def test_clips_without_a_value_are_left_out():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [6.0, np.nan]])
    assert mean_over_clips(values)[0] == 3
    assert np.isnan(mean_over_clips(values)[1])
    interval = bootstrap_interval(values)
    assert 1 <= interval.low[0] < 3 < interval.high[0] <= 6
    assert np.isnan([interval.low[1], interval.high[1]]).all()
    one = bootstrap_interval(np.array([[np.nan]] * 9 + [[0.25]] * 2))  # many resamples miss both values
    assert (one.low.item(), one.high.item()) == (0.25, 0.25)


def test_paired_interval_sees_a_difference_that_two_intervals_hide():
    hard = RNG.normal(0, 5, size=(300, 1))
    ours, theirs = hard + 0.3 + RNG.normal(0, 0.1, size=(300, 1)), hard
    alone, other, paired = bootstrap_interval(ours), bootstrap_interval(theirs), paired_interval(ours, theirs)
    assert alone.low < other.high
    assert 0.25 < paired.low < 0.3 < paired.high < 0.35
    with pytest.raises(ValueError, match="same clips"):
        paired_interval(ours, theirs[1:])
