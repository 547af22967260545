"""What the package's reader reads, and the check of its weights."""

import itertools
from importlib import resources

import numpy as np
import pytest
import torch

from benchmark.metrics import reader
from benchmark.metrics.reader import digit_accuracy, read_digits
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError


def clips(spec, count, split="test"):
    """(N, 1, T, 1, H, W) frames in [0, 1] and (N,) labels of clips of embedded digits."""
    digits = load_pool("embedded")[split]
    truth = simulate(digits, spec, 3, split, np.arange(count))
    frames = torch.from_numpy(render_frames(truth, digits, spec)).float()[:, None, :, None] / 255
    return frames, torch.from_numpy(truth.label[:, 0].astype(np.int64))


@pytest.mark.parametrize(
    "spec",
    [Spec(frames=3), Spec(obstacle=True, frames=3, block_frame=1), Spec(canvas=64, frames=3)],
    ids=["48", "48 with the block", "64"],
)
def test_true_frames_are_read_right(spec):
    frames, label = clips(spec, 150)
    assert digit_accuracy(label, frames).mean() > 0.93


def test_faint_and_slightly_averaged_frames_are_read_too_and_wrong_ones_are_not():
    frames, label = clips(Spec(frames=3), 100)
    assert digit_accuracy(label, frames * 0.5).mean() > 0.9
    average = sum(frames.roll(step, -1) for step in (-1, 0, 1)) / 3
    assert digit_accuracy(label, average).mean() > 0.85
    assert digit_accuracy((label + 1) % 10, frames).mean() < 0.05
    assert digit_accuracy(label, torch.zeros_like(frames)).mean() < 0.3


def test_the_score_is_1_where_the_class_read_is_the_clips_own():
    frames, label = clips(Spec(frames=4), 6)
    samples = torch.cat([frames, frames.roll(1, 0), torch.rand_like(frames)], 1)
    result = digit_accuracy(label.to(torch.uint8), samples)
    assert result.shape == (6, 3, 4)
    assert result.dtype == torch.float64
    for b, k, t in itertools.product(range(6), range(3), range(4)):
        assert result[b, k, t].item() == (read_digits(samples[b, k, t][None]).item() == label[b].item())


def test_the_class_read_does_not_depend_on_the_frames_beside_it():
    frames = torch.rand(75, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    whole = read_digits(frames)
    assert whole.dtype == torch.int64
    assert torch.equal(whole[3:40], read_digits(frames[3:40]))
    assert [whole[5].item(), whole[70].item()] == read_digits(frames[[5, 70]]).tolist()


def test_colour_is_read_by_its_mean_over_channels():
    colour = torch.rand(40, 3, 30, 33)
    assert torch.equal(read_digits(colour), read_digits(colour.mean(1, keepdim=True)))


def test_autocast_does_not_change_the_classes_read():
    frames = torch.rand(64, 1, 48, 48)
    expected = read_digits(frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(expected, read_digits(frames))


def test_the_weights_are_small_and_other_weights_are_refused(monkeypatch):
    assert len(resources.files("benchmark.metrics").joinpath(reader.WEIGHTS).read_bytes()) < 300_000
    reader._reader.cache_clear()
    with monkeypatch.context() as other:
        other.setattr(reader, "WEIGHTS_SHA256", "0" * 64)
        with pytest.raises(InputError, match="not the package's own"):
            read_digits(torch.zeros(1, 1, 48, 48))
    read_digits(torch.zeros(1, 1, 48, 48))


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        (torch.tensor([1]), torch.zeros(1, 2, 1, 48, 48), "float frames .B, K, T, C, H, W. expected"),
        (torch.tensor([1, 2]), torch.zeros(1, 1, 2, 1, 48, 48), "labels .B,. for a prediction"),
        (torch.tensor([1.0]), torch.zeros(1, 1, 2, 1, 48, 48), "labels: whole numbers"),
        (torch.tensor([10]), torch.zeros(1, 1, 2, 1, 48, 48), "labels: whole numbers"),
        (torch.tensor([1]), torch.zeros(1, 1, 2, 1, 48, 48).byte(), "float frames"),
        (torch.tensor([1]), torch.zeros(1, 0, 2, 1, 48, 48), "no frames"),
        (torch.tensor([1]), torch.full((1, 1, 2, 1, 48, 48), torch.nan), "values in"),
        (torch.tensor([1]), torch.full((1, 1, 2, 1, 48, 48), 1.5), "values in"),
    ],
)
def test_wrong_labels_shapes_types_and_values_are_refused(label, prediction, message):
    with pytest.raises(InputError, match=message):
        digit_accuracy(label, prediction)
