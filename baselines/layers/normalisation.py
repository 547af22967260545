"""Batch norm where one batch is processed in several parts, and where a network has inputs of two kinds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from typing_extensions import override

SWAPPED = ("running_mean", "running_var", "num_batches_tracked", "momentum", "training")  # of a batch norm


@contextmanager
def scaled_momentum(module: nn.Module, batches: int) -> Iterator[None]:
    """Scale the momentum of all batch norms in `module`, inside a with block.

    With it, `batches` batches change the running statistics by as much as one batch does outside the block.
    """
    original = {norm: norm.momentum or 0.0 for norm in norms_of(module)}
    for norm, momentum in original.items():
        norm.momentum = momentum if batches == 1 else 1 - (1 - momentum) ** (1 / batches)
    try:
        yield
    finally:
        for norm, momentum in original.items():
            norm.momentum = momentum


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Return all batch norms in `module`."""
    return [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]


class GeneratedStatistics(nn.Module):
    """The statistics of a network's batch norms for generated inputs, beside its own running ones for true inputs.

    steps: 1 where all generated frames share them; else each of a prediction's first `steps` frames has its own, and
    later frames have the last one's. They are means over batches. Buffers mean0, variance0, ...: (steps, channels) of
    each batch norm.
    """

    def __init__(self, network: nn.Module, steps: int = 1) -> None:
        super().__init__()
        self.learning = False  # whether the network's batch norms are in training mode while they are used
        self.batches = [0] * steps  # that each step's are of
        for number, norm in enumerate(norms_of(network)):
            self.register_buffer(f"mean{number}", torch.zeros(steps, norm.num_features))
            self.register_buffer(f"variance{number}", torch.ones(steps, norm.num_features))

    @property
    def known(self) -> bool:
        """Return whether there are any yet, or the network is about to give some."""
        return self.learning or self.batches[0] > 0

    def learn_anew(self) -> None:
        """Forget the statistics; until `learning` is False again, batches give new ones."""
        self.batches, self.learning = [0] * len(self.batches), True

    @override
    def get_extra_state(self) -> torch.Tensor:
        """Return the numbers of batches for the state dict; as a buffer, each frame would wait for the GPU."""
        return torch.tensor(self.batches)

    @override
    def set_extra_state(self, state: torch.Tensor) -> None:
        self.batches = state.tolist()

    @contextmanager
    def used_by(self, network: nn.Module, step: int) -> Iterator[None]:
        """Let the network's batch norms use the statistics of a step inside a with block.

        step: the number of the predicted frame, from 0. In training mode the batch norms update the statistics.
        """
        norms, row = norms_of(network), min(step, len(self.batches) - 1)
        usual = [{name: getattr(norm, name) for name in SWAPPED} for norm in norms]
        training = self.learning or any(norm.training for norm in norms)
        momentum = 1 / (1 + self.batches[row]) if training else 0.0
        for number, norm in enumerate(norms):
            mean, variance = (self.get_buffer(f"{name}{number}")[row] for name in ("mean", "variance"))
            for name, value in zip(SWAPPED, (mean, variance, None, momentum, training), strict=True):
                setattr(norm, name, value)
        try:
            yield
        finally:
            for norm, before in zip(norms, usual, strict=True):
                for name, value in before.items():
                    setattr(norm, name, value)
        self.batches[row] += training
