"""Torch datasets of clips: the stored clips of a split, and the interface of endless streams."""

from collections.abc import Iterator
from typing import Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmnist_av.dataset import Split
from mmnist_av.system.errors import InputError


class Clip(TypedDict):
    """One clip, as views of the split's arrays."""

    frames: Tensor  # (T, C, H, W) uint8
    audio: Tensor  # (T, samples_per_frame) int16
    index: int  # of the clip within its split


class ClipBatch(TypedDict):
    """Several clips."""

    frames: Tensor  # (B, T, C, H, W) uint8
    audio: Tensor  # (B, T, samples_per_frame) int16
    index: Tensor  # (B,) int64: of each clip within its split


class ClipStream(Protocol):
    """Batches of clips without end, each rendered when it is requested."""

    batch: int  # clips per batch

    def batch_at(self, number: int) -> ClipBatch:
        """Return batch `number`, counted from 0. Raises IndexError after the last batch."""

    def __iter__(self) -> Iterator[ClipBatch]:
        """Yield the batches in order."""


class StoredClips(Dataset[Clip]):
    """The clips of a split, cut to their first `frames` frames (None: all). No bytes are copied.

    Raises InputError if `frames` is not within 1 and the clips' own length.
    """

    def __init__(self, split: Split, frames: int | None = None) -> None:
        self.format = split.format
        self._frames = checked_length(frames, split.format.frames)
        self._split = split

    @property
    def fps(self) -> int:
        """Frames per second."""
        return self.format.fps

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Clip:
        """Return clip `index`. Raises IndexError if it is not within 0 and len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        stored = torch.from_numpy(self._split.frames[index, : self._frames])
        frames = stored.unsqueeze(1) if self.format.channels == 1 else stored.permute(0, 3, 1, 2)
        return {"frames": frames, "audio": self.audio(index), "index": index}

    def audio(self, index: int) -> Tensor:
        """Return the sound of clip `index`: (T, samples_per_frame) int16."""
        audio = torch.from_numpy(self._split.audio[index]).unflatten(0, (-1, self.format.samples_per_frame))
        return audio[: self._frames]


def checked_length(frames: int | None, longest: int) -> int:
    """Return `frames`, or `longest` for None. Raises InputError if `frames` is not within 1 and `longest`."""
    if frames is not None and not 1 <= frames <= longest:
        raise InputError(f"the clips have {longest} frames: 1 to {longest} can be used, not {frames}")
    return longest if frames is None else frames
