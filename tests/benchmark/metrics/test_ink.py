"""The amount of ink: exact for what is known of a prediction, and what tricks would score."""

import math

import pytest
import torch

from benchmark.metrics.ink import ink
from mmnist_av.system.errors import InputError


def frames(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_ink_is_predicted_over_true_brightness(channels):
    target, prediction = frames(2, 1, 3, channels, 7, 9), frames(2, 4, 3, channels, 7, 9, seed=1)
    result = ink(target, prediction)
    assert result.shape == (2, 4, 3)
    assert result.dtype == torch.float64
    for b in range(2):
        for k in range(4):
            for t in range(3):
                sums = [sum(frame.flatten().tolist()) for frame in (prediction[b, k, t], target[b, 0, t])]
                assert result[b, k, t].item() == pytest.approx(sums[0] / sums[1], rel=1e-6)


def test_true_frames_have_1_whatever_their_place_and_a_fade_has_its_factor():
    target = (frames(1, 1, 4, 1, 12, 12) * 255).round() / 255
    assert ink(target, target).eq(1).all()
    assert ink(target, target.roll((3, 5), (-2, -1))).eq(1).all()
    for factor in (0.5, 0.25, 0.1):
        assert ink(target, target * factor).flatten().tolist() == pytest.approx([factor] * 4, rel=1e-5)


def test_black_has_none_and_a_haze_of_all_the_ink_has_1():
    target = torch.zeros(1, 1, 1, 1, 16, 16)
    target[..., 4:8, 4:8] = 1
    assert ink(target, torch.zeros_like(target)).item() == 0
    assert ink(target, torch.full_like(target, 1 / 16)).item() == pytest.approx(1, rel=1e-6)
    assert ink(target, torch.ones_like(target)).item() == 16


def test_a_black_target_has_no_value():
    target = torch.zeros(1, 1, 2, 1, 8, 8)
    target[:, :, 1] = 0.5
    result = ink(target, frames(1, 3, 2, 1, 8, 8))
    assert result[..., 0].isnan().all()
    assert result[..., 1].isfinite().all()


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(InputError, match=r"target .* and prediction .* expected"):
        ink(frames(1, 1, 3, 1, 8, 8), frames(1, 2, 4, 1, 8, 8))
    for value in (math.nan, -0.1, 1.5):
        with pytest.raises(InputError, match="prediction: values in"):
            ink(frames(1, 1, 3, 1, 8, 8), torch.full((1, 2, 3, 1, 8, 8), value))
        with pytest.raises(InputError, match="target: values in"):
            ink(torch.full((1, 1, 3, 1, 8, 8), value), frames(1, 2, 3, 1, 8, 8))
