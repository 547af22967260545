"""Running statistics in parts."""

import pytest
import torch
from torch import nn

from baselines.layers.normalisation import scaled_momentum


@pytest.mark.parametrize("passes", [1, 4, 20])
def test_many_batches_with_scaled_momentum_change_statistics_as_one_batch_does(passes):
    batch = torch.randn(8, 3, 2, 2) + 5
    often, once = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    once(batch)
    with scaled_momentum(nn.Sequential(often), passes):
        for _ in range(passes):
            often(batch)
    torch.testing.assert_close(often.running_mean, once.running_mean)
    torch.testing.assert_close(often.running_var, once.running_var)


def test_momentum_is_restored_after_an_error():
    norm = nn.BatchNorm2d(3, momentum=0.3)
    with pytest.raises(ValueError, match="expected 4D"), scaled_momentum(norm, 7):
        norm(torch.zeros(2))
    assert norm.momentum == 0.3
