"""What the published networks have in common: how frames enter, and in which precision they run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mmnist_av.system.errors import InputError


def rgb(frames: Tensor, name: str) -> Tensor:
    """Frames with three channels, grey repeated: (..., C, H, W) float in [0, 1], C 1 or 3 -> (..., 3, H, W) float32.

    Raises InputError, which says that they are `name`, for other shapes or types, no frames, and other values.
    """
    if frames.ndim < 4 or frames.shape[-3] not in (1, 3) or not frames.is_floating_point() or not frames.numel():
        kind = f"{tuple(frames.shape)} {str(frames.dtype).removeprefix('torch.')}"
        raise InputError(f"{name}: (..., 1 or 3, H, W) float frames wanted, not {kind}")
    low, high = (bound.item() for bound in frames.detach().aminmax())
    if not (low >= 0 and high <= 1):  # a NaN fails too
        raise InputError(f"{name}: values in [0, 1] wanted, not {low:g} to {high:g}")
    return frames.float().expand(*frames.shape[:-3], 3, *frames.shape[-2:])


def levels(frames: Tensor) -> Tensor:
    """Frames in [0, 1] as the 8-bit levels that a picture file would hold: uint8, rounded to the nearest."""
    return (frames * 255).round().to(torch.uint8)


@contextmanager
def float32(device: torch.device) -> Iterator[None]:
    """Networks run in float32 in this block, whatever autocast or TF32 training was left with."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        cudnn.allow_tf32 = before


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """The same, without gradients."""
    with torch.inference_mode(), float32(device):
        yield
