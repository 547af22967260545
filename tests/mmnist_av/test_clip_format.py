"""Formats of clips that can be."""

import pytest

from mmnist_av.clip_format import ClipFormat
from mmnist_av.system.errors import InputError

SMALL = ClipFormat(frames=6, channels=3, height=16, width=24, fps=30, sample_rate=44100)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": 2}, "channels must be 1 or 3, not 2"),
        ({"frames": 0}, "frames must be at least 1, not 0"),
        ({"width": 2.5}, "width must be a whole number, not 2.5"),
        ({"fps": 32}, "fps 32 does not divide the 44100 samples"),
    ],
)
def test_impossible_formats_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        ClipFormat(**{**SMALL.as_dict(), **changed})
