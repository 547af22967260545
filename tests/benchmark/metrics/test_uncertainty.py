"""The rank correlation compared with scipy's, sample by sample."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from benchmark.metrics.uncertainty import mean_variance, uncertainty_rank
from mmnist_av.system.errors import InputError

CLIPS, SAMPLES, FRAMES = 2, 3, 7


def random_input(seed=0, samples=SAMPLES):
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(CLIPS, 1, FRAMES, 1, 6, 5, generator=rng)
    frames = torch.rand(CLIPS, samples, FRAMES, 1, 6, 5, generator=rng)
    return target, frames, torch.rand(CLIPS, samples, FRAMES, generator=rng)


def test_every_sample_has_scipys_spearman_correlation():
    target, frames, variance = random_input()
    variance[0, 0, 2] = variance[0, 0, 5]  # equal values share a rank
    result = uncertainty_rank(target, frames, variance)
    assert result.shape == (CLIPS, SAMPLES, 1)
    for b in range(CLIPS):
        for k in range(SAMPLES):
            errors = [((frames[b, k, t] - target[b, 0, t]).double() ** 2).mean().item() for t in range(FRAMES)]
            scipys = spearmanr(variance[b, k].tolist(), errors).statistic
            assert result[b, k, 0].item() == pytest.approx(scipys, abs=1e-12)


def rank_from_a_channel(target, prediction):
    """Return the correlation where the variance is one more image channel, and its mean over pixels is ranked."""
    frames, expected = prediction[:, :, :, :-1], prediction[:, :, :, -1]
    errors = (frames.double() - target.double()).square().mean((3, 4, 5))
    ranks = [rankdata(each.numpy(), axis=-1) for each in (expected.double().mean((3, 4)), errors)]
    first, second = (each - each.mean(-1, keepdims=True) for each in ranks)
    spread = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    result = np.divide((first * second).sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)
    return torch.from_numpy(result)[..., None]


@pytest.mark.parametrize("samples", [1, 2, 5, 10, 33, 100])
@pytest.mark.parametrize("kind", ["random", "ties", "constant"])
def test_the_variance_has_the_bits_that_it_has_as_an_image_channel(samples, kind):
    target, frames, variance = random_input(seed=samples, samples=samples)
    if kind == "ties":
        variance, frames = (variance * 4).round() / 4 + 0.1, (frames > 0.5).float()
        frames[:, :, 3] = frames[:, :, 1]
    elif kind == "constant":
        variance = torch.full_like(variance, 0.03)
    channel = variance[..., None, None, None].expand(*variance.shape, 1, *frames.shape[-2:])
    stacked = torch.cat([frames, channel], 3)
    assert torch.equal(uncertainty_rank(target, frames, variance), rank_from_a_channel(target, stacked))


@pytest.mark.parametrize("samples", [2, 5, 10, 33, 100])
@pytest.mark.parametrize("kind", ["random", "ties", "constant"])
def test_the_mean_variance_has_the_bits_that_it_has_as_an_image_channel(samples, kind):
    rng = torch.Generator().manual_seed(samples)
    target, frames = (
        torch.rand(1, 1, 20, 1, 48, 48, generator=rng),
        torch.rand(1, samples, 20, 1, 48, 48, generator=rng),
    )
    variance = torch.rand(1, samples, 20, generator=rng) / 100
    if kind == "ties":
        variance = (variance * 400).round() / 400 + 0.003
    elif kind == "constant":
        variance = torch.full_like(variance, 0.03)
    channel = variance[..., None, None, None].expand_as(frames)
    mean_of_stacked = torch.cat([frames, channel], 3).mean(1, keepdim=True)
    result = uncertainty_rank(target, frames.mean(1, keepdim=True), mean_variance(variance))
    assert torch.equal(result, rank_from_a_channel(target, mean_of_stacked))
    assert torch.equal(mean_variance(variance), mean_of_stacked[:, :, :, 1, 0, 0])
    assert kind != "constant" or result.item() == 0


def test_the_right_order_of_errors_gives_1_and_the_reverse_order_minus_1():
    target, frames, _ = random_input()
    errors = (frames - target).square().mean((3, 4, 5))
    assert uncertainty_rank(target, frames, errors * 100).numpy() == pytest.approx(1)
    assert uncertainty_rank(target, frames, -errors).numpy() == pytest.approx(-1)


def test_equal_errors_of_all_frames_expected_or_actual_give_0():
    target, frames, variance = random_input()
    assert (uncertainty_rank(target, frames, torch.full_like(variance, 0.03)) == 0).all()
    assert (uncertainty_rank(target, target.expand_as(frames), variance) == 0).all()


def test_wrong_shapes_and_values_are_refused():
    target, frames, variance = random_input()
    with pytest.raises(InputError, match=r"target \(B, 1, T, C, H, W\) and prediction"):
        uncertainty_rank(target[:, :, 1:], frames, variance)
    with pytest.raises(InputError, match=r"variance \(B, K, T\) expected"):
        uncertainty_rank(target, frames, variance[:, :1])
    with pytest.raises(InputError, match="T 2 or more"):
        uncertainty_rank(target[:, :, :1], frames[:, :, :1], variance[:, :, :1])
    variance[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="variance: finite floats"):
        uncertainty_rank(target, frames, variance)
