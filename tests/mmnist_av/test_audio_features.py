"""Spectrograms against a Fourier transform written as loops."""

import cmath
import math

import numpy as np
import pytest
import torch

from mmnist_av.audio_features import Spectrogram
from mmnist_av.system.errors import InputError


def plain(samples, n_fft, hop, bins):
    """log(1 + |STFT|), centred, periodic Hann, reflected, as loops."""
    half = n_fft // 2
    scaled = [int(sample) / 32768 for sample in samples]
    padded = scaled[half:0:-1] + scaled + scaled[-2 : -half - 2 : -1]
    columns = range(1 + len(scaled) // hop)
    out = np.zeros((bins, len(columns)))
    for column in columns:
        for b in range(bins):
            total = 0j
            for n in range(n_fft):
                window = 0.5 - 0.5 * math.cos(2 * math.pi * n / n_fft)
                total += window * padded[column * hop + n] * cmath.exp(-2j * math.pi * b * n / n_fft)
            out[b, column] = math.log1p(abs(total))
    return out


@pytest.mark.parametrize(
    ("samples", "n_fft", "hop", "bins", "shape"),
    [(800, 160, 40, 41, (41, 21)), (1470, 512, 92, 93, (93, 16)), (100, 30, 7, 16, (16, 15))],
)
def test_a_spectrogram_equals_the_transform_as_loops(samples, n_fft, hop, bins, shape):
    audio = np.random.default_rng(0).integers(-32768, 32768, samples, dtype=np.int16)
    spectrogram = Spectrogram(n_fft, hop, bins)
    ours = spectrogram(torch.from_numpy(audio))
    assert ours.shape == shape == spectrogram.shape(samples)
    assert ours.dtype == torch.float32
    few = 3 if samples > 800 else bins  # the loops are slow
    np.testing.assert_allclose(ours[:few], plain(audio, n_fft, hop, few), atol=2e-5)


def test_features_of_a_frame_depend_on_its_own_samples_only():
    audio = torch.randint(-32768, 32768, (2, 5, 800), dtype=torch.int16)
    changed = audio.clone()
    changed[:, 3] = 0
    before, after = (Spectrogram(160, 40, 41)(sound) for sound in (audio, changed))
    assert before.shape == (2, 5, 41, 21)
    kept = [0, 1, 2, 4]
    assert torch.equal(before[:, kept], after[:, kept])
    assert not torch.equal(before[:, 3], after[:, 3])
    assert torch.allclose(before[1, 2], Spectrogram(160, 40, 41)(audio[1, 2]), atol=1e-5)


def test_silence_is_zero_and_a_tone_stands_in_its_bin():
    n = np.arange(800)
    tone = torch.from_numpy((10000 * np.sin(2 * np.pi * 1000 * n / 8000)).astype(np.int16))
    assert Spectrogram(160, 40, 41)(torch.zeros(800, dtype=torch.int16)).abs().max() == 0
    inside = Spectrogram(160, 40, 41)(tone)[:, 2:-2]  # where nothing is reflected
    assert set(inside.argmax(dim=0).tolist()) == {20}, "bins are 50 Hz apart"


@pytest.mark.parametrize(("n_fft", "hop", "bins"), [(160, 0, 41), (160, 40, 82), (160, 40, 0), (1, 1, 1)])
def test_impossible_spectrograms_are_refused(n_fft, hop, bins):
    with pytest.raises(InputError, match=r"(n_fft|hop|bins) must be"):
        Spectrogram(n_fft, hop, bins)


def test_frames_too_short_for_their_reflection_are_refused():
    with pytest.raises(InputError, match="a frame of 80 samples is too short"):
        Spectrogram(160, 40, 41)(torch.zeros(80, dtype=torch.int16))
