"""The paired test and Holm's correction: published examples, plain loops, and how often they err by chance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmark.significance import holm, sign_flip_test

VALUES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-20, 20))
P = st.lists(st.floats(1e-6, 1), min_size=1, max_size=20).map(np.array)
# Darwin's pairs of plants, eighths of an inch (Fisher, The Design of Experiments, 1935)
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


def plain_sign_flips(differences):
    """The share of all sign flips whose mean is as far from 0 as that of the differences, one by one."""
    products = [np.array(signs) * differences for signs in itertools.product((1, -1), repeat=len(differences))]
    return np.mean([abs(product.sum()) >= abs(differences.sum()) for product in products])


def plain_holm(p):
    order = sorted(range(len(p)), key=lambda number: p[number])
    corrected, largest = [0.0] * len(p), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[number]))
        corrected[number] = largest
    return corrected


def test_darwins_plants_have_the_p_value_that_fisher_counted():
    assert sign_flip_test(DARWIN[:, None])[0] == 1726 / 32768


def test_random_flips_come_close_to_all_flips():
    one_clip_more = np.append(DARWIN, 0.0)  # 2^16 flips are more than are taken
    assert sign_flip_test(one_clip_more[:, None])[0] == pytest.approx(1726 / 32768, abs=0.004)
    assert sign_flip_test(one_clip_more[:, None], flips=99) != sign_flip_test(one_clip_more[:, None], flips=99, seed=1)


@given(VALUES)
def test_all_flips_are_counted_as_in_a_plain_loop(differences):
    expected = [plain_sign_flips(column) for column in differences.T]
    np.testing.assert_allclose(sign_flip_test(differences), expected)


def test_it_is_scipys_permutation_test_of_pairs():
    rng = np.random.default_rng(3)
    one, other = rng.normal(0.3, 1, 10), rng.normal(0, 1, 10)
    scipys = stats.permutation_test(
        (one, other), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test((one - other)[:, None])[0] == pytest.approx(scipys.pvalue)


@given(VALUES, st.permutations(range(8)), st.sampled_from([-1, 0.1, 7]))
def test_neither_the_order_of_clips_nor_the_unit_nor_who_is_first_matters(differences, order, factor):
    order = [clip for clip in order if clip < len(differences)]
    np.testing.assert_allclose(sign_flip_test(differences), sign_flip_test(factor * differences[order]))


@given(VALUES)
def test_clips_without_a_value_are_left_out(differences):
    longer = np.concatenate([differences, np.full((7, differences.shape[1]), np.nan)])
    np.testing.assert_allclose(sign_flip_test(longer), sign_flip_test(differences))
    assert np.isnan(sign_flip_test(np.full((3, 1), np.nan))).all()


def test_a_column_does_not_depend_on_those_beside_it():
    columns = np.random.default_rng(0).normal(0.2, 1, (30, 4))
    together = sign_flip_test(columns, flips=999)
    assert [sign_flip_test(columns[:, [number]], flips=999)[0] for number in range(4)] == list(together)


def test_the_smallest_p_value_survives_a_family_of_a_thousand():
    certain = np.full((40, 1), 0.1)
    assert holm(np.array([sign_flip_test(certain)[0], *np.ones(999)]))[0] < 0.05


@pytest.mark.parametrize("skewed", [False, True])
def test_equal_models_are_called_different_in_no_more_than_5_percent_of_tables(skewed):
    rng, tables, wrong, single = np.random.default_rng(1), 400, 0, 0
    for _ in range(tables):
        shared = rng.normal(size=(40, 1))
        differences = shared + rng.normal(size=(40, 12))  # twelve rows of a table, which depend on each other
        if skewed:
            differences = np.exp(0.3 * differences) - np.exp(0.3**2)  # mean 0
        p = sign_flip_test(differences, flips=999)
        wrong += (holm(p) < 0.05).any()
        single += p[0] < 0.05
    most = tables * 0.05 + 3 * np.sqrt(tables * 0.05 * 0.95)
    assert wrong < most
    assert 0.02 * tables < single < most


def test_a_difference_of_one_standard_deviation_is_found_among_many_rows_without_one():
    rng = np.random.default_rng(2)
    differences = rng.normal(size=(60, 100))
    differences[:, 7] += 1
    assert list(np.flatnonzero(holm(sign_flip_test(differences)) < 0.05)) == [7]


def test_holm_rejects_the_three_hypotheses_of_benjamini_and_hochbergs_example():
    """In their paper of 1995: Bonferroni and Hochberg both reject three at 0.05, and Holm lies between the two."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert list(np.flatnonzero(holm(np.array(p)) < 0.05)) == [0, 1, 2]


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.4, 0.6])), [0.03, np.nan, 0.8, 0.8])
    assert len(holm(np.array([]))) == 0


@given(P)
def test_holm_is_the_plain_loop_and_keeps_the_order(p):
    corrected = holm(p)
    np.testing.assert_allclose(corrected, plain_holm(p))
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
