"""Frames to embeddings and back: the DCGAN encoder and decoder of Denton and Fergus (ICML 2018), for any size."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from baselines.layers.convolutions import (
    UnfoldingConvTranspose2d,
    convolution_block,
    embedding_block,
    norm_and_relu,
)
from mmnist_av.system.errors import InputError


def frame_channels(size: int) -> list[int]:
    """Return the channels after each halving of a `size` x `size` frame: 64-128-256 for 48, 64-128-256-512 for 64.

    Raises InputError for sizes that do not halve evenly down to 7 px or less.
    """
    channels: list[int] = []
    left = size
    while left > 7:
        if left % 2:
            raise InputError(f"frames of {size} px do not halve evenly down to 7 px or less, as those of 48, 64, 96 do")
        left //= 2
        channels.append(64 * 2 ** min(len(channels), 3))
    return channels


class FrameEncoder(nn.Module):
    """Embeds frames, and returns the features of every scale for the decoder's skip connections."""

    def __init__(self, frame: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        colours, size, _ = frame
        channels = frame_channels(size)
        self.halvings = nn.ModuleList(
            convolution_block(nn.Conv2d(a, b, 4, 2, 1), b) for a, b in zip([colours, *channels], channels, strict=False)
        )
        left = size >> len(channels)
        self.summary = embedding_block(channels[-1], embedding, (left, left))

    @override
    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return embeddings (N, embedding) of frames (N, C, H, W), and skips [(N, 64, H/2, W/2), ...]."""
        skips = []
        features = frames.contiguous(memory_format=torch.channels_last)
        for halve in self.halvings:
            features = halve(features)
            skips.append(features)
        return self.summary(features), skips


class DoublingConvolution(nn.Module):
    """A transposed convolution over concat(features, skip), computed as the sum of its two halves.

    The skip is that of the last seen frame for all unseen frames and all samples of a clip, so its half is computed
    once a clip. Without a skip (skip = 0) this is the transposed convolution of the features alone.
    """

    def __init__(self, features: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.of_features = nn.ConvTranspose2d(features, outputs, 4, 2, 1, bias=skip == 0)
        if skip:
            self.of_skip = nn.ConvTranspose2d(skip, outputs, 4, 2, 1)

    @override
    def forward(self, features: Tensor, convolved_skip: Tensor | None) -> Tensor:
        """Return (B * n, outputs, 2h, 2w) for features (B * n, channels, h, w) of n frames of each of B clips.

        convolved_skip: `of_skip` of the B clips' skips, (B, outputs, 2h, 2w).
        """
        if convolved_skip is None:
            return self.of_features(features)
        convolved = self.of_features(features).unflatten(0, (convolved_skip.shape[0], -1))
        return (convolved + convolved_skip[:, None]).flatten(0, 1)


class FrameDecoder(nn.Module):
    """Decodes embeddings to frames, with skip connections from an encoder or without."""

    def __init__(self, frame: tuple[int, int, int], embedding: int, skips: bool = True) -> None:
        super().__init__()
        colours, size, _ = frame
        channels = frame_channels(size)[::-1]
        outputs = [*channels[1:], colours]
        left = size >> len(channels)
        self.start = convolution_block(UnfoldingConvTranspose2d(embedding, channels[0], left), channels[0])
        self.doublings = nn.ModuleList(
            DoublingConvolution(a, a if skips else 0, b) for a, b in zip(channels, outputs, strict=True)
        )
        self.norms = nn.ModuleList(nn.Sequential(*norm_and_relu(each)) for each in outputs[:-1])

    def convolve_skips(self, skips: list[Tensor]) -> list[Tensor]:
        """Return the skips' halves of the transposed convolutions, in the decoder's order.

        skips: (N, ...) of every scale, finest first, as FrameEncoder returns them. Where all frames of a clip share
        one skip, this is computed once a clip.
        """
        doublings = cast(list[DoublingConvolution], list(self.doublings))
        return [double.of_skip(skip) for double, skip in zip(doublings, reversed(skips), strict=True)]

    def convolve_skips_of_steps(self, skips: list[Tensor], first: int, last: int, source: int) -> list[Tensor]:
        """Return the convolved skips for the predictions of frames `first` .. `last`.

        A frame's prediction has the skips of the frame before it, but never of a frame after `source`.

        skips: (B, n, ...) of frames 0 .. n-1. The result has B rows where all predictions share the skips of frame
        `source`, else B * (last - first + 1).
        """
        if first > source:
            return self.convolve_skips([skip[:, source] for skip in skips])
        convolved = self.convolve_skips([skip[:, first - 1 : source + 1].flatten(0, 1) for skip in skips])
        frame_before = torch.arange(last - first + 1, device=convolved[0].device).clamp(max=source + 1 - first)
        clips = len(skips[0])
        return [each.unflatten(0, (clips, -1))[:, frame_before].flatten(0, 1) for each in convolved]

    @override
    def forward(self, embeddings: Tensor, convolved_skips: Sequence[Tensor] = ()) -> Tensor:
        """Return frames (B * n, C, H, W) in [0, 1], float32, of embeddings (B * n, embedding).

        convolved_skips: of B clips or of B * n frames; see convolve_skips. Empty for a decoder without skips.
        """
        skips: Sequence[Tensor | None] = convolved_skips or [None] * len(self.doublings)
        features = self.start(embeddings[:, :, None, None].contiguous(memory_format=torch.channels_last))
        *doublings, last = self.doublings.children()
        for double, norm, skip in zip(doublings, self.norms, skips, strict=False):
            features = norm(double(features, skip))
        return torch.sigmoid(last(features, skips[-1]).float())
