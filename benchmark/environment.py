"""Where a result comes from: code version, machine, libraries, precision."""

import ctypes
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from benchmark.ranks import ALONE, Ranks
from benchmark.training import Compute
from mmnist_av import __version__
from mmnist_av.errors import InputError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
LIBRARIES = ("torch", "numpy", "pandas", "safetensors")


def code_version() -> str:
    """The package's version; in a checkout with the commit, "0.1.0+g1a2b3c4", and a hash of what has changed since."""
    here = Path(__file__).parent
    git = ("git", "-C", str(here))
    try:
        if not Path(_output(*git, "rev-parse", "--show-toplevel")).samefile(here.parent):
            return __version__
        commit = _output(*git, "rev-parse", "--short=12", "HEAD")
        changes = _output(*git, "diff", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return __version__
    dirty = f".dirty{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return f"{__version__}+g{commit}{dirty}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def machine(device: torch.device) -> str:
    """Processor, cores and accelerator, in words."""
    words = f"{_processor()}, {os.cpu_count()} cores"
    return f"{words}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else words


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def choose_compute(device: str, ranks: Ranks = ALONE) -> Compute:
    """The device called "auto" (CUDA if there is one), "cpu" or "cuda"; bfloat16 where its hardware multiplies it.

    Of several ranks each gets a CUDA device of its own.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device == "cuda" or (device == "auto" and available):
        own = torch.device("cuda") if ranks.count == 1 else torch.device("cuda", ranks.local)
        return Compute(own, torch.cuda.is_bf16_supported(including_emulation=False), ranks)
    return Compute(torch.device("cpu"), torch.cpu._is_avx512_bf16_supported(), ranks)


def keep_freed_memory() -> None:
    """Let the process keep the memory it frees, on Linux with glibc; elsewhere nothing happens.

    A training step frees and takes again hundreds of megabytes. Handed back to the system and faulted in again, they
    cost up to a fifth of the step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):
        return
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
        mallopt(parameter, value)


def describe(compute: Compute) -> dict[str, object]:
    """What environment.json holds."""
    return {
        "code_version": code_version(),
        "machine": machine(compute.device),
        "device": str(compute.device),
        "precision": "bfloat16" if compute.bfloat16 else "float32",
        "threads": torch.get_num_threads(),
        "ranks": compute.ranks.count,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{library: version(library) for library in LIBRARIES},
    }
