"""Batch norm where one batch is processed in several parts."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def scaled_momentum(module: nn.Module, batches: int) -> Iterator[None]:
    """Scale the momentum of all batch norms in `module`, inside a with block.

    With it, `batches` batches change the running statistics by as much as one batch does outside the block.
    """
    original = {norm: norm.momentum or 0.0 for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)}
    for norm, momentum in original.items():
        norm.momentum = momentum if batches == 1 else 1 - (1 - momentum) ** (1 / batches)
    try:
        yield
    finally:
        for norm, momentum in original.items():
            norm.momentum = momentum
