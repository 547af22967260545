"""Sums of brightness, compared with plain loops."""

import torch

from benchmark.metrics.brightness import BRIGHTNESS_UNITS, in_units, window_sums


def test_levels_of_8_bit_pictures_are_whole_units():
    levels = torch.arange(256)
    assert (in_units((levels.float() / 255).view(256, 1, 1, 1)).flatten() == levels * BRIGHTNESS_UNITS // 255).all()


def test_windows_are_plain_loops():
    frames = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    brightness = in_units(frames)
    sums = window_sums(brightness, 3, 4)
    assert sums.shape == (3, 5, 6)
    for n in range(3):
        for row in range(5):
            for column in range(6):
                assert sums[n, row, column] == brightness[n, row : row + 3, column : column + 4].sum()
    assert torch.equal(window_sums(brightness, 7, 9).flatten(), brightness.sum((1, 2)))
