"""I3D: Inception-v1 inflated to video. FVD compares its logits.

Source: Carreira and Zisserman 2017, figure 3; the widths are those of Szegedy et al. 2015, table 1. Layers are called
as in the published ports of DeepMind's weights.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.inference import full_precision, levels, rgb
from mmnist_av.system.errors import InputError

CLASSES = 400
SIDE = 224  # px, of the frames that it was trained on
LEAST_FRAMES = 9  # shorter clips leave less than the two time steps that the last pooling needs
FRAMES_AT_ONCE = 64  # bounds memory: some 0.4 GB of activations

Extent = tuple[int, int, int]  # frames, rows, columns

# Channels of an Inception block's branches: 1x1; before 3x3; 3x3; before 5x5 (3x3x3 here); 5x5; after the pooling.
MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def load_i3d(state: Mapping[str, Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function of clips (N, T, C, H, W) float in [0, 1], C 1 (repeated) or 3, T at least 9: their logits.

    state: the state dict of TF Hub's i3d-kinetics-400 (benchmark.networks.weights, "i3d").

    The function returns (N, 400) float32 on the CPU. Frames are rounded to 8 bits, resized to 224x224 (bilinear,
    half-pixel centres, no antialiasing: as PyTorch's ports of FVD do, where the original had TensorFlow 1's resizing)
    and spread over [-1, 1]. Raises InputError for other clips. Source: Unterthiner et al. 2018.
    """
    with torch.random.fork_rng(devices=[]):  # its constructor draws random weights
        network = i3d()
    network.load_state_dict(state)
    network.to(device).eval().requires_grad_(False)

    def logits(clips: Tensor) -> Tensor:
        if clips.ndim != 5 or clips.shape[1] < LEAST_FRAMES:
            least = f"clips (N, T, C, H, W) of at least {LEAST_FRAMES} frames"
            raise InputError(f"fvd needs {least}, found {tuple(clips.shape)}")
        with full_precision(device):
            batches = rgb(clips, "clips").split(max(1, FRAMES_AT_ONCE // clips.shape[1]))
            return torch.cat([network(_prepared(batch.to(device))).cpu() for batch in batches])

    return logits


def _prepared(clips: Tensor) -> Tensor:
    """Return clips (N, T, 3, H, W) in [0, 1] as (N, 3, T, 224, 224) in [-1, 1]."""
    frames = levels(clips).flatten(0, 1).float()
    frames = F.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return (frames / 127.5 - 1).unflatten(0, clips.shape[:2]).transpose(1, 2)


def i3d() -> nn.Sequential:
    """Return the network: clips (N, 3, T, 224, 224) in [-1, 1] to logits (N, 400), averaged over time."""
    blocks = {}
    width = 192
    for name, channels in MIXED.items():
        blocks[name] = Mixed(width, channels)
        width = channels[0] + channels[2] + channels[4] + channels[5]
    return nn.Sequential(
        OrderedDict(
            Conv3d_1a_7x7=Unit(3, 64, (7, 7, 7), (2, 2, 2)),
            MaxPool3d_2a_3x3=SamePool((1, 3, 3), (1, 2, 2)),
            Conv3d_2b_1x1=Unit(64, 64),
            Conv3d_2c_3x3=Unit(64, 192, (3, 3, 3)),
            MaxPool3d_3a_3x3=SamePool((1, 3, 3), (1, 2, 2)),
            Mixed_3b=blocks["3b"],
            Mixed_3c=blocks["3c"],
            MaxPool3d_4a_3x3=SamePool((3, 3, 3), (2, 2, 2)),
            Mixed_4b=blocks["4b"],
            Mixed_4c=blocks["4c"],
            Mixed_4d=blocks["4d"],
            Mixed_4e=blocks["4e"],
            Mixed_4f=blocks["4f"],
            MaxPool3d_5a_2x2=SamePool((2, 2, 2), (2, 2, 2)),
            Mixed_5b=blocks["5b"],
            Mixed_5c=blocks["5c"],
            pool=nn.AvgPool3d((2, 7, 7), stride=1),
            logits=nn.Sequential(OrderedDict(conv3d=nn.Conv3d(width, CLASSES, 1))),
            mean=Mean(),
        )
    )


class Unit(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Extent = (1, 1, 1), stride: Extent = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, T, H, W) for (N, C, T, H, W), each extent divided by the stride and rounded up."""
        return self.bn(self.conv3d(same(x, self.kernel, self.stride))).relu_()


class SamePool(nn.Module):
    """Max pooling with TensorFlow's SAME padding."""

    def __init__(self, kernel: Extent, stride: Extent) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return x (N, C, T, H, W) pooled, each extent divided by the stride and rounded up.

        Padding with 0 does not change the maxima, because x is the output of a ReLU.
        """
        return F.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """An Inception block of four branches."""

    def __init__(self, inputs: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = channels
        self.b0 = Unit(inputs, one)
        self.b1a, self.b1b = Unit(inputs, before_three), Unit(before_three, three, (3, 3, 3))
        self.b2a, self.b2b = Unit(inputs, before_five), Unit(before_five, five, (3, 3, 3))
        self.b3a, self.b3b = SamePool((3, 3, 3), (1, 1, 1)), Unit(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, sum of the branches' channels, T, H, W) for (N, C, T, H, W)."""
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], 1)


class Mean(nn.Module):
    """The mean over time, rows and columns."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) for (N, C, T, H, W)."""
        return x.mean((2, 3, 4))


def same(x: Tensor, kernel: Extent, stride: Extent) -> Tensor:
    """Return x (N, C, T, H, W) padded with zeros as TensorFlow's SAME does: an odd zero goes behind."""
    padding: list[int] = []
    for size, taps, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + taps - size, 0)
        padding = [total // 2, total - total // 2, *padding]  # F.pad takes the last extent first
    return F.pad(x, padding)
