"""Small models, for tests in which a model's size decides nothing."""

from contextlib import contextmanager

import pytest

from baselines import registry
from baselines.layers import audio, frames

THIN = {"embedding": "16", "hidden": "16", "transformer_width": "16", "feedforward": "16"}
COARSE = {"particles": "100", "directions": "30"}  # of the references
frame_channels, CHANNELS = frames.frame_channels, audio.CHANNELS


@contextmanager
def narrow(part=8):
    """Build models with an eighth (1 / part) of the channels in the encoders and decoders of frames and audio."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "frame_channels", lambda size: [each // part for each in frame_channels(size)])
        patch.setattr(audio, "CHANNELS", (1, *(each // part for each in CHANNELS[1:])))
        yield


def thin(name):
    """Settings with which the model called `name` is small."""
    config = registry.configure(name, {})
    return {key: value for key, value in {**THIN, **COARSE}.items() if hasattr(config, key)}
