"""What the registry says of metrics holds; those with a truth of their own kind have tests of their own."""

import pytest
import torch

from benchmark.metrics import METRICS, choose, find
from benchmark.metrics.resources import Setting, Unavailable
from benchmark.protocols import PROTOCOLS
from benchmark.scoring.ground_truth import TARGETS
from mmnist_av.system.errors import InputError

SETTING = Setting(torch.device("cpu"), 16, 1)
COMPARED = [metric for metric in METRICS.values() if metric.name in ("psnr", "ssim", "ssim_uniform", "position_error")]


def test_every_metric_has_a_target_and_is_in_a_protocol():
    for metric in METRICS.values():
        assert metric.target in TARGETS
        assert any(metric.name in protocol.metrics for protocol in PROTOCOLS.values())
        assert metric.source


@pytest.mark.parametrize("metric", [*COMPARED, METRICS["block_iou"]], ids=lambda metric: metric.name)
def test_the_facts_of_every_metric_hold(metric):
    target = torch.zeros(2, 1, 4, 1, 48, 48)
    target[..., 16:32, 16:32] = 1
    prediction = torch.rand(2, 3, 4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor([[16, 16]] * 2) if metric.target == "block" else target
    measure = metric.get(SETTING)
    perfect, worse = measure(truth, target.expand_as(prediction)), measure(truth, prediction)
    assert worse.shape == (2, 3, 4 if metric.frames == "all" else 1)
    low, high = metric.range
    best = high if metric.better == "higher" else low
    torch.testing.assert_close(perfect, torch.full_like(perfect, best))
    assert ((worse >= low) & (worse <= high) & (worse != best)).all()
    assert find(metric.name) is metric


@pytest.mark.parametrize("name", ["lpips", "fid", "fvd"])
def test_metrics_without_their_weights_say_how_to_get_them(name, tmp_path):
    with pytest.raises(Unavailable, match="give their folder with --weights DIR, or --weights download"):
        METRICS[name].get(SETTING)
    with pytest.raises(Unavailable, match=f"{name} needs .* it is not in {tmp_path}: download https://"):
        METRICS[name].get(Setting(torch.device("cpu"), 16, 1, weights=tmp_path))


@pytest.mark.parametrize("name", ["bounce_f1", "sync_lag", "digit_accuracy"])
def test_metrics_of_one_digit_are_not_had_of_several(name):
    with pytest.raises(Unavailable, match="only for clips of one digit, these have 2"):
        METRICS[name].get(Setting(torch.device("cpu"), 16, 2))


def test_metrics_are_chosen_by_name_or_as_a_set():
    offered = PROTOCOLS["m3so-nb"].metrics
    assert choose("all", offered) == list(offered)
    assert set(choose("all", offered)) - set(choose("standard", offered)) == {"fooling_rate", "self_similarity_flow"}
    assert choose("ssim, psnr", offered) == ["psnr", "ssim"]
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        choose("psnr,sim", offered)
    with pytest.raises(InputError, match="--metrics block_iou: this protocol has psnr, ssim"):
        choose("block_iou", offered)


def test_an_unknown_metric_is_told_the_nearest_name():
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        find("sim")
