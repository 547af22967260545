"""The device and the precision of computations."""

import ctypes
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from benchmark.training.processes import ALONE, Ranks
from mmnist_av.system.errors import InputError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


@dataclass(frozen=True)
class Compute:
    """The device and the precision of computations, and the processes that share them."""

    device: torch.device
    bfloat16: bool  # autocast of the networks; losses, statistics and metrics stay float32
    ranks: Ranks = ALONE  # the processes that train together

    @property
    def precision(self) -> str:
        """Return the precision of the networks, in words."""
        return "bfloat16" if self.bfloat16 else "float32"

    def autocast(self) -> AbstractContextManager:
        """Return the context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def choose_compute(device: str, ranks: Ranks = ALONE) -> Compute:
    """Return how to compute on `device`: "auto" (CUDA where torch sees a CUDA device), "cpu" or "cuda".

    The precision is bfloat16 where that is faster: on CUDA devices that multiply it, and on CPUs with AMX. On CPUs that
    only have AVX-512 BF16 a training step in float32 takes three quarters of the time (`perf/models.py --float32`). Of
    several ranks each gets its own CUDA device. Raises InputError for "cuda" where torch sees no CUDA device.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device == "cuda" or (device == "auto" and available):
        own = torch.device("cuda") if ranks.count == 1 else torch.device("cuda", ranks.local)
        return Compute(own, torch.cuda.is_bf16_supported(including_emulation=False), ranks)
    return Compute(torch.device("cpu"), torch.cpu._is_amx_tile_supported(), ranks)


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, on Linux with glibc; elsewhere do nothing.

    A training step frees and allocates hundreds of megabytes. Returning them to the system and faulting them in again
    costs up to a fifth of the step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
        mallopt(parameter, value)
