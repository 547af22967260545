"""Convolutions of small maps, and what follows them in a DCGAN."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Three convolutions as matrix products: where maps are a few pixels, a CPU's convolution kernels take 2 to 20 times as
# long. Their weights and results are those of the classes they extend.


class HalvingConv2d(nn.Conv2d):
    """A 4x4 convolution of stride 2 and padding 1 as one product: its patches are 2x2 neighbours of 2x2 squares."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, outputs, h // 2, w // 2)."""
        height, width = features.shape[2] // 2, features.shape[3] // 2
        right, below = 1 - features.shape[3] % 2, 1 - features.shape[2] % 2  # an odd edge's last padding is not read
        padded = functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
        squares = padded.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3)
        patches = torch.cat([squares[:, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)], -1)
        weight = self.weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).permute(0, 2, 4, 3, 5, 1).flatten(1)
        return functional.linear(patches, weight, self.bias).permute(0, 3, 1, 2)


class WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, *kernel_size) -> (N, outputs, 1, 1)."""
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return functional.linear(features.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[:, :, None, None]


class UnfoldingConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution from a single pixel to a whole map."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, 1, 1) -> (N, outputs, *kernel_size)."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        unfolded = functional.linear(features.flatten(1), weight).unflatten(1, (*self.kernel_size, -1))
        bias = cast(Tensor, self.bias).to(unfolded.dtype)
        return (unfolded + bias).permute(0, 3, 1, 2)


def normed(convolution: nn.Module, outputs: int) -> nn.Sequential:
    """The convolution, then batch norm and leaky ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))


def summary(inputs: int, outputs: int, extent: tuple[int, int]) -> nn.Sequential:
    """A convolution over all that is left, batch norm, tanh: (N, inputs, *extent) -> (N, outputs)."""
    return nn.Sequential(WholeConv2d(inputs, outputs, extent), nn.BatchNorm2d(outputs), nn.Tanh(), nn.Flatten())
