"""The audio features of a protocol: one spectrogram a frame."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mmnist_av.system.errors import InputError

if TYPE_CHECKING:  # at run time only where audio is transformed, so that reading a table does not import torch
    from torch import Tensor

_FULL_SCALE = 32768  # int16


class AudioFeatures(Protocol):
    """What a model is given of the sound of one frame."""

    def shape(self, samples: int) -> tuple[int, int]:
        """Return (bins, columns) of a frame of `samples` samples; InputError where a frame is too short."""

    def __call__(self, audio: "Tensor") -> "Tensor":
        """Return (..., bins, columns) float32 for (..., samples) int16, on the same device."""


@dataclass(frozen=True)
class Spectrogram:
    """log(1 + magnitude) of the centred Hann STFT of a frame's own samples, reflected at the frame's own ends."""

    n_fft: int  # samples of a window, and of its Fourier transform
    hop: int  # samples between windows
    bins: int  # how many of the n_fft // 2 + 1 frequencies are kept, from 0 Hz up

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.hop < 1 or not 1 <= self.bins <= self.n_fft // 2 + 1:
            raise InputError(f"there is no spectrogram of {self.bins} bins of {self.n_fft} samples, hop {self.hop}")

    def shape(self, samples: int) -> tuple[int, int]:
        """(bins, columns) of the spectrogram of a frame of `samples` samples."""
        return self.bins, 1 + samples // self.hop

    def __call__(self, audio: "Tensor") -> "Tensor":
        """(..., samples) int16, a frame a row, to (..., bins, columns) float32, 0 and more, on the same device.

        Raises InputError if a frame is not longer than half a window, which is what is reflected.
        """
        import torch

        samples = audio.shape[-1]
        if samples <= self.n_fft // 2:
            raise InputError(f"a frame of {samples} samples is too short for windows of {self.n_fft}")
        scaled = audio.reshape(-1, samples).to(torch.float32) / _FULL_SCALE
        window = torch.hann_window(self.n_fft, periodic=True, device=audio.device)
        waves = torch.stft(
            scaled, self.n_fft, self.hop, window=window, center=True, pad_mode="reflect", return_complex=True
        )
        return waves[:, : self.bins].abs().log1p().reshape(*audio.shape[:-1], *self.shape(samples))


M3SO_AUDIO = Spectrogram(n_fft=160, hop=40, bins=41)  # what every model hears of M3SO
