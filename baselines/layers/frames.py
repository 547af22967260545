"""Frames to embeddings and back: the DCGAN encoder and decoder of Denton and Fergus (ICML 2018), for any size."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from baselines.layers.convolutions import UnfoldingConvTranspose2d, normed, summary
from mmnist_av.system.errors import InputError


def frame_widths(size: int) -> list[int]:
    """Channels after each halving of a DCGAN encoder for `size` x `size` frames: 48 -> 64-128-256, 64 -> ...-512."""
    widths: list[int] = []
    left = size
    while left > 7:
        if left % 2:
            raise InputError(f"frames of {size} px do not halve evenly down to 7 px or less, as those of 48, 64, 96 do")
        left //= 2
        widths.append(64 * 2 ** min(len(widths), 3))
    return widths


class FrameEncoder(nn.Module):
    """Frames to embeddings, and the skip features of every scale."""

    def __init__(self, frame: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        channels, size, _ = frame
        widths = frame_widths(size)
        self.halvings = nn.ModuleList(
            normed(nn.Conv2d(a, b, 4, 2, 1), b) for a, b in zip([channels, *widths], widths, strict=False)
        )
        left = size >> len(widths)
        self.summary = summary(widths[-1], embedding, (left, left))

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, C, H, W) -> embeddings (N, embedding), skips [(N, 64, H/2, W/2), ...]."""
        skips = []
        features = frames.contiguous(memory_format=torch.channels_last)
        for halve in self.halvings:
            features = halve(features)
            skips.append(features)
        return self.summary(features), skips


class DoublingConvolution(nn.Module):
    """A transposed convolution over concat(features, skip), as the sum of its two halves.

    The skip comes from the last seen frame and stays the same for all steps and futures of a clip, so its half is
    computed once a clip and added. Without skips (skip = 0) it is the transposed convolution alone.
    """

    def __init__(self, features: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.of_features = nn.ConvTranspose2d(features, outputs, 4, 2, 1, bias=skip == 0)
        if skip:
            self.of_skip = nn.ConvTranspose2d(skip, outputs, 4, 2, 1)

    def forward(self, features: Tensor, skip_half: Tensor | None) -> Tensor:
        """(B * n, features, h, w) and the skip's half (B, outputs, 2h, 2w) -> (B * n, outputs, 2h, 2w)."""
        if skip_half is None:
            return self.of_features(features)
        halves = self.of_features(features).unflatten(0, (skip_half.shape[0], -1))
        return (halves + skip_half[:, None]).flatten(0, 1)


class FrameDecoder(nn.Module):
    """Embeddings to frames, with the last seen frame's skips or without."""

    def __init__(self, frame: tuple[int, int, int], embedding: int, skips: bool = True) -> None:
        super().__init__()
        channels, size, _ = frame
        widths = frame_widths(size)[::-1]
        left = size >> len(widths)
        self.start = normed(UnfoldingConvTranspose2d(embedding, widths[0], left), widths[0])
        outputs = [*widths[1:], channels]
        self.doublings = nn.ModuleList(
            DoublingConvolution(a, a if skips else 0, b) for a, b in zip(widths, outputs, strict=True)
        )
        self.norms = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)) for b in outputs[:-1]
        )

    def of_skips(self, skips: list[Tensor]) -> list[Tensor]:
        """What the skips add at each scale, once a clip: (B, ...) features, finest first, to (B, ...) halves."""
        doublings = cast(list[DoublingConvolution], list(self.doublings))
        return [double.of_skip(skip) for double, skip in zip(doublings, reversed(skips), strict=True)]

    def of_steps(self, skips: list[Tensor], first: int, last: int, source: int) -> list[Tensor]:
        """The same for predictions of frames `first` .. `last`, each with the skips of the frame before it, at most
        those of frame `source`: (B, n, ...) features of frames 0 .. n-1 to (B, ...) halves where that is one frame
        for all, else to (B * steps, ...).
        """
        if first > source:
            return self.of_skips([skip[:, source] for skip in skips])
        halves = self.of_skips([skip[:, first - 1 : source + 1].flatten(0, 1) for skip in skips])
        before = torch.arange(last - first + 1, device=halves[0].device).clamp(max=source + 1 - first)
        clips = len(skips[0])
        return [half.unflatten(0, (clips, -1))[:, before].flatten(0, 1) for half in halves]

    def forward(self, outputs: Tensor, skip_halves: Sequence[Tensor] = ()) -> Tensor:
        """(B * n, embedding) and the B clips' skip halves, if any -> frames (B * n, C, H, W) in [0, 1], float32."""
        halves: Sequence[Tensor | None] = skip_halves or [None] * len(self.doublings)
        features = self.start(outputs[:, :, None, None].contiguous(memory_format=torch.channels_last))
        *doublings, last = self.doublings.children()
        for double, norm, half in zip(doublings, self.norms, halves, strict=False):
            features = norm(double(features, half))
        return torch.sigmoid(last(features, halves[-1]).float())
