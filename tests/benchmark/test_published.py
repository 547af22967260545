"""The metrics of published weights through the harness, with random weights in their place."""

import numpy as np
import pytest
import torch
from torchvision.models import alexnet, inception_v3

from baselines.predictor import Prediction
from benchmark import metrics
from benchmark.metrics import frechet
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.perceptual import load_lpips
from benchmark.metrics.resources import Setting
from benchmark.networks import weights
from benchmark.networks.i3d import i3d, load_i3d
from benchmark.networks.inception import load_inception
from benchmark.protocols import PROTOCOLS
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.scores import Contender, score_all
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec

CLIPS, SAMPLES, LENGTH = 3, 2, 20
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def states():
    torch.manual_seed(0)
    inception = inception_v3(num_classes=1008, aux_logits=False, init_weights=False).state_dict()
    return {"alexnet": alexnet().state_dict(), "inception": inception, "i3d": i3d().state_dict()}


def futures(index):
    generator = torch.Generator().manual_seed(index)
    return Prediction(torch.rand(1, SAMPLES, LENGTH, 1, 48, 48, generator=generator))


def test_they_are_had_where_their_weights_are(states, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "read", lambda name, source: states[name])
    for module in (metrics, frechet):
        monkeypatch.setattr(module, "LEAST", 2)
    dataset = generate(tmp_path / "data", Spec(), {"test": CLIPS}, seed=3)
    clips = TrueClips(dataset, "test", PROTOCOLS["m3so-nb"], CLIPS, CPU)
    setting = Setting(CPU, CLIPS, 1, weights=tmp_path)
    found = score_all([Contender("theirs", futures)], ["lpips", "fid", "fvd"], clips, setting, tmp_path)["theirs"]
    true, drawn = (torch.cat([each(index) for index in range(CLIPS)]) for each in (lambda i: clips(i).unseen, first))
    frames, videos = load_inception(states["inception"], CPU), load_i3d(states["i3d"], CPU)
    wanted = frechet_distance(*(frames(each.flatten(0, 2)) for each in (true, drawn)))
    assert found["fid"] == pytest.approx(wanted, rel=1e-4)
    assert found["fvd"] == pytest.approx(frechet_distance(videos(true[:, 0]), videos(drawn[:, 0])), rel=1e-4)
    compare = load_lpips(states["alexnet"], CPU)
    np.testing.assert_allclose(found["lpips"][1], compare(clips(1).unseen, futures(1).frames)[0], atol=1e-6)
    average = futures(1).frames.mean(1, keepdim=True)
    np.testing.assert_allclose(found["lpips/mean_frame"][1], compare(clips(1).unseen, average)[0, 0], atol=1e-6)


def first(index):
    return futures(index).frames[:, :1]
