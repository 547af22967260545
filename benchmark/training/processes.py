"""The processes that train one model together (ranks), and what they do together."""

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
    """How many processes train together, and which of them this is. Alone, every method does next to nothing."""

    rank: int = 0
    count: int = 1
    local: int = 0  # the rank among those of this machine: the number of its GPU

    def share(self, clips: int) -> int:
        """This rank's share of `clips`, the same for all; InputError where they cannot be shared evenly."""
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
        whole = torch.cat([tensor.reshape(-1) for tensor in own])  # one message, as DDP's buckets
        distributed.all_reduce(whole)
        whole /= self.count
        for tensor, mean in zip(own, whole.split([tensor.numel() for tensor in own]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def averaged(self, losses: Mapping[str, Loss]) -> Mapping[str, Loss]:
        """The losses of the whole batch, for all to see; alone, the losses themselves."""
        if self.count == 1:
            return losses
        found = {
            name: Loss(
                loss.total.detach().clone(), {term: value.detach().clone() for term, value in loss.terms.items()}
            )
            for name, loss in losses.items()
        }
        self.average(value for loss in found.values() for value in (loss.total, *loss.terms.values()))
        return found

    def first(self, action: Callable[[], object]) -> None:
        """Have rank 0 act while the others wait; an InputError or OSError there stops them, too."""
        if self.count == 1:
            action()
            return
        stop: Exception | None = None
        if self.rank == 0:
            try:
                action()
            except (InputError, OSError) as error:
                stop = error
        told = [None if stop is None else str(stop)]
        distributed.broadcast_object_list(told, 0)
        if stop is not None:
            raise stop
        if told[0] is not None:
            raise InputError(told[0])

    def agree(self, value: str, difference: Callable[[str, str], str]) -> None:
        """Raise InputError, on all, where a rank has another value than rank 0; `difference` says in what."""
        if self.count == 1:
            return
        found: list[str] = [""] * self.count
        distributed.all_gather_object(found, value)
        for rank, own in enumerate(found):
            if own != found[0]:
                raise InputError(f"process {rank} would do another run than the first: {difference(own, found[0])}")

    def in_turn(self, action: Callable[[], T]) -> T:
        """What the action gives: first to rank 0, which may have to make it, then to the others, which find it."""
        given: list[T] = []
        self.first(lambda: given.append(action()))
        return given[0] if given else action()

    def synchronise(self, model: nn.Module) -> None:
        """On GPUs, let batch norms take their statistics over all ranks; torch has nothing of the kind for CPUs."""
        if self.count > 1 and next(model.parameters()).device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)


ALONE = Ranks()
