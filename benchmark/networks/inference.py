"""What the published networks share: how frames enter them, and the precision they run in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmark.metrics.checks import check_unit_range, described
from mmnist_av.system.errors import InputError


def rgb(frames: Tensor, name: str) -> Tensor:
    """Return frames with three channels, grey repeated: (..., C, H, W) float in [0, 1], C 1 or 3, to float32.

    Raises InputError, which calls the frames `name`, for other shapes or types, no frames, and other values.
    """
    if frames.ndim < 4 or frames.shape[-3] not in (1, 3) or not frames.is_floating_point() or not frames.numel():
        raise InputError(f"{name}: (..., 1 or 3, H, W) float frames expected, found {described(frames)}")
    check_unit_range(frames, name)
    return frames.float().expand(*frames.shape[:-3], 3, *frames.shape[-2:])


def levels(frames: Tensor) -> Tensor:
    """Return frames in [0, 1] as the 8-bit levels that a picture file would hold: uint8, rounded to the nearest."""
    return (frames * 255).round().to(torch.uint8)


@contextmanager
def float32(device: torch.device) -> Iterator[None]:
    """Run networks in float32 in this block, whatever autocast or TF32 setting was on before."""
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
    """Run networks in float32 and without gradients in this block."""
    with torch.inference_mode(), float32(device):
        yield
