"""The reader's training: its frames, their disturbances, and its folded normalisations."""

import torch
from torch import nn

import train_reader
from benchmark.metrics.reader import Reader, read_digits
from mmnist_av.m3so.digits import load_pool


def test_the_normalisations_are_folded_into_the_convolutions():
    torch.manual_seed(0)
    network = train_reader._normalised(Reader())
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.weight.data, layer.bias.data):
                values.normal_()
            layer.running_var.uniform_(0.5, 2)
    frames = torch.rand(4, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(train_reader._folded(network)(frames), network.eval()(frames))


def test_training_frames_are_labelled_and_disturbed_within_bounds():
    digits = load_pool("embedded")["train"]
    frames, labels = train_reader.frames_and_labels("embedded", digits, 0)
    assert len(frames) == len(labels) == 2 * train_reader.CLIPS["embedded"]
    assert (read_digits(frames) == labels).float().mean() > 0.9
    result = train_reader.disturbed(frames, torch.Generator().manual_seed(0))
    assert result.shape == frames.shape
    assert 0 <= result.min() <= result.max() <= 1 + 1e-6
    assert not torch.equal(result, frames)
    again = train_reader.disturbed(frames, torch.Generator().manual_seed(0))
    assert torch.equal(result, again)


def test_training_is_the_same_twice():
    pools = {"embedded": load_pool("embedded")["train"]}
    one, other = (train_reader.trained(pools, 3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
