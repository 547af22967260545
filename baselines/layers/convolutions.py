"""Convolutions of small maps, and the blocks that DCGAN encoders build from them."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

# Three convolutions computed as matrix products: on maps of a few pixels, a CPU's convolution kernels take 2 to 20
# times as long. Weights and results are those of the torch classes that they extend.


class HalvingConv2d(nn.Conv2d):
    """A 4x4 convolution with stride 2 and padding 1, computed as one matrix product.

    Each 4x4 patch is read as 2x2 neighbouring squares of 2x2 pixels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return the convolution of (N, C, h, w): (N, outputs, h // 2, w // 2)."""
        height, width = features.shape[2] // 2, features.shape[3] // 2
        # stride 2 never reads the padding after an axis of odd length
        right, bottom = 1 - features.shape[3] % 2, 1 - features.shape[2] % 2
        padded = functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right, 1, bottom))
        squares = padded.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3)
        patches = torch.cat([squares[:, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)], -1)
        weight = self.weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).permute(0, 2, 4, 3, 5, 1).flatten(1)
        return functional.linear(patches, weight, self.bias).permute(0, 3, 1, 2)


class WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map, computed as one matrix product."""

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return the convolution of (N, C, *kernel_size): (N, outputs, 1, 1)."""
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return functional.linear(features.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[:, :, None, None]


class UnfoldingConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution from a single pixel to a whole map, computed as one matrix product."""

    @override
    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed convolution of (N, C, 1, 1): (N, outputs, *kernel_size)."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        unfolded = functional.linear(features.flatten(1), weight).unflatten(1, (*self.kernel_size, -1))
        bias = cast(Tensor, self.bias).to(unfolded.dtype)
        return (unfolded + bias).permute(0, 3, 1, 2)


def norm_and_relu(channels: int) -> list[nn.Module]:
    """Return the layers that follow a convolution in a DCGAN: batch norm and leaky ReLU."""
    return [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True)]


def convolution_block(convolution: nn.Module, channels: int) -> nn.Sequential:
    """Return `convolution`, which has `channels` outputs, followed by batch norm and leaky ReLU."""
    return nn.Sequential(convolution, *norm_and_relu(channels))


def embedding_block(channels: int, embedding: int, size: tuple[int, int]) -> nn.Sequential:
    """Return the last block of an encoder: (N, channels, *size) -> (N, embedding), within [-1, 1].

    It is a convolution over the whole map, batch norm and tanh.
    """
    return nn.Sequential(WholeConv2d(channels, embedding, size), nn.BatchNorm2d(embedding), nn.Tanh(), nn.Flatten())
