"""Movies keep their colours."""

import imageio_ffmpeg
import numpy as np

from mmnist_av.preview.movie import write_movie


def test_a_colour_movie_shows_its_colours(tmp_path):
    colours = np.array([[200, 30, 40], [20, 180, 60], [10, 50, 220]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 32, 48, 3))
    write_movie(tmp_path / "x.mp4", frames, 10, ["-c:v", "libx264rgb", "-qp", "0"])
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    assert next(reader)["size"] == (48, 32)
    shown = np.stack([np.frombuffer(frame, np.uint8).reshape(32, 48, 3) for frame in reader])
    np.testing.assert_array_equal(shown, frames)
