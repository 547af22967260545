"""Values of options that are words, not folders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stream:
    """The value of `--data stream`: training on endless clips, rendered when they are needed."""


@dataclass(frozen=True)
class Download:
    """The value of `--weights download`: published weights come from their public homes."""
