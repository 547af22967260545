"""The metrics of published weights through the harness, with random weights and smaller networks in their place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import alexnet

from baselines.predictor import Prediction
from benchmark.catalogue import PROTOCOLS, find_metric
from benchmark.metrics import frechet
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.resources import Resources
from benchmark.networks import i3d, inception, weights
from benchmark.networks.alexnet import load_lpips
from benchmark.networks.i3d import load_i3d
from benchmark.networks.inception import FEATURES, load_inception
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.scores import Entry, score_all
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec

CLIPS, SAMPLES, LENGTH = 2, 2, 9
PROTOCOL = replace(PROTOCOLS["m3so-nb"], test_predicted=LENGTH, reported=(6,))
CPU = torch.device("cpu")


class Projection(nn.Module):
    """In the place of torch-fidelity's Inception: projections of the levels of a frame's first channel."""

    def __init__(self, name, features, feature_extractor_weights_path):
        super().__init__()
        self.register_buffer("matrix", torch.load(feature_extractor_weights_path)["matrix"])

    def forward(self, levels):
        return (levels[:, 0].flatten(1).float() @ self.matrix,)


def small_i3d():
    """In the place of I3D: logits of a clip's mean over time, in squares of 28 px."""
    return nn.Sequential(nn.AvgPool3d((LENGTH, 28, 28)), nn.Flatten(), nn.Linear(3 * 8 * 8, i3d.CLASSES))


@pytest.fixture
def states(monkeypatch):
    """Random weights of the networks, which are AlexNet itself and small ones in the place of the others."""
    monkeypatch.setattr(inception, "FeatureExtractorInceptionV3", Projection)
    monkeypatch.setattr(i3d, "i3d", small_i3d)
    torch.manual_seed(0)
    matrix = torch.randn(48 * 48, FEATURES) / 48**2
    return {"alexnet": alexnet().state_dict(), "inception": {"matrix": matrix}, "i3d": small_i3d().state_dict()}


def predicted(index):
    generator = torch.Generator().manual_seed(index)
    return Prediction(torch.rand(1, SAMPLES, LENGTH, 1, 48, 48, generator=generator))


def test_metrics_of_published_weights_are_computed_where_the_weights_are(states, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "read", lambda name, source: states[name])
    monkeypatch.setattr(frechet, "LEAST", 2)
    dataset = generate(tmp_path / "data", Spec(), {"test": CLIPS}, seed=3)
    clips = TargetClips(dataset, "test", PROTOCOL, CLIPS, CPU)
    resources = Resources(device=CPU, clips=CLIPS, weights=tmp_path)
    entry = Entry("theirs", lambda clip: [predicted(clip.index)])
    chosen = [find_metric(name) for name in ("lpips", "fid", "fvd")]
    found = score_all([entry], chosen, clips, resources, tmp_path)["theirs"]
    target, drawn = (torch.cat([each(index) for index in range(CLIPS)]) for each in (lambda i: clips(i).unseen, first))
    frames, videos = load_inception(states["inception"], CPU), load_i3d(states["i3d"], CPU)
    expected = frechet_distance(*(frames(each.flatten(0, 2)) for each in (target, drawn)))
    assert found["fid"] == pytest.approx(expected, rel=1e-4)
    assert found["fvd"] == pytest.approx(frechet_distance(videos(target[:, 0]), videos(drawn[:, 0])), rel=1e-4)
    compare = load_lpips(states["alexnet"], CPU)
    np.testing.assert_allclose(found["lpips"][1], compare(clips(1).unseen, predicted(1).frames)[0], atol=1e-6)
    average = predicted(1).frames.mean(1, keepdim=True)
    np.testing.assert_allclose(found["lpips/mean_frame"][1], compare(clips(1).unseen, average)[0, 0], atol=1e-6)


def first(index):
    return predicted(index).frames[:, :1]
