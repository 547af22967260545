"""The parts of an exported clip as bytes of common formats: WAV, PNG, .npy and JSON."""

import io
from collections.abc import Mapping
from typing import Any

import imageio.v3 as imageio
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import Record

# Exceptions from reading a damaged file, beside the errors of its own format
UNREADABLE = OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, SyntaxError, MemoryError


def reason(error: Exception) -> str:
    """Return in words why a file of a damaged export cannot be read."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def to_wav(audio: NDArray[np.int16], rate: int) -> bytes:
    """Return the bytes of a .wav file of the sound (samples,), 16 bit."""
    content = io.BytesIO()
    soundfile.write(content, audio, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def from_wav(content: bytes, format: ClipFormat) -> NDArray[np.int16]:
    """Return the sound (samples,) of the bytes of a .wav file. Raises RuntimeError if they are damaged.

    Raises ValueError, before any sample is decoded, for a sound of another length than the clips of `format` have.
    """
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        if (sound.frames, sound.channels) != (format.samples, 1):
            found = f"{sound.frames} samples of {sound.channels} channels"
            raise ValueError(f"the sound has {found}, not {format.samples} of 1")
        return sound.read(dtype="int16")


def to_npy(array: NDArray[Any]) -> bytes:
    """Return the bytes of an .npy file of the array."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def to_png(frame: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a .png file of a frame, (H, W) or (H, W, 3)."""
    return imageio.imwrite("<bytes>", frame, extension=".png")


def from_png(content: bytes, format: ClipFormat) -> NDArray[np.uint8]:
    """Return the picture of the bytes of a .png file. Raises OSError or SyntaxError if they are damaged.

    Raises ValueError, before any pixel is decoded, for a picture of another size than the frames of `format` have.
    """
    with PngImageFile(io.BytesIO(content)) as picture:
        if picture.size != (format.width, format.height):
            found = "{}x{}".format(*picture.size)
            raise ValueError(f"a picture has {found} px, not {format.width}x{format.height}")
        mode = {1: "L", 3: "RGB"}[format.channels]
        if picture.mode != mode:
            raise ValueError(
                f"a picture has the mode {picture.mode}, not {mode}: 8 bits a channel, no alpha, no palette"
            )
    return imageio.imread(content, extension=".png", index=0)


def record_to_json(record: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the fields of a record as numbers and lists."""
    return {name: values.tolist() for name, values in record.items()}


def record_from_json(entries: Mapping[str, Any], record: Record | None) -> dict[str, NDArray[Any]]:
    """Return the fields of a record from numbers and lists. Raises KeyError or ValueError if they do not fit."""
    return {name: np.array(entries[name], kind.dtype) for name, kind in (record.fields.items() if record else ())}
