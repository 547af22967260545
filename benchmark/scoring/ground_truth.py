"""What predictions are compared with: the frames, audio and annotations of the clips of a split."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import Context
from benchmark.catalogue import Protocol
from benchmark.inputs import load_clips
from mmnist_av import families
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import Dataset
from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class TargetClip:
    """The ground truth of one clip of T frames, the first F of which are seen."""

    index: int  # of the clip in its split
    frames: Tensor  # (1, T, C, H, W) in [0, 1]
    audio: Tensor  # (1, T, bins, columns): the audio features of the clip's own sound
    seen: int  # F
    # (name, T) -> the annotation of the clip's first T frames, see mmnist_av.families.Family.annotate
    annotate: Callable[[str, int], NDArray[Any]]

    @property
    def unseen(self) -> Tensor:
        """Return the frames to be predicted: (1, 1, T - F, C, H, W)."""
        return self.frames[:, None, self.seen :]

    def annotation(self, name: str) -> Tensor:
        """Return one annotation of the clip's T frames, (1, ...), on their device."""
        return torch.from_numpy(self.annotate(name, self.frames.shape[1])[None]).to(self.frames.device)

    def window(self, first: int, count: int) -> "TargetClip":
        """Return the clip whose frames to be predicted are `count` of this one's, from its `first` unseen frame on.

        The frames before them count as seen.
        """
        seen, length = self.seen + first, self.seen + first + count
        if (seen, length) == (self.seen, self.frames.shape[1]):
            return self
        return replace(self, frames=self.frames[:, :length], audio=self.audio[:, :length], seen=seen)


@dataclass(frozen=True)
class TargetClips:
    """The clips whose frames are predicted under a protocol: the first `count` of a split, one by one."""

    dataset: Dataset
    split: str
    protocol: Protocol
    count: int
    device: torch.device

    @property
    def stored(self) -> StoredClips:
        """Return the stored clips, cut to the protocol's test length."""
        return StoredClips(self.dataset.split(self.split), self.protocol.test_frames)

    def __call__(self, index: int) -> TargetClip:
        """Return clip `index`, its tensors on the device. Raises InputError where the dataset's files have changed."""
        self.dataset.refuse_changed()
        frames, audio = load_clips(self.stored, [index], self.protocol, self.device)
        self.dataset.refuse_changed()
        annotate = partial(families.find(self.dataset.family).annotate, self.dataset, self.split, index)
        return TargetClip(index=index, frames=frames, audio=audio, seen=self.protocol.seen, annotate=annotate)

    def context(self, clip: TargetClip, flow: bool) -> Context:
        """Return what a model is given of a clip: the seen frames, and its sound or, if mismatched, the next clip's.

        flow: whether the model needs the flow of the seen frames. The frames are a copy, so that no later frame can be
        reached through them. Raises InputError where a next clip is needed and the split has only one.
        """
        frames = clip.frames[:, : clip.seen].clone()
        audio = self._audio_of(clip)
        return Context(frames, audio, clip.annotation("flow")[:, : clip.seen].clone() if flow else None)

    def _audio_of(self, clip: TargetClip) -> Tensor:
        if not self.protocol.mismatched:
            return clip.audio
        split = self.dataset.split(self.split)
        if len(split) < 2:
            raise InputError(f"protocol {self.protocol.name} takes the sound of another clip, and there is only one")
        audio = self.stored.audio((clip.index + 1) % len(split))
        return self.protocol.audio(audio[None].to(self.device))
