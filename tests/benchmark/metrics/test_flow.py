"""End-point errors by hand and by a plain loop; the direction of TV-L1's flow."""

import math

import numpy as np
import pytest
import torch
from skimage.registration import optical_flow_tvl1

from benchmark.metrics.flow import aepe, tvl1
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import backward_flow, render_frames
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError

SPEC = Spec(frames=6)


@pytest.fixture(scope="module")
def world():
    digits = load_pool("embedded")["test"]
    truth = simulate(digits, SPEC, 0, "test", np.arange(3))
    frames = torch.from_numpy(render_frames(truth, digits, SPEC)).float()[:, None, :, None] / 255
    return frames, torch.from_numpy(backward_flow(truth, SPEC))[:, None]


def test_aepe_is_the_mean_length_of_the_difference():
    rng = torch.Generator().manual_seed(0)
    target, prediction = torch.randn(2, 1, 3, 2, 4, 5, generator=rng), torch.randn(2, 3, 3, 2, 4, 5, generator=rng)
    result = aepe(target, prediction)
    assert result.shape == (2, 3, 3)
    for b, k, t in np.ndindex(2, 3, 3):
        lengths = [
            math.hypot(*(prediction[b, k, t, :, y, x].double() - target[b, 0, t, :, y, x].double()).tolist())
            for y in range(4)
            for x in range(5)
        ]
        assert result[b, k, t].item() == pytest.approx(sum(lengths) / 20, abs=1e-12)


def test_an_error_of_three_and_four_px_is_five_px_and_on_a_quarter_of_the_pixels_a_quarter():
    target = torch.zeros(1, 1, 1, 2, 8, 8)
    off = target.clone()
    off[:, :, :, 0], off[:, :, :, 1] = 3, -4
    assert aepe(target, off).item() == 5
    off[..., 4:, :], off[..., 4:] = 0, 0
    assert aepe(target, off).item() == 1.25


def test_the_true_flow_has_error_0_and_zero_flow_has_the_digits_speed(world):
    _, flow = world
    assert (aepe(flow, flow.expand(-1, 2, -1, -1, -1, -1)) == 0).all()
    speed = flow.square().sum(3).sqrt().mean((-2, -1))
    torch.testing.assert_close(aepe(flow, torch.zeros_like(flow)), speed.double())


def test_tvl1_is_scikit_images_with_dx_first(world):
    frames, _ = world
    result = tvl1(frames)
    assert result.shape == (3, 1, 5, 2, 48, 48)
    dy, dx = optical_flow_tvl1(frames[1, 0, 4, 0].numpy(), frames[1, 0, 3, 0].numpy())
    assert torch.equal(result[1, 0, 3], torch.from_numpy(np.stack([dx, dy])))


def test_tvl1_of_motion_to_the_right_and_up_points_left_and_down():
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    frames = torch.stack([(-((x - 24 - 2 * t) ** 2 + (y - 24 + t) ** 2) / 40).exp() for t in range(2)])[:, None]
    dx, dy = tvl1(frames)[0][:, 20:26, 23:29].mean((-2, -1))
    assert dx.item() == pytest.approx(-2, abs=0.3)
    assert dy.item() == pytest.approx(1, abs=0.3)


def test_tvl1_takes_the_mean_over_colours():
    colour = torch.rand(2, 3, 16, 16)
    assert torch.equal(tvl1(colour), tvl1(colour.mean(1, keepdim=True)))


@pytest.mark.parametrize(
    ("target", "prediction"),
    [
        (torch.zeros(1, 1, 2, 2, 4, 4), torch.zeros(1, 3, 3, 2, 4, 4)),
        (torch.zeros(1, 2, 2, 2, 4, 4), torch.zeros(1, 2, 2, 2, 4, 4)),
        (torch.zeros(1, 1, 2, 3, 4, 4), torch.zeros(1, 1, 2, 3, 4, 4)),
        (torch.zeros(1, 2, 2, 4, 4), torch.zeros(1, 2, 2, 4, 4)),
        (torch.zeros(1, 1, 2, 2, 4, 4), torch.zeros(1, 0, 2, 2, 4, 4)),
        (torch.zeros(1, 1, 2, 2, 4, 4), torch.full((1, 1, 2, 2, 4, 4), torch.nan)),
        (torch.zeros(1, 1, 2, 2, 4, 4), torch.zeros(1, 1, 2, 2, 4, 4).long()),
    ],
)
def test_wrong_shapes_types_and_values_are_refused(target, prediction):
    with pytest.raises(InputError, match="flow|target"):
        aepe(target, prediction)


def test_one_frame_has_no_flow():
    with pytest.raises(InputError, match="T 2 or more"):
        tvl1(torch.zeros(1, 1, 8, 8))
