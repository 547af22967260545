"""How alike samples are, compared with plain loops over pairs."""

import itertools
import math

import pytest
import torch

from benchmark.metrics.diversity import (
    FULL_SPEED,
    PAIRS,
    flow_pictures,
    pairs,
    self_similarity,
    self_similarity_flow,
)
from benchmark.metrics.flow import tvl1
from benchmark.metrics.image import ssim
from mmnist_av.system.errors import InputError


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [2, 3, 10, 11, 30, 100])
def test_no_pair_is_a_sample_with_itself_and_none_comes_twice(samples):
    result = pairs(samples)
    assert all(0 <= i < j < samples for i, j in result)
    assert len(set(result)) == len(result) == min(PAIRS, samples * (samples - 1) // 2)
    pairs.cache_clear()
    assert pairs(samples) == result


@pytest.mark.parametrize("samples", [2, 5, 12])
def test_it_is_the_mean_ssim_of_the_pairs(samples):
    some = drawn(2, samples, 3, 1, 12, 13)
    result = self_similarity(some)
    assert result.shape == (2, 1, 3)
    for b, t in itertools.product(range(2), range(3)):
        values = [ssim(some[b, i, t], some[b, j, t]).item() for i, j in pairs(samples)]
        assert result[b, 0, t].item() == pytest.approx(math.fsum(values) / len(values), abs=1e-12)


def test_equal_samples_have_similarity_1_and_one_sample_has_none():
    one = drawn(2, 1, 3, 3, 16, 16)
    torch.testing.assert_close(self_similarity(one.expand(-1, 20, -1, -1, -1, -1)), torch.ones(2, 1, 3).double())
    assert self_similarity(one).isnan().all()
    assert self_similarity_flow(one).isnan().all()
    alike = self_similarity_flow(one.expand(-1, 3, -1, -1, -1, -1))
    assert alike[..., 0].isnan().all()
    torch.testing.assert_close(alike[..., 1:], torch.ones(2, 1, 2).double())


def test_of_flow_it_is_the_similarity_of_the_first_four_samples_pictures():
    some = drawn(1, 6, 3, 1, 16, 16)
    result = self_similarity_flow(some)
    pictures = [flow_pictures(tvl1(some[0, k])) for k in range(4)]
    for t in (1, 2):
        values = [ssim(a[t - 1], b[t - 1]).item() for a, b in itertools.combinations(pictures, 2)]
        assert result[0, 0, t].item() == pytest.approx(sum(values) / 6, abs=1e-9)
    assert result.shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("dx", "dy", "colour"),
    [
        (FULL_SPEED, 0, (1, 0, 0)),
        (FULL_SPEED / 2, 0, (0.5, 0, 0)),
        (-2 * FULL_SPEED, 0, (0, 1, 1)),
        (0, FULL_SPEED, (0.5, 1, 0)),
        (0, -FULL_SPEED, (0.5, 0, 1)),
        (0, 0, (0, 0, 0)),
    ],
)
def test_direction_is_hue_and_speed_is_brightness(dx, dy, colour):
    flow = torch.tensor([dx, dy], dtype=torch.float32)[:, None, None]
    assert flow_pictures(flow).flatten().tolist() == pytest.approx(colour, abs=1e-6)


def test_wrong_shapes_and_values_are_refused():
    for measure in (self_similarity, self_similarity_flow):
        with pytest.raises(InputError, match="prediction: float frames"):
            measure(drawn(2, 3, 1, 16, 16))
    with pytest.raises(InputError, match="values in"):
        self_similarity(drawn(1, 2, 1, 1, 16, 16) + 1)
