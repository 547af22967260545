"""LPIPS compared with the package itself, on a random backbone."""

import warnings
from itertools import pairwise

import lpips
import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from benchmark.networks import alexnet as module
from benchmark.networks.alexnet import load_lpips
from mmnist_av.system.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return alexnet().state_dict()


@pytest.fixture(scope="module")
def compare(backbone):
    return load_lpips(backbone, CPU)


@pytest.fixture(scope="module")
def package():
    torch.manual_seed(
        0
    )  # it draws its backbone first, so that it equals `backbone`; the linear layers are the package's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)


def frames(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 48, 48), (3, 64, 64), (3, 31, 90)])
def test_scores_equal_the_packages(compare, package, channels, height, width):
    target, prediction = frames(2, 1, 3, channels, height, width), frames(2, 4, 3, channels, height, width, seed=1)
    result = compare(target, prediction)
    assert result.shape == (2, 4, 3)
    assert result.dtype == torch.float64
    for clip in range(2):
        for sample in range(4):
            sides = (side.expand(-1, 3, -1, -1) for side in (target[clip, 0], prediction[clip, sample]))
            expected = package(*sides, normalize=True).flatten()
            assert (expected > 0.01).all()
            np.testing.assert_allclose(result[clip, sample], expected.detach(), rtol=1e-6)


def test_equal_frames_are_0_apart_and_the_more_noise_the_further(compare):
    target = frames(1, 1, 4, 1, 48, 48)
    noise = frames(1, 1, 4, 1, 48, 48, seed=1)
    result = [compare(target, target.lerp(noise, share)) for share in (0, 0.1, 0.3, 1)]
    assert result[0].tolist() == [[[0.0] * 4]]
    assert all((less < more).all() for less, more in pairwise(result))


def test_a_samples_scores_do_not_depend_on_what_is_scored_beside_it(compare):
    target, prediction = frames(2, 1, 5, 1, 48, 48), frames(2, 6, 5, 1, 48, 48, seed=1)
    whole = compare(target, prediction)
    assert torch.equal(compare(target[1:], prediction[1:, 3:4]), whole[1:, 3:4])
    np.testing.assert_allclose(compare(target[:, :, 2:3], prediction[:, :, 2:3]), whole[:, :, 2:3], rtol=1e-6)


def test_long_clips_are_taken_in_parts_of_bounded_size_and_true_frames_once(backbone, monkeypatch):
    target, prediction = frames(1, 1, 7, 1, 48, 48), frames(1, 3, 7, 1, 48, 48, seed=1)
    expected = load_lpips(backbone, CPU)(target, prediction)
    seen = []
    forward = lpips.pretrained_networks.alexnet.forward
    monkeypatch.setattr(
        lpips.pretrained_networks.alexnet, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 3 * 48 * 48)
    np.testing.assert_allclose(load_lpips(backbone, CPU)(target, prediction), expected, rtol=1e-6)
    assert seen == [3] * 4 + [3] * 4 + [1] * 4


def test_nothing_is_downloaded_and_training_leaves_no_trace(backbone, compare, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("downloads"))
    target, prediction = frames(1, 1, 2, 1, 48, 48), frames(1, 2, 2, 1, 48, 48, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = load_lpips(backbone, CPU)(target, prediction)
    assert torch.equal(result, compare(target, prediction))
    assert not result.requires_grad


def test_loading_leaves_the_random_state_as_it_was(backbone):
    before = torch.get_rng_state()
    load_lpips(backbone, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_linear_layers_that_are_not_the_published_ones_are_refused(backbone, tmp_path, monkeypatch):
    other = tmp_path / "alex.pth"
    other.write_bytes(module.LINEAR.read_bytes()[:-1])
    monkeypatch.setattr(module, "LINEAR", other)
    with pytest.raises(InputError, match=r"alex\.pth is not the published file"):
        load_lpips(backbone, CPU)


GOOD = frames(2, 1, 3, 1, 48, 48)


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        (GOOD[0], GOOD, "target .* and prediction .* expected"),
        (GOOD.expand(-1, 2, -1, -1, -1, -1), GOOD, "target .* and prediction .* expected"),
        (GOOD[:1], GOOD, "target .* and prediction .* expected"),
        (GOOD, GOOD[:, :, :2], "target .* and prediction .* expected"),
        (GOOD[..., :30], GOOD[..., :30], "at least 31x31"),
        (GOOD, (GOOD * 255).byte(), "prediction: .* float frames expected, found .* uint8"),
        (GOOD.expand(-1, -1, -1, 2, -1, -1), GOOD.expand(-1, -1, -1, 2, -1, -1), "target: .*1 or 3, H, W"),
        (GOOD, GOOD + 0.1, r"prediction: values in \[0, 1\] expected, found 0"),
        (GOOD.where(GOOD < 0.9, torch.nan), GOOD, r"target: values in \[0, 1\] expected, found nan"),
        (GOOD[:0], GOOD[:0], "target: .* expected, found"),
    ],
)
def test_wrong_shapes_types_and_values_are_refused(compare, target, prediction, message):
    with pytest.raises(InputError, match=message):
        compare(target, prediction)
