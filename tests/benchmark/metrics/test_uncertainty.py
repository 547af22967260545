"""The rank correlation against scipy's, future by future."""

import pytest
import torch
from scipy.stats import spearmanr

from benchmark.metrics.uncertainty import uncertainty_rank
from mmnist_av.system.errors import InputError

CLIPS, SAMPLES, FRAMES = 2, 3, 7


def made_and_expected(seed=0):
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(CLIPS, 1, FRAMES, 1, 6, 5, generator=rng)
    frames = torch.rand(CLIPS, SAMPLES, FRAMES, 1, 6, 5, generator=rng)
    expected = torch.rand(CLIPS, SAMPLES, FRAMES, generator=rng)
    return target, frames, expected


def with_error(frames, expected):
    return torch.cat([frames, expected[..., None, None, None].expand_as(frames)], 3)


def test_it_is_scipys_spearman_of_every_future():
    target, frames, expected = made_and_expected()
    expected[0, 0, 2] = expected[0, 0, 5]  # equals share a rank
    found = uncertainty_rank(target, with_error(frames, expected))
    assert found.shape == (CLIPS, SAMPLES, 1)
    for b in range(CLIPS):
        for k in range(SAMPLES):
            made = [((frames[b, k, t] - target[b, 0, t]).double() ** 2).mean().item() for t in range(FRAMES)]
            theirs = spearmanr(expected[b, k].tolist(), made).statistic
            assert found[b, k, 0].item() == pytest.approx(theirs, abs=1e-12)


def test_one_who_knows_gets_one_and_one_who_has_it_the_wrong_way_round_minus_one():
    target, frames, _ = made_and_expected()
    made = (frames - target).square().mean((3, 4, 5))
    assert uncertainty_rank(target, with_error(frames, made * 100)).numpy() == pytest.approx(1)
    assert uncertainty_rank(target, with_error(frames, -made)).numpy() == pytest.approx(-1)


def test_one_who_says_the_same_of_all_frames_knows_nothing():
    target, frames, expected = made_and_expected()
    assert (uncertainty_rank(target, with_error(frames, torch.full_like(expected, 0.03))) == 0).all()
    assert (uncertainty_rank(target, with_error(target.expand_as(frames), expected)) == 0).all()


def test_what_is_no_prediction_with_an_error_is_refused():
    target, frames, expected = made_and_expected()
    with pytest.raises(InputError, match=r"\(B, K, T, C \+ 1, H, W\) wanted"):
        uncertainty_rank(target, frames)
    with pytest.raises(InputError, match="T 2 or more"):
        uncertainty_rank(target[:, :, :1], with_error(frames, expected)[:, :, :1])
    expected[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="prediction: finite floats"):
        uncertainty_rank(target, with_error(frames, expected))
