"""Values of options that are words, not folders."""

from dataclasses import dataclass
from pathlib import Path

from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class Stream:
    """The value of `--data stream`: training on endless clips, rendered when they are needed."""


@dataclass(frozen=True)
class Download:
    """The value of `--weights download`: published weights come from their public homes."""


def check_weights(source: Path | Download | None) -> None:
    """Raise InputError where --weights names no folder."""
    if isinstance(source, Path) and not source.is_dir():
        raise InputError(f"--weights {source}: there is no such folder")
