"""Batch norm where one batch comes in many parts."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def gently(module: nn.Module, passes: int) -> Iterator[None]:
    """In this block, `passes` batches move the running statistics of batch norms by as much as one does elsewhere."""
    usual = {each: each.momentum or 0.0 for each in module.modules() if isinstance(each, nn.BatchNorm2d)}
    for each, momentum in usual.items():
        each.momentum = momentum if passes == 1 else 1 - (1 - momentum) ** (1 / passes)
    try:
        yield
    finally:
        for each, momentum in usual.items():
            each.momentum = momentum
