"""Where a result was computed: code version, machine, libraries, precision."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmnist_av import __version__
from mmnist_av.system.plugins import PACKAGES

if TYPE_CHECKING:  # torch is imported where it is used: the version of the code is said without it
    import torch

    from benchmark.compute import Compute

LIBRARIES = ("torch", "numpy", "pandas", "safetensors")


def code_version(*classes: type) -> str:
    """Return the version of this code and, for third parties' classes, their packages with hashes of their sources.

    classes: the model's and the dataset family's. For example "0.1.0+g1a2b3c4; theirs 5d6e7f8".
    """
    packages = dict.fromkeys(each.__module__.partition(".")[0] for each in classes)
    others = [f"{package} {_hash_of_sources(sys.modules[package])}" for package in packages if package not in PACKAGES]
    return "; ".join([version_of(Path(__file__).parents[2]), *others])


def _hash_of_sources(package: ModuleType) -> str:
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    digest = hashlib.sha256()
    if not folders:
        digest.update(Path(str(package.__file__)).read_bytes())
    for folder in folders:
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:8]


def version_of(root: Path) -> str:
    """Return the version of the packages in the folder `root`, in a checkout with the last commit that changed them.

    A hash of uncommitted changes in them follows, if there are any: "0.1.0+g1a2b3c4.dirty9a8b7c6d".
    """
    git = ("git", "-C", str(root))
    try:
        if not Path(os.fsdecode(_output(*git, "rev-parse", "--show-toplevel"))).samefile(root):
            return __version__
        commit = _output(*git, "log", "-1", "--format=%h", "--abbrev=12", "--", *PACKAGES).decode()
        changes = _output(*git, "diff", "HEAD", "--", *PACKAGES)
        new = _output(*git, "ls-files", "-z", "--others", "--exclude-standard", "--", *PACKAGES).split(b"\0")
    except (OSError, subprocess.CalledProcessError):
        return __version__
    files = [name for name in new if (root / os.fsdecode(name)).is_file()]  # not links to nowhere, nor checkouts
    if not changes and not files:
        return f"{__version__}+g{commit}"
    digest = hashlib.sha256(changes)
    for name in files:
        digest.update(name + (root / os.fsdecode(name)).read_bytes())
    return f"{__version__}+g{commit}.dirty{digest.hexdigest()[:8]}"


def _output(*command: str) -> bytes:
    # a hook of another checkout runs with its GIT_DIR
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, capture_output=True, check=True, env=own).stdout.strip()


def machine(device: "torch.device") -> str:
    """Return processor, number of cores and accelerator, in words."""
    import torch

    words = f"{_processor()}, {os.cpu_count()} cores"
    return f"{words}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else words


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe(compute: "Compute", code: str) -> dict[str, object]:
    """Return environment.json; `code` is the code_version of the run."""
    import torch

    return {
        "code_version": code,
        "machine": machine(compute.device),
        "device": str(compute.device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "ranks": compute.ranks.count,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{library: version(library) for library in LIBRARIES},
    }
