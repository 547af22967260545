"""What metrics compare predictions with: what truly happened in a test clip."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.inputs import load_clips
from benchmark.metrics.bounces import Bounces
from benchmark.protocols import Protocol
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import Dataset
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.picture import backward_flow, block_mask
from mmnist_av.m3so.spec import NONE, Spec
from mmnist_av.m3so.world import Truth


@dataclass(frozen=True)
class TrueClip:
    """A clip up to its last predicted frame."""

    frames: Tensor  # (1, T, C, H, W) in [0, 1]
    audio: Tensor  # (1, T, bins, columns)
    seen: int  # frames given
    truth: Truth  # of this one clip, T frames
    spec: Spec

    @property
    def unseen(self) -> Tensor:
        """The frames to be predicted: (1, 1, predicted, C, H, W)."""
        return self.frames[:, None, self.seen :]


@dataclass(frozen=True)
class TrueClips:
    """The first clips of a split, under a protocol."""

    dataset: Dataset
    name: str  # of the split
    protocol: Protocol
    count: int
    device: torch.device

    def __call__(self, index: int) -> TrueClip:
        """Clip `index`, on the device."""
        split, length = self.dataset.split(self.name), self.protocol.test_frames
        frames, audio = load_clips(StoredClips(split, length), [index], self.protocol, self.device)
        truth = truth_of(split, slice(index, index + 1)).until(length)
        return TrueClip(frames, audio, self.protocol.seen, truth, spec_of(self.dataset))


def frames(clip: TrueClip) -> Tensor:
    """The frames: (1, 1, predicted, C, H, W)."""
    return clip.unseen


def without_block(clip: TrueClip) -> Tensor:
    """The frames, the block's pixels NaN."""
    return _without_block(clip)[:, None, clip.seen :]


def _without_block(clip: TrueClip) -> Tensor:
    mask = torch.from_numpy(block_mask(clip.truth, clip.spec)).to(clip.frames.device)
    return clip.frames.masked_fill(mask[:, :, None], torch.nan)


def block(clip: TrueClip) -> Tensor:
    """The block's lower-left corner, (1, 2) px, y up; -1 where no frame shows one."""
    shown = 0 <= clip.truth.block_first_frame[0] < clip.truth.frames
    place = clip.truth.block_place.astype(np.int64) if shown else np.full((1, 2), -1)
    return torch.from_numpy(place).to(clip.frames.device)


def label(clip: TrueClip) -> Tensor:
    """The digit's class: (1,)."""
    return torch.from_numpy(clip.truth.label[:, 0].astype(np.int64)).to(clip.frames.device)


def bounces(clip: TrueClip) -> Bounces:
    """The digit's track and the frames at which it bounces."""
    events = torch.from_numpy(clip.truth.event[:, clip.seen :, 0] != NONE).to(clip.frames.device)
    return Bounces(_without_block(clip)[:, None, clip.seen - 2 :], events)


def flow(clip: TrueClip) -> Tensor:
    """The exact backward flow: (1, 1, predicted, 2, H, W), px."""
    exact = backward_flow(clip.truth, clip.spec)[:, clip.seen - 1 :]
    return torch.from_numpy(exact)[:, None].to(clip.frames.device)


def clip(clip: TrueClip) -> TrueClip:
    """All of it."""
    return clip


TARGETS: dict[str, Callable[[TrueClip], Any]] = {
    "frames": frames,
    "digit": without_block,
    "block": block,
    "label": label,
    "bounces": bounces,
    "flow": flow,
    "clip": clip,
}
