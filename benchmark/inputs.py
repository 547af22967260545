"""Clips as a model is given them: frames in [0, 1] and the protocol's audio features."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmark.protocols import Protocol
from mmnist_av.clips import ClipBatch, StoredClips


def load_clips(
    clips: StoredClips, indices: Sequence[int], protocol: Protocol, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Some clips as a model sees and hears them: frames (B, T, C, H, W) in [0, 1], sound (B, T, bins, columns)."""
    return as_seen_and_heard(default_collate([clips[index] for index in indices]), protocol, device)


def as_seen_and_heard(clips: ClipBatch, protocol: Protocol, device: torch.device) -> tuple[Tensor, Tensor]:
    """Clips as a model gets them: see load_clips."""
    return clips["frames"].to(device).float() / 255, protocol.audio(clips["audio"].to(device))
