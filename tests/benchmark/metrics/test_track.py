"""Whether a digit is visible and where it is, compared with plain loops, and what tricks would score."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.catalogue import METRICS
from benchmark.metrics import track
from benchmark.metrics.track import digit_visible, position_error
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError


def frames(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain_centre(frame, true):
    """Column and row, by loops over the pixels of (C, H, W) that are not NaN in the true frame."""
    channels, height, width = frame.shape
    total = column = row = 0.0
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                if not math.isnan(true[c, y, x]):
                    ink = frame[c, y, x].item() / channels
                    total, column, row = total + ink, column + ink * x, row + ink * y
    return column / total, row / total


def digits(count=40, frames=2):
    """(N, 1, T, 1, 48, 48) frames of embedded digits."""
    pool = load_pool("embedded")["test"]
    truth = simulate(pool, Spec(frames=frames), 5, "test", np.arange(count))
    return torch.from_numpy(render_frames(truth, pool, Spec(frames=frames))).float()[:, None, :, None] / 255


def blurred(frames, sigma):
    taps = torch.arange(-3 * sigma, 3 * sigma + 1).div(sigma).square().div(-2).exp()
    kernel = (taps[:, None] * taps / taps.sum() ** 2)[None, None]
    return torch.nn.functional.conv2d(frames.flatten(0, 2), kernel, padding="same").view(frames.shape)


def plainly_visible(frame, true):
    """The rule of `digit_visible` by loops over windows: for frames (C, H, W), NaN in the true block."""
    shown, ink = (np.where(np.isnan(true), 0, each).astype(np.float64).sum(0) for each in (frame, true))
    rows, columns = np.nonzero(ink)
    if not len(rows):
        return math.nan
    height = min(np.ptp(rows) + 1 + 2 * track.MARGIN, ink.shape[0])
    width = min(np.ptp(columns) + 1 + 2 * track.MARGIN, ink.shape[1])
    most = max(
        shown[y : y + height, x : x + width].sum()
        for y in range(ink.shape[0] - height + 1)
        for x in range(ink.shape[1] - width + 1)
    )
    outside = ink.size - height * width
    even = (shown.sum() - most) / outside * height * width if outside else 0
    return float(most - even >= ink.sum() / 3 and most >= 3 * even)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]), most=st.sampled_from([0.1, 0.3, 1.0]))
def test_visibility_is_a_plain_loop_over_windows(seed, channels, most):
    rng = np.random.default_rng(seed)
    target = np.zeros((2, 1, 3, channels, 9, 11), np.float32)
    target[..., 2 : rng.integers(3, 8), 3 : rng.integers(4, 10)] = rng.random()
    target[0, 0, 1, :, 4:9, 2:7] = np.nan
    prediction = (rng.random((2, 3, 3, channels, 9, 11)) ** 4 * most).astype(np.float32)
    prediction *= rng.random(prediction.shape) < rng.random((2, 3, 3, 1, 1, 1))
    result = digit_visible(torch.from_numpy(target), torch.from_numpy(prediction))
    expected = [
        [[plainly_visible(prediction[b, k, t], target[b, 0, t]) for t in range(3)] for k in range(3)] for b in (0, 1)
    ]
    np.testing.assert_array_equal(result, expected)


def test_true_frames_blurred_ones_and_digits_anywhere_are_visible():
    target = digits()
    assert digit_visible(target, target).eq(1).all()
    assert digit_visible(target, target.flip((-2, -1))).eq(1).all()  # on the other side of the canvas
    for sigma in (1, 2, 3, 4):
        assert digit_visible(target, blurred(target, sigma)).eq(1).all()
    assert digit_visible(target, target.roll(1, 0)).mean() > 0.95  # another clip's


def test_a_digit_fades_out_of_sight_at_a_third_of_its_ink():
    target = digits()
    for factor in (1, 0.5, 0.34):
        assert digit_visible(target, target * factor).eq(1).all()
    for factor in (0.33, 0.1, 0):
        assert digit_visible(target, target * factor).eq(0).all()


def test_no_grey_is_visible_however_bright_and_no_haze_of_all_places():
    target = digits()
    grey = target.mean((-2, -1), keepdim=True).expand_as(target)
    everywhere = digits(400).mean((0, 1, 2)).expand_as(target)
    assert everywhere.sum() == pytest.approx(target.sum().item(), rel=0.1)
    for factor in (0.5, 1, 2, 4):
        assert digit_visible(target, grey * factor).eq(0).all()
    assert digit_visible(target, torch.ones_like(target)).eq(0).all()
    for factor in (0.5, 1, 2, 3):
        assert digit_visible(target, everywhere * factor).eq(0).all()
    assert digit_visible(target, target * 0.9 + 0.05).eq(1).all()  # but a digit on grey is


def test_a_frame_without_true_ink_has_no_visibility_and_no_position():
    target = torch.zeros(1, 1, 2, 1, 20, 20)
    target[:, :, 1, :, 3:7, 3:7] = 1
    assert digit_visible(target, target).flatten().tolist() == pytest.approx([math.nan, 1], nan_ok=True)
    assert position_error(target, target).flatten().tolist() == pytest.approx([math.nan, 0], nan_ok=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_position_error_is_the_distance_of_the_centroids(channels):
    target, prediction = frames(2, 1, 3, channels, 7, 9), frames(2, 4, 3, channels, 7, 9, seed=1)
    target[1, 0, 2, :, 1:4, 2:6] = math.nan
    result = position_error(target, prediction)
    assert result.shape == (2, 4, 3)
    for b in range(2):
        for k in range(4):
            for t in range(3):
                true = target[b, 0, t]
                x, y = plain_centre(prediction[b, k, t], true)
                u, v = plain_centre(true, true)
                assert result[b, k, t].item() == pytest.approx(math.hypot(x - u, y - v), abs=1e-9)


def test_a_frame_moved_by_three_and_four_px_is_five_px_off():
    target = torch.zeros(1, 1, 1, 1, 20, 20)
    target[..., 5:9, 6:8] = 1
    assert position_error(target, target.roll((3, 4), (-2, -1))).item() == pytest.approx(5)
    assert position_error(target, target).item() == 0


def test_a_frame_without_a_visible_digit_has_no_position():
    target = digits(10)
    grey = target.mean((-2, -1), keepdim=True).expand_as(target)
    for unseen in (torch.zeros_like(target), target * 0.3, grey, torch.ones_like(target)):
        assert position_error(target, unseen).isnan().all()
    faint = torch.cat([target * 0.5, target * 0.3], 2)
    assert position_error(torch.cat([target] * 2, 2), faint).isnan().equal(faint.flatten(3).amax(-1) < 0.4)


def test_pixels_of_the_block_do_not_count():
    target = torch.zeros(1, 1, 1, 1, 20, 20)
    target[..., 2:5, 2:5] = 1
    prediction = target.clone()
    prediction[..., 10:16, 10:16] = 0.7
    target[..., 10:16, 10:16] = math.nan
    assert position_error(target, prediction).item() == 0


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(InputError, match=r"target .* and prediction .* expected"):
        position_error(frames(1, 1, 3, 1, 8, 8), frames(1, 2, 4, 1, 8, 8))
    for metric in (position_error, digit_visible):
        with pytest.raises(InputError, match="prediction: values in"):
            metric(frames(1, 1, 3, 1, 8, 8), frames(1, 2, 3, 1, 8, 8) * math.nan)


def test_lower_is_better():
    assert METRICS["position_error"].better == "lower"
