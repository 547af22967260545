import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics.block import block_iou, brightest_window
from mmnist_av.system.errors import InputError


def square(x, y, height=48, width=48, size=16, brightness=1.0):
    """A black picture with a square whose lower-left corner is (x, y), y up."""
    picture = torch.zeros(height, width)
    picture[height - y - size : height - y, x : x + size] = brightness
    return picture


def clip(*pictures):
    """(1, 1, T, 1, H, W)"""
    return torch.stack(pictures)[None, None, :, None]


def iou(place, picture, **size):
    return block_iou(torch.tensor([place]), clip(picture), **size).item()


@pytest.mark.parametrize("place", [(0, 0), (32, 32), (0, 32), (32, 0), (7, 21)])
def test_the_true_square_has_iou_1_at_any_place(place):
    assert iou(place, square(*place)) == 1.0
    assert iou(place, square(*place, brightness=0.01)) == 1.0


@pytest.mark.parametrize(
    ("x", "y", "overlap"),
    [(14, 10, 12 * 16), (10, 6, 16 * 12), (13, 14, 13 * 12), (10, 26, 0), (26, 10, 0), (25, 25, 1), (32, 32, 0)],
)
def test_iou_of_a_misplaced_square_is_known_by_hand(x, y, overlap):
    assert iou((10, 10), square(x, y)) == pytest.approx(overlap / (512 - overlap), abs=1e-15)


def test_y_is_up_and_row_0_is_the_top():
    picture = torch.zeros(48, 48)
    picture[:16, :16] = 1
    assert iou((0, 32), picture) == 1.0
    assert iou((0, 0), picture) == 0.0


def test_of_equal_windows_the_first_in_reading_order_counts():
    both = square(0, 0) + square(32, 32) + square(0, 32)
    assert iou((0, 32), both) == 1.0
    assert iou((32, 32), square(0, 0) + square(32, 32)) == 1.0
    assert iou((0, 32), torch.full((48, 48), 0.3)) == 1.0
    assert iou((0, 32), torch.zeros(48, 48)) == 1.0


def test_equal_brightness_is_equal_in_any_order_of_summation():
    rng = np.random.default_rng(0)
    content = torch.from_numpy(rng.random(256).astype(np.float32)) * 0.9
    for seed in range(20):
        shuffled = content[torch.randperm(256, generator=torch.Generator().manual_seed(seed))]
        picture = torch.zeros(48, 48)
        picture[32:, 32:], picture[:16, 16:32] = content.view(16, 16), shuffled.view(16, 16)
        assert brightest_window(picture[None, None], 16).tolist() == [[0, 16]]


def test_only_the_last_frame_counts_and_every_sample_has_its_own_score():
    prediction = torch.stack([clip(square(0, 0), square(x, 10))[0, 0] for x in (10, 14, 30)])[None]
    result = block_iou(torch.tensor([[10, 10]]), prediction)
    assert result.shape == (1, 3, 1)
    assert result.flatten().tolist() == pytest.approx([1, 192 / 320, 0])


def test_colour_counts_by_its_mean_over_channels():
    picture = torch.stack([square(0, 0, brightness=0.9), square(20, 20), square(20, 20)])
    assert block_iou(torch.tensor([[20, 20]]), picture[None, None, None]).item() == 1.0


def test_clips_without_a_block_are_nan_and_the_others_are_not():
    prediction = torch.cat([clip(square(5, 5))] * 3)
    for block in (torch.tensor([[5, 5], [-1, -1], [5, 5]]), torch.tensor([[5, 5], [torch.nan, torch.nan], [5.0, 5]])):
        result = block_iou(block, prediction).flatten()
        assert result[[0, 2]].tolist() == [1, 1]
        assert result[1].isnan()
    assert block_iou(torch.tensor([[5, 5]] * 3, dtype=torch.int16), prediction).tolist() == [[[1.0]]] * 3


def test_other_sizes_and_frames_that_are_not_square():
    assert iou((3, 1), square(3, 1, height=9, width=20, size=8), size=8) == 1.0
    assert iou((12, 0), square(12, 0, height=8, width=20, size=8), size=8) == 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 3, 256]), size=st.integers(1, 6))
def test_the_brightest_window_equals_a_plain_loops(seed, levels, size):
    picture = np.random.default_rng(seed).integers(levels, size=(9, 11))
    best, result = -1, None
    for y in range(9 - size + 1):
        for x in range(11 - size + 1):
            if (total := picture[y : y + size, x : x + size].sum()) > best:
                best, result = total, [y, x]
    frames = torch.from_numpy(picture.astype(np.float32))[None, None] / (levels - 1)
    assert brightest_window(frames, size).tolist() == [result]


@pytest.mark.parametrize(
    ("block", "prediction", "message"),
    [
        (torch.tensor([[0, 0, 0]]), clip(square(0, 0)), "block .B, 2. for a prediction"),
        (torch.tensor([[0, 0]]), clip(square(0, 0))[0], "float frames .B, K, T, C, H, W. expected"),
        (torch.tensor([[0, 0]]), clip(square(0, 0)).byte(), "float frames .* found .* uint8"),
        (torch.tensor([[0, 0]]), clip(torch.zeros(15, 48)), "at least 16x16 expected, found 15x48"),
        (torch.tensor([[33, 0]]), clip(square(0, 0)), "leaves the 48x48 frame"),
        (torch.tensor([[0, 1]]), clip(torch.zeros(16, 48)), "leaves the 48x16 frame"),
        (torch.tensor([[0, 0]]), clip(square(0, 0, brightness=1.5)), "values in"),
        (torch.tensor([[0, 0]]), clip(square(0, 0, brightness=torch.nan)), "values in"),
        (torch.tensor([[0, 0]]), clip(square(0, 0))[:, :0], "no frames"),
    ],
)
def test_wrong_shapes_types_and_values_are_refused(block, prediction, message):
    with pytest.raises(InputError, match=message):
        block_iou(block, prediction)
