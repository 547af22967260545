import pytest
import torch

from benchmark.metrics import METRICS, find
from mmnist_av.errors import InputError


def score(metric, target, prediction):
    place = torch.tensor([[16, 16]] * len(prediction))
    return metric.compute(place if metric.target == "block" else target, prediction)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_facts_of_every_metric_hold(metric):
    target = torch.zeros(2, 1, 4, 1, 48, 48)
    target[..., 16:32, 16:32] = 1
    prediction = torch.rand(2, 3, 4, 1, 48, 48)
    perfect = score(metric, target, target.expand_as(prediction))
    worse = score(metric, target, prediction)
    assert worse.shape == (2, 3, 4 if metric.frames == "all" else 1)
    low, high = metric.range
    best = high if metric.better == "higher" else low
    torch.testing.assert_close(perfect, torch.full_like(perfect, best))
    assert ((worse >= low) & (worse <= high) & (worse != best)).all()
    assert find(metric.name) is metric


def test_an_unknown_metric_is_told_the_nearest_name():
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        find("sim")
