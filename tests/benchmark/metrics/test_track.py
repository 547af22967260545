"""The predicted digit's position, compared with plain loops."""

import math

import pytest
import torch

from benchmark.catalogue import METRICS
from benchmark.metrics.track import position_error
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
    return (column / total, row / total) if total >= 1 else ((width - 1) / 2, (height - 1) / 2)


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


def test_a_black_frame_has_its_centre_in_the_middle():
    target = torch.zeros(1, 1, 1, 1, 20, 20)
    target[..., 0:4, 0:4] = 1
    assert position_error(target, torch.zeros_like(target)).item() == pytest.approx(math.hypot(8, 8))


def test_pixels_of_the_block_do_not_count():
    target = torch.zeros(1, 1, 1, 1, 20, 20)
    target[..., 2:5, 2:5] = 1
    prediction = target.clone()
    prediction[..., 10:16, 10:16] = 0.7
    target[..., 10:16, 10:16] = math.nan
    assert position_error(target, prediction).item() == 0


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(InputError, match="target .* and prediction .* expected"):
        position_error(frames(1, 1, 3, 1, 8, 8), frames(1, 2, 4, 1, 8, 8))
    with pytest.raises(InputError, match="prediction: finite floats expected"):
        position_error(frames(1, 1, 3, 1, 8, 8), frames(1, 2, 3, 1, 8, 8) * math.nan)


def test_lower_is_better():
    assert METRICS["position_error"].better == "lower"
