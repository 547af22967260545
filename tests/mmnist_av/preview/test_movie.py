"""Movies keep their colours, and lossless ones every byte."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from mmnist_av.exchange.codecs import to_wav
from mmnist_av.exchange.separate_files import LOSSLESS
from mmnist_av.preview.movie import read_movie, write_movie


def test_a_colour_movie_shows_its_colours(tmp_path):
    colours = np.array([[200, 30, 40], [20, 180, 60], [10, 50, 220]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 32, 48, 3))
    write_movie(tmp_path / "x.mp4", frames, 10, ["-c:v", "libx264rgb", "-qp", "0"])
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    assert next(reader)["size"] == (48, 32)
    shown = np.stack([np.frombuffer(frame, np.uint8).reshape(32, 48, 3) for frame in reader])
    np.testing.assert_array_equal(shown, frames)


def test_a_colon_in_the_name_of_a_movie_and_its_sound_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.zeros((4, 16, 16), np.uint8)
    movie, sound = Path("http:x.mp4"), Path("concat:x.wav")
    sound.write_bytes(to_wav(np.zeros(400, np.int16), 1000))
    write_movie(movie, frames, 10, [*LOSSLESS[1], "-c:a", "aac"], sound)
    np.testing.assert_array_equal(read_movie(movie, 16, 16, 1, most=4), frames)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_lossless_movie_is_read_back(tmp_path, channels):
    shape = (4, 17, 23) if channels == 1 else (4, 17, 23, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_movie(tmp_path / "x.mp4", frames, 30, LOSSLESS[channels])
    np.testing.assert_array_equal(read_movie(tmp_path / "x.mp4", 17, 23, channels, most=4), frames)
    with pytest.raises(OSError, match="has no frames of 40x40 px"):
        read_movie(tmp_path / "x.mp4", 40, 40, channels, most=4)
