"""Clips as a model is given them: frames in [0, 1] and the protocol's audio features."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmark.catalogue import Protocol
from mmnist_av.clips import StoredClips


def load_clips(
    clips: StoredClips, indices: Sequence[int], protocol: Protocol, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return some clips as model inputs: frames (B, T, C, H, W) in [0, 1], audio (B, T, bins, columns)."""
    return as_model_inputs(default_collate([clips[index] for index in indices]), protocol, device)


def as_model_inputs(clips: Mapping[str, Tensor], protocol: Protocol, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the stored frames (uint8) and audio (int16) of a batch of clips as model inputs; see load_clips."""
    return clips["frames"].to(device).float() / 255, protocol.audio(clips["audio"].to(device))
