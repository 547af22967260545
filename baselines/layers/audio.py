"""Audio features to embeddings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from baselines.layers.convolutions import HalvingConv2d, convolution_block, embedding_block

Layer = tuple[int, int, int]  # kernel, stride and padding along one axis

KERNEL = 4
CHANNELS = (1, 64, 128, 256, 512)

# Stride and padding, along one axis, of the four convolutions of Sound2Sight's released audio encoders.
M3SO_BINS = M3SO_COLUMNS = ((1, 0), (2, 1), (2, 1), (2, 1))
VIDEO_BINS = ((2, 0), (2, 2), (2, 1), (2, 1))
VIDEO_COLUMNS = ((1, 0), (1, 0), (2, 1), (2, 1))


def fit_axis(length: int, layers: Sequence[tuple[int, int]]) -> tuple[list[Layer], int]:
    """Return kernel, stride and padding of every convolution along an axis of `length`, and the length after the last.

    layers: stride and padding of each. A convolution whose kernel does not fit keeps the length: its kernel is 1.
    """
    fitted: list[Layer] = []
    for stride, padding in layers:
        output = (length + 2 * padding - KERNEL) // stride + 1
        if output >= 1:
            fitted.append((KERNEL, stride, padding))
            length = output
        else:
            fitted.append((1, 1, 0))
    return fitted, length


def fitted_convolution(inputs: int, outputs: int, bins: Layer, columns: Layer) -> nn.Conv2d:
    """Return a convolution with kernel, stride and padding along bins and along columns."""
    if outputs == CHANNELS[-1] and bins == columns == (KERNEL, 2, 1):
        return HalvingConv2d(inputs, outputs)  # the same convolution, faster on maps of a few pixels
    kernel, stride, padding = zip(bins, columns, strict=True)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


class AudioEncoder(nn.Module):
    """Embeds the audio features of one frame by Sound2Sight's released encoders, for any number of bins and columns.

    Features with at least twice as many bins as columns get the encoder for real video, whose first two convolutions
    halve the bins only; all others get M3SO's.
    """

    def __init__(self, audio: tuple[int, int], embedding: int) -> None:
        super().__init__()
        is_video = audio[0] >= 2 * audio[1]
        bins, bins_left = fit_axis(audio[0], VIDEO_BINS if is_video else M3SO_BINS)
        columns, columns_left = fit_axis(audio[1], VIDEO_COLUMNS if is_video else M3SO_COLUMNS)
        convolutions = [
            fitted_convolution(inputs, outputs, *axes)
            for inputs, outputs, *axes in zip(CHANNELS, CHANNELS[1:], bins, columns, strict=False)
        ]
        self.layers = nn.Sequential(
            *(convolution_block(convolution, convolution.out_channels) for convolution in convolutions),
            embedding_block(CHANNELS[-1], embedding, (bins_left, columns_left)),
        )

    @override
    def forward(self, audio: Tensor) -> Tensor:
        """Return the embeddings (N, embedding) of audio features (N, bins, columns)."""
        return self.layers(audio[:, None].contiguous(memory_format=torch.channels_last))
