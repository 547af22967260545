"""Read and write movies with the ffmpeg that imageio-ffmpeg installs."""

import errno
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray


def write_movie(
    path: Path, frames: NDArray[np.uint8], fps: int, options: Sequence[str], sound: Path | None = None
) -> None:
    """Write frames, (T, H, W) grey or (T, H, W, 3) colour, and the sound of a .wav file to an .mp4.

    `options` are ffmpeg's options for the output. Raises OSError with the last line of ffmpeg's report if it fails.
    """
    height, width = frames.shape[1:3]
    pixels = _pixels(1 if frames.ndim == 3 else 3)
    video = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    audio = [] if sound is None else ["-i", _url(sound)]
    _ffmpeg([*video, *audio, *options, "-f", "mp4", _url(path)], np.ascontiguousarray(frames).tobytes(), path)


def read_movie(path: Path, height: int, width: int, channels: int, most: int) -> NDArray[np.uint8]:
    """Return the frames of an .mp4, (T, H, W) for 1 channel, (T, H, W, 3) for 3; of a longer one, `most` + 1 frames.

    Raises OSError if it cannot be read, or if its frames have another size.
    """
    frame = height * width * channels
    limit = ["-frames:v", str(most + 1), "-fs", str((most + 1) * frame)]  # bytes, for frames of another size
    raw = ["-f", "rawvideo", "-pix_fmt", _pixels(channels), "-"]
    content = _ffmpeg(["-f", "mp4", "-i", _url(path), *limit, *raw], b"", path)
    if not content or len(content) % frame:
        raise OSError(f"{path} has no frames of {width}x{height} px")
    frames = np.frombuffer(content, np.uint8)
    return frames.reshape(-1, height, width) if channels == 1 else frames.reshape(-1, height, width, channels)


def _url(path: Path) -> str:
    """Return a path as ffmpeg takes it: without this, what comes before a colon would be a protocol."""
    return f"file:{path}"


def _pixels(channels: int) -> str:
    """Return ffmpeg's name of 8-bit pixels with so many channels."""
    return {1: "gray", 3: "rgb24"}[channels]


def _ffmpeg(arguments: Sequence[str], content: bytes, path: Path) -> bytes:
    """Run ffmpeg with `content` as its input; return its output. Raises OSError if it fails on the file `path`."""
    line = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *arguments]
    done = subprocess.run(line, input=content, capture_output=True, check=False)
    if done.returncode:
        report = done.stderr.decode(errors="replace").strip().splitlines()
        if os.strerror(errno.ENOSPC) in "".join(report):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        raise OSError(f"ffmpeg failed on {path}: {report[-1] if report else f'exit code {done.returncode}'}")
    return done.stdout
