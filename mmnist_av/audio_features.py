"""Audio features: what a model receives of the sound of each frame."""

from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked

if TYPE_CHECKING:  # torch is imported where audio is transformed: tables that name features are read without it
    from torch import Tensor

_FULL_SCALE = 32768  # int16


class AudioFeatures(Protocol):
    """Features of the sound of single frames. The features of a frame depend on its own samples only."""

    def shape(self, samples_per_frame: int) -> tuple[int, int]:
        """Return (bins, columns) of the features of a frame of so many samples; InputError if these are too few."""

    def __call__(self, audio: "Tensor") -> "Tensor":
        """Return the features (..., bins, columns) float32 of frames (..., samples) int16, on the same device.

        Raises InputError if a frame has too few samples.
        """


@checked
class Spectrogram:
    """log(1 + magnitude) of a frame's short-time Fourier transform: centred, Hann window, reflected at both ends.

    Raises InputError for settings that no spectrogram has.
    """

    n_fft: Annotated[int, Field(ge=2)]  # samples of a window, and of its Fourier transform
    hop: Annotated[int, Field(ge=1)]  # samples between windows
    bins: Annotated[int, Field(ge=1)]  # frequencies to keep, from 0 Hz up, of n_fft // 2 + 1

    def __post_init__(self) -> None:
        if self.bins > self.n_fft // 2 + 1:
            raise InputError(f"bins must be at most {self.n_fft // 2 + 1} for n_fft {self.n_fft}, not {self.bins}")

    def shape(self, samples_per_frame: int) -> tuple[int, int]:
        """Return (bins, columns) of the spectrogram of a frame.

        Raises InputError if a frame is not longer than half a window, since that much is reflected.
        """
        if samples_per_frame <= self.n_fft // 2:
            raise InputError(f"a frame of {samples_per_frame} samples is too short for windows of {self.n_fft}")
        return self.bins, 1 + samples_per_frame // self.hop

    def __call__(self, audio: "Tensor") -> "Tensor":
        """Return the spectrograms of frames, as AudioFeatures says; all values are at least 0. Raises as `shape`."""
        import torch

        samples = audio.shape[-1]
        shape = self.shape(samples)
        scaled = audio.reshape(-1, samples).to(torch.float32) / _FULL_SCALE
        window = torch.hann_window(self.n_fft, periodic=True, device=audio.device)
        waves = torch.stft(
            scaled, self.n_fft, self.hop, window=window, center=True, pad_mode="reflect", return_complex=True
        )
        return waves[:, : self.bins].abs().log1p().reshape(*audio.shape[:-1], *shape)
