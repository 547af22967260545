"""Inception's features compared with torch-fidelity's, on random weights."""

import pytest
import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torchvision.models import inception_v3

from benchmark.networks import inception
from benchmark.networks.inception import load_inception
from mmnist_av.system.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    drawn = inception_v3(num_classes=1008, aux_logits=False, init_weights=False).state_dict()
    louder = 6**0.5  # torch's own weights would let 94 layers fade to nothing
    return {name: value * louder if name.endswith("conv.weight") else value for name, value in drawn.items()}


@pytest.fixture(scope="module")
def features(state):
    return load_inception(state, CPU)


@pytest.fixture(scope="module")
def fidelity(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(state, path)
    return FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path=str(path))


def pictures(*shape, seed=0):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 1, 48, 48), (2, 3, 64, 96)], ids=str)
def test_features_equal_torch_fidelitys(features, fidelity, shape):
    levels = pictures(*shape)
    (expected,) = fidelity(levels.expand(-1, 3, -1, -1))
    assert expected.std(0).max() > 0.01  # of the frames, not of the weights alone
    result = features(levels.float() / 255)
    assert result.shape == (shape[0], 2048)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_frames_are_rounded_to_the_nearest_level(features):
    levels = pictures(1, 1, 48, 48).float()
    jitter = torch.rand(levels.shape, generator=torch.Generator().manual_seed(1)) * 0.9 - 0.45
    assert torch.equal(features(((levels + jitter) / 255).clamp(0, 1)), features(levels / 255))


def test_batches_of_bounded_size_change_nothing_and_training_leaves_no_trace(features, monkeypatch):
    frames = pictures(5, 1, 48, 48).float() / 255
    expected = features(frames)
    monkeypatch.setattr(inception, "FRAMES_AT_ONCE", 2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(features(frames), expected, rtol=1e-5, atol=1e-5)


def test_loading_leaves_the_random_state_as_it_was(state):
    before = torch.get_rng_state()
    load_inception(state, CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.rand(3, 48, 48), "frames .N, C, H, W. expected"),
        (torch.rand(1, 2, 48, 48), "frames: .* expected"),
        (torch.rand(1, 1, 48, 48) + 0.5, "frames: values in"),
    ],
)
def test_other_frames_are_refused(features, frames, message):
    with pytest.raises(InputError, match=message):
        features(frames)
