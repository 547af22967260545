"""Movies in and out, by the ffmpeg that imageio-ffmpeg brings along."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray


def write_movie(
    path: Path, frames: NDArray[np.uint8], fps: int, options: Sequence[str], sound: Path | None = None
) -> None:
    """Write frames, (T, H, W) grey or (T, H, W, 3) colour, and the sound of a .wav file; an .mp4.

    `options` are ffmpeg's for the output. Raises OSError, with ffmpeg's last word, where it fails.
    """
    height, width = frames.shape[1:3]
    pixels = "gray" if frames.ndim == 3 else "rgb24"
    video = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    audio = [] if sound is None else ["-i", str(sound)]
    _ffmpeg([*video, *audio, *options, "-f", "mp4", str(path)], np.ascontiguousarray(frames).tobytes(), path)


def read_movie(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The grey frames (T, H, W) of a movie. Raises OSError where it cannot be read, or has another size."""
    pixels = _ffmpeg(["-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"], b"", path)
    if not pixels or len(pixels) % (height * width):
        raise OSError(f"{path} has no frames of {width}x{height} px")
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width)


def _ffmpeg(arguments: Sequence[str], content: bytes, path: Path) -> bytes:
    line = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *arguments]
    done = subprocess.run(line, input=content, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"ffmpeg failed on {path}: {told[-1] if told else f'exit code {done.returncode}'}")
    return done.stdout
