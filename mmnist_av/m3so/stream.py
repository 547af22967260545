"""Clips of M3SO without end, rendered when they are requested."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch.utils.data import IterableDataset, get_worker_info
from typing_extensions import override

from mmnist_av.clips import ClipBatch, checked_length
from mmnist_av.m3so.digits import Digits, load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import MOST_CLIPS, Seed, Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked


@checked
class _Share:
    """Which clips a stream gives, and how they are batched."""

    seed: Seed
    split: Literal["train", "val", "test"]
    batch: Annotated[int, Field(ge=1, le=MOST_CLIPS)]  # clips
    rank: Annotated[int, Field(ge=0)]
    ranks: Annotated[int, Field(ge=1)]

    def __post_init__(self) -> None:
        if self.rank >= self.ranks:
            raise InputError(f"rank must be 0 to {self.ranks - 1}, not {self.rank}")


class M3SOStream(IterableDataset[ClipBatch]):
    """The first 2**32 clips of a world, in batches that are rendered when they are requested.

    Clip i is clip i of a stored dataset of the same spec, seed, digits and split. Batch n of rank r of R ranks holds
    the clips from (n R + r) * batch on. A loader's workers share the batches:

        DataLoader(M3SOStream(spec, seed), batch_size=None, num_workers=4)

    yields batches 0, 1, 2, ... for any number of workers, and n, n + 1, ... after a call of `start_at(n)`.
    Raises InputError for arguments out of range.
    """

    def __init__(
        self,
        spec: Spec,
        seed: int,
        *,
        batch: int = 16,  # clips
        digits: Digits | None = None,  # the split's pool; None: the embedded one
        split: str = "train",
        frames: int | None = None,  # number of first frames to give; None: all
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._share = _Share(seed=seed, split=split, batch=batch, rank=rank, ranks=ranks)  # type: ignore[arg-type]
        self.spec, self.seed, self.batch, self.split = spec, seed, batch, split
        self._digits = load_pool("embedded")[split] if digits is None else digits
        self._frames = checked_length(frames, spec.frames)
        self._position = 0

    def batch_at(self, number: int) -> ClipBatch:
        """Return this rank's batch `number`, counted from 0. Raises IndexError after the last batch."""
        first = (number * self._share.ranks + self._share.rank) * self.batch
        if number < 0 or first + self.batch > MOST_CLIPS:
            raise IndexError(f"batch {number}")
        return self.clips(range(first, first + self.batch))

    def clips(self, indexes: Sequence[int]) -> ClipBatch:
        """Return the clips of these numbers, each 0 to 2**32 - 1, in any order."""
        index = np.asarray(indexes, np.int64)
        truth = simulate(self._digits, self.spec, self.seed, self.split, index).until(self._frames)
        frames = torch.from_numpy(render_frames(truth, self._digits, self.spec)).unsqueeze(2)
        audio = torch.from_numpy(render_audio(truth, self.spec)).unflatten(1, (-1, self.spec.samples_per_frame))
        return {"frames": frames, "audio": audio, "index": torch.from_numpy(index)}

    @override
    def __iter__(self) -> Iterator[ClipBatch]:
        # From the position on; each of a loader's workers yields its share.
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            try:
                batch = self.batch_at(self._position + number)
            except IndexError:
                return
            self._position += workers
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the next batch, and which stream this is.

        Each of a loader's worker processes has its own copy of the stream, with its own position. A loader with workers
        that does not keep their states needs another way to resume: count its batches and call `start_at`.
        """
        return {"position": self._position, "stream": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the position in `state`. Raises InputError if `state` is not that of an equal stream."""
        if state.get("stream") != self._identity():
            raise InputError("that is the state of another stream: spec, seed, split, batch, rank and ranks must agree")
        self.start_at(state["position"])

    def start_at(self, position: int) -> "M3SOStream":
        """Continue from this rank's batch number `position`; return the stream. Raises InputError if it is negative."""
        if not isinstance(position, int) or position < 0:
            raise InputError(f"a stream's position is 0 or more, not {position!r}")
        self._position = position
        return self

    def _identity(self) -> list[Any]:
        return [self.spec.text(), self.seed, self.split, self.batch, self._share.rank, self._share.ranks]
