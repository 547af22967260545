"""Torch datasets over the clips of a split."""

from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmnist_av.errors import InputError
from mmnist_av.store import Split


class Clip(TypedDict):
    """One clip, as views of the split's maps."""

    frames: Tensor  # (T, 1, H, W) uint8
    audio: Tensor  # (T, samples_per_frame) int16
    index: int  # of the clip within its split


class StoredClips(Dataset[Clip]):
    """The clips of a split, cut to their first `frames` frames (None: all). Nothing is copied.

    Raises InputError if `frames` is not 1 to the clips' own length.
    """

    def __init__(self, split: Split, frames: int | None = None) -> None:
        longest = split.frames.shape[1]
        if frames is not None and not 1 <= frames <= longest:
            raise InputError(f"a clip of the split '{split.name}' has 1 to {longest} frames to take, not {frames}")
        self._split = split
        self._frames = longest if frames is None else frames

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Clip:
        """Clip `index`, 0 to len - 1. Raises IndexError outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        frames = torch.from_numpy(self._split.frames[index, : self._frames])
        audio = torch.from_numpy(self._split.audio[index]).unflatten(0, (-1, self._split.samples_per_frame))
        return {"frames": frames.unsqueeze(1), "audio": audio[: self._frames], "index": index}
