"""The format that all clips of a dataset share: sizes and rates of their frames and sound."""

from dataclasses import asdict
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mmnist_av.families import ArrayType
from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked

Count = Annotated[int, Field(ge=1, lt=2**31)]  # files of sound and movies count in 32 bits


@checked
class ClipFormat:
    """The format of every clip of a dataset. Raises InputError if a frame's samples of sound are not a whole number."""

    frames: Count  # per clip
    channels: Literal[1, 3]  # grey or RGB
    height: Count  # px
    width: Count  # px
    fps: Count  # frames per second
    sample_rate: Count  # samples of sound per second

    def __post_init__(self) -> None:
        if self.sample_rate % self.fps:
            raise InputError(f"fps {self.fps} does not divide the {self.sample_rate} samples of a second of sound")

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound that belong to one frame."""
        return self.sample_rate // self.fps

    @property
    def samples(self) -> int:
        """Samples of sound in a clip."""
        return self.frames * self.samples_per_frame

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a stored frame: (H, W) if grey, (H, W, 3) in colour."""
        size = (self.height, self.width)
        return size if self.channels == 1 else (*size, self.channels)

    @property
    def clip_bytes(self) -> int:
        """Bytes of a clip's frames and sound on disk."""
        return self.frames * self.height * self.width * self.channels + 2 * self.samples

    @property
    def arrays(self) -> dict[str, ArrayType]:
        """The shapes and types of a clip's frames and audio, by the names of their files."""
        return {
            "frames": ArrayType((self.frames, *self.frame_shape), np.dtype(np.uint8)),
            "audio": ArrayType((self.samples,), np.dtype(np.int16)),
        }

    def as_dict(self) -> dict[str, int]:
        """Return the fields by name, as the manifest holds them."""
        return asdict(self)
