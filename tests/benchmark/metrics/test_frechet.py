"""The Frechet distance compared with torch-fidelity and closed forms, and its properties for any features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from benchmark.metrics.frechet import LEAST, frechet_distance
from mmnist_av.system.errors import InputError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def fidelity(true, predicted):
    statistics = (fid_features_to_statistics(torch.from_numpy(side)) for side in (true, predicted))
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def uncorrelated(rows, deviations, mean, seed=0):
    """Features with exactly this mean, these standard deviations, and no correlation."""
    drawn = normal(rows, len(deviations), seed=seed)
    orthonormal = np.linalg.qr(drawn - drawn.mean(0))[0]
    return orthonormal * np.sqrt(rows - 1) * deviations + mean


@pytest.mark.parametrize(("rows", "others", "width"), [(300, 200, 40), (60, 500, 40), (41, 41, 40)])
def test_the_distance_equals_torch_fidelitys(rows, others, width):
    true = normal(rows, width) @ normal(width, width, seed=1)
    predicted = normal(others, width, seed=2) @ normal(width, width, seed=3) + 0.5
    assert frechet_distance(true, predicted) == pytest.approx(fidelity(true, predicted), rel=1e-5)


def test_the_distance_of_commuting_gaussians_is_known():
    first, second, apart = np.array([1, 2, 3, 0.5]), np.array([2, 2, 0, 4]), np.array([0, 1, 0, -2])
    result = frechet_distance(uncorrelated(50, first, 0), uncorrelated(70, second, apart, seed=1))
    assert result == pytest.approx(np.square(first - second).sum() + np.square(apart).sum(), abs=1e-9)


@pytest.mark.parametrize(("rows", "width"), [(LEAST, 2048), (20, 400), (64, 64), (500, 30)])
def test_a_set_against_itself_stretched_and_moved_is_known_whatever_the_rank(rows, width):
    true = normal(rows, width)
    variance = true.var(0, ddof=1).sum()
    expected = np.square(2 * true.mean(0) + 0.1).sum() + 4 * variance  # the deviations are one and three times S^(1/2)
    assert frechet_distance(true, 3 * true + 0.1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["fewer rows than columns", "ill-conditioned"])
def test_the_distance_is_right_where_the_root_of_a_matrix_is_complex(kind):
    rotation = np.linalg.qr(normal(40, 40, seed=1))[0]
    true = normal(20, 400) if kind == "fewer rows than columns" else normal(100, 40) * np.logspace(0, -8, 40) @ rotation
    true -= true.mean(0)
    predicted = 2 * true
    expected = true.var(0, ddof=1).sum()
    root = sqrtm(np.cov(true, rowvar=False) @ np.cov(predicted, rowvar=False))
    assert np.iscomplexobj(root)
    assert abs(5 * expected - 2 * np.trace(root) - expected) > 1e-8
    assert frechet_distance(true, predicted) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(16, 40), others=st.integers(16, 40), width=st.integers(1, 50))
def test_the_distance_is_symmetric_never_negative_and_independent_of_rotation_and_shift(seed, rows, others, width):
    rng = np.random.default_rng(seed)
    true, predicted = rng.standard_normal((rows, width)), rng.standard_normal((others, width)) * 2 + 1
    rotation, shift = np.linalg.qr(rng.standard_normal((width, width)))[0], rng.standard_normal(width)
    result = frechet_distance(true, predicted)
    assert result > 0
    assert frechet_distance(predicted, true) == pytest.approx(result, rel=1e-10)
    assert frechet_distance(true @ rotation + shift, predicted @ rotation + shift) == pytest.approx(result, rel=1e-9)
    assert frechet_distance(true, true[rng.permutation(rows)]) == pytest.approx(0, abs=1e-11 * width)
    assert frechet_distance(true, true) >= 0


def test_tensors_and_arrays_of_any_precision_are_taken_in_float64():
    true, predicted = normal(32, 8).astype(np.float32), normal(32, 8, seed=1).astype(np.float32)
    expected = frechet_distance(true.astype(np.float64), predicted.astype(np.float64))
    assert frechet_distance(torch.from_numpy(true).requires_grad_(), predicted) == expected


GOOD = normal(LEAST, 3)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (GOOD[1:], GOOD, "target: a Frechet distance needs 16 features or more, found 15"),
        (GOOD, GOOD[:0], "predicted: .* found 0"),
        (GOOD, GOOD[:, :2], r"differ in width: target \(16, 3\), predicted \(16, 2\)"),
        (GOOD[:, 0], GOOD, r"target: features \(N, D\) expected, found \(16,\)"),
        (GOOD[:, :0], GOOD[:, :0], r"target: features \(N, D\) expected, found \(16, 0\)"),
        (GOOD, np.where(GOOD > 1, np.nan, GOOD), "predicted: finite features expected"),
        (np.where(GOOD > 1, np.inf, GOOD), GOOD, "target: finite features expected"),
    ],
)
def test_other_features_are_refused(true, predicted, message):
    with pytest.raises(InputError, match=message):
        frechet_distance(true, predicted)
