"""The audio encoder at every size of audio features."""

import pytest
import torch
from torch import nn

from baselines.layers.audio import AudioEncoder

RELEASED_LAYERS = {  # kernel, stride, padding of the released encoders' four convolutions
    "m3so": [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
    "video": [(4, (2, 1), 0), (4, (2, 1), (2, 0)), (4, 2, 1), (4, 2, 1)],
}


def released(kind, audio):
    """The released encoder written down layer by layer, with a last convolution over what is left."""
    layers, channels, size = [], (1, 64, 128, 256, 512), torch.zeros(1, 1, *audio)
    for inputs, outputs, layer in zip(channels, channels[1:], RELEASED_LAYERS[kind], strict=False):
        layers.append(
            nn.Sequential(nn.Conv2d(inputs, outputs, *layer), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))
        )
        size = layers[-1][0](size.expand(1, inputs, *size.shape[2:])[:, :inputs])[:, :1]
    last = nn.Conv2d(512, 128, tuple(size.shape[2:]))
    return nn.Sequential(*layers, nn.Sequential(last, nn.BatchNorm2d(128), nn.Tanh(), nn.Flatten()))


@pytest.mark.parametrize(
    ("kind", "audio"),
    [
        ("m3so", (41, 21)),
        ("m3so", (23, 21)),
        ("m3so", (11, 11)),
        ("m3so", (15, 17)),
        ("video", (93, 16)),
        ("video", (45, 17)),
    ],
)
def test_where_the_released_encoders_fit_the_parameters_and_embeddings_are_theirs(kind, audio):
    ours, theirs = AudioEncoder(audio, 128).eval(), released(kind, audio).eval()
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    ours.layers.load_state_dict(theirs.state_dict())
    features = torch.rand(2, *audio)
    torch.testing.assert_close(ours(features), theirs(features[:, None]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("audio", [(64, 1), (1, 64), (1, 1), (64, 2), (80, 3), (5, 5), (3, 40), (10, 11), (128, 4)])
def test_short_axes_fit_too_and_every_value_counts(audio):
    torch.manual_seed(0)
    encoder = AudioEncoder(audio, 32).eval()
    features = torch.rand(1, *audio)
    gradient = torch.autograd.functional.jacobian(lambda x: encoder(x).sum(), features)
    assert encoder(features).shape == (1, 32)
    used = (gradient != 0).float().mean()
    assert used == 1 if min(audio) == 1 else used > 0.8  # strides leave out the last values of some lengths


def test_short_axes_learn():
    encoder = AudioEncoder((64, 1), 32)
    encoder(torch.rand(4, 64, 1)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())
