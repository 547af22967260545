"""Audio-only against a plain recomputation."""

from dataclasses import replace

import pytest
import torch

from baselines.audio_only import AudioOnly, AudioOnlyConfig
from baselines.predictor import Batch, ClipShape, Progress
from mmnist_av.system.errors import InputError

SMALL = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
TOTAL = 6


def model(**settings):
    torch.manual_seed(0)
    return AudioOnly(SMALL, replace(AudioOnlyConfig(), **settings))


def batch(clips=2):
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(clips, TOTAL, *SMALL.frame, generator=generator)
    return Batch(frames, torch.rand(clips, TOTAL, *SMALL.audio, generator=generator), 2)


def test_frames_are_generated_one_by_one_from_the_audio_encoders_last_state():
    network, given = model().eval(), batch()
    with torch.no_grad():
        state = None
        for t in range(TOTAL):
            _, state = network.encoder(network.audio_encoder(given.audio[:, t])[:, None], state)
        output, frames = torch.zeros(2, 1, 128), []
        for _ in range(TOTAL):
            hidden, state = network.decoder(output, state)
            output = torch.tanh(network.leave_decoder(hidden))
            frames.append(network.frame_decoder(output[:, 0]))
        expected = torch.stack(frames, 1)
        torch.testing.assert_close(network.generate(given.audio), expected, atol=1e-5, rtol=1e-4)
        loss = network.losses(given, Progress(0, 0))["generator"].total
    by_hand = sum(((expected[b, t] - given.frames[b, t]) ** 2).sum() / 256 for b in range(2) for t in range(TOTAL))
    torch.testing.assert_close(loss, by_hand / 2, rtol=1e-4, atol=1e-5)


def test_the_first_frame_depends_on_the_last_audio(lively):
    """A sequence-to-sequence model encodes all audio before it generates the first frame."""
    network, given = lively(model()).eval(), batch()
    audio = given.audio.clone()
    audio[:, -1] += 3
    assert not torch.equal(network.generate(given.audio)[:, 0], network.generate(audio)[:, 0])


@pytest.mark.parametrize("settings", [{"layers": 0}, {"learning_rate": -1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        AudioOnlyConfig(**settings)
