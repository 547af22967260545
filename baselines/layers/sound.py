"""Spectrograms to embeddings."""

from typing import cast

import torch
from torch import Tensor, nn

from baselines.layers.convolutions import HalvingConv2d, normed, summary
from mmnist_av.system.errors import InputError


def extent_after(extent: int, kernel: int, stride: int, padding: int) -> int:
    """Pixels along an axis after a convolution."""
    return (extent + 2 * padding - kernel) // stride + 1


class AudioEncoder(nn.Module):
    """One frame's spectrogram to an embedding (kernels, strides and widths of Sound2Sight's released encoders).

    Spectrograms at least twice as high as wide are those of real video: there the first two convolutions halve the
    bins, too.
    """

    def __init__(self, audio: tuple[int, int], embedding: int) -> None:
        super().__init__()
        bins, columns = audio
        if bins >= 2 * columns:
            first, second = nn.Conv2d(1, 64, 4, (2, 1), 0), nn.Conv2d(64, 128, 4, (2, 1), (2, 0))
        else:
            first, second = nn.Conv2d(1, 64, 4, 1, 0), nn.Conv2d(64, 128, 4, 2, 1)
        convolutions = first, second, nn.Conv2d(128, 256, 4, 2, 1), HalvingConv2d(256, 512)
        left = audio
        for each in convolutions:
            left = cast(
                tuple[int, int],
                tuple(map(extent_after, left, each.kernel_size, each.stride, cast(tuple[int, int], each.padding))),
            )
        if min(left) < 1:
            raise InputError(f"spectrograms of {bins} x {columns} are too small for the encoder of sound")
        self.layers = nn.Sequential(
            *(normed(each, each.out_channels) for each in convolutions), summary(512, embedding, left)
        )

    def forward(self, audio: Tensor) -> Tensor:
        """(N, bins, columns) -> (N, embedding)."""
        return self.layers(audio[:, None].contiguous(memory_format=torch.channels_last))
