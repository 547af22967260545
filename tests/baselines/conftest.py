"""Models of their full sizes: tests of the harness in the same process build narrow ones."""

import pytest

from baselines.layers import audio, frames
from narrow import CHANNELS, frame_channels


@pytest.fixture(scope="module", autouse=True)
def full_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "frame_channels", frame_channels)
        patch.setattr(audio, "CHANNELS", CHANNELS)
        yield
