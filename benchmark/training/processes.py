"""The processes that train one model together (ranks), and how they exchange what each one knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from baselines.predictor import Loss
from mmnist_av.system.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The number of processes that train together, and which of them this one is.

    With one process, every method does at once what it would do together with others.
    """

    rank: int = 0
    count: int = 1
    local: int = 0  # the rank among the processes of this machine: the number of its GPU

    def share(self, clips: int) -> int:
        """Return how many of `clips` clips each rank takes; InputError where they cannot be divided evenly."""
        if clips % self.count:
            raise InputError(
                f"a step's {clips} clips cannot be shared evenly among {self.count} processes: "
                f"choose --devices and --nodes whose product divides {clips}"
            )
        return clips // self.count

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over the ranks."""
        if self.count == 1 or not (own := list(tensors)):
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in own])  # one message, as in DDP's buckets
        distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(own, flat.split([tensor.numel() for tensor in own]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_losses(self, losses: Mapping[str, Loss]) -> Mapping[str, Loss]:
        """Return the losses of the whole batch: with several ranks, means over the ranks without gradient."""
        if self.count == 1:
            return losses
        means = {
            name: Loss(
                loss.total.detach().clone(), {term: value.detach().clone() for term, value in loss.terms.items()}
            )
            for name, loss in losses.items()
        }
        self.average(value for loss in means.values() for value in (loss.total, *loss.terms.values()))
        return means

    def in_common(self, names: Iterable[str]) -> set[str]:
        """Return those of this rank's names that every rank has."""
        if self.count == 1:
            return set(names)
        gathered: list[set[str]] = [set()] * self.count
        distributed.all_gather_object(gathered, set(names))
        return set.intersection(*gathered)

    def first(self, action: Callable[[], object]) -> None:
        """Run `action` on rank 0 while the others wait; an InputError or OSError there stops all of them."""
        if self.count == 1:
            action()
            return
        error: Exception | None = None
        if self.rank == 0:
            try:
                action()
            except (InputError, OSError) as caught:
                error = caught
        message = self.broadcast(None if error is None else str(error))
        if error is not None:
            raise error
        if message is not None:
            raise InputError(message)

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, 0)
        return values[0]

    def agree(self, value: str, difference: Callable[[str, str], str]) -> None:
        """Raise InputError on every rank where one has another value than rank 0.

        difference: returns in words how the value of rank 0 and another one differ.
        """
        if self.count == 1:
            return
        values: list[str] = [""] * self.count
        distributed.all_gather_object(values, value)
        for rank, own in enumerate(values):
            if own != values[0]:
                raise InputError(
                    f"process {rank} was started for another run than process 0: {difference(values[0], own)}"
                )

    def synchronise(self, model: nn.Module) -> None:
        """Let batch norms on GPUs take their statistics over all ranks; torch cannot do so on CPUs."""
        if self.count > 1 and next(model.parameters()).device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)


ALONE = Ranks()
