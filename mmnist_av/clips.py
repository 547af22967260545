"""Torch datasets of clips: stored, and endless (rendered as they are asked for)."""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from mmnist_av.dataset import Split
from mmnist_av.m3so.digits import Digits, load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import MOST_CLIPS, SEEDS, SPLIT_IDS, Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError, unknown_name


class Clip(TypedDict):
    """One clip, as views of the split's maps."""

    frames: Tensor  # (T, 1, H, W) uint8
    audio: Tensor  # (T, samples_per_frame) int16
    index: int  # of the clip within its split


class ClipBatch(TypedDict):
    """Some clips."""

    frames: Tensor  # (B, T, 1, H, W) uint8
    audio: Tensor  # (B, T, samples_per_frame) int16
    index: Tensor  # (B,) int64: of the clips within their split


class StoredClips(Dataset[Clip]):
    """The clips of a split, cut to their first `frames` frames (None: all). Nothing is copied.

    Raises InputError if `frames` is not 1 to the clips' own length.
    """

    def __init__(self, split: Split, frames: int | None = None) -> None:
        self._frames = _checked_length(frames, split.frames.shape[1])
        self._split = split
        self.format = split.format

    def __len__(self) -> int:
        return len(self._split)

    def audio(self, index: int) -> Tensor:
        """Return the sound of one clip: (T, samples_per_frame) int16."""
        audio = torch.from_numpy(self._split.audio[index]).unflatten(0, (-1, self._split.samples_per_frame))
        return audio[: self._frames]

    def __getitem__(self, index: int) -> Clip:
        """Clip `index`, 0 to len - 1. Raises IndexError outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        frames = torch.from_numpy(self._split.frames[index, : self._frames])
        audio = torch.from_numpy(self._split.audio[index]).unflatten(0, (-1, self._split.samples_per_frame))
        return {"frames": frames.unsqueeze(1), "audio": audio[: self._frames], "index": index}


class M3SOStream(IterableDataset[ClipBatch]):
    """Clips without end (of 2**32), rendered as they are asked for, a batch at a time.

    Clip i is the clip i of a stored dataset of the same spec, seed, digits and split, whoever asks for it. Batch n of
    rank r of R is the clips from (n R + r) * batch on. So that a loader's workers share the batches out,

        DataLoader(M3SOStream(spec, seed), batch_size=None, num_workers=4)

    delivers batches 0, 1, 2, ... for any number of workers; with `.at(n)` behind the stream, n, n + 1, ...
    Raises InputError for numbers out of range.
    """

    def __init__(
        self,
        spec: Spec,
        seed: int,
        *,
        batch: int = 16,  # clips
        digits: Digits | None = None,  # one split's pool; None: the embedded one of `split`
        split: str = "train",
        frames: int | None = None,  # of a clip, the first; None: all
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if split not in SPLIT_IDS:
            raise unknown_name("split", split, SPLIT_IDS)
        if ranks < 1:
            raise InputError(f"ranks must be 1 or more, not {ranks}")
        for name, value, most in (("seed", seed, SEEDS - 1), ("rank", rank, ranks - 1)):
            if not 0 <= value <= most:
                raise InputError(f"{name} must be 0 to {most}, not {value}")
        if not 1 <= batch <= MOST_CLIPS:
            raise InputError(f"batch must be 1 to {MOST_CLIPS}, not {batch}")
        self.spec, self.seed, self.batch, self.split = spec, seed, batch, split
        self._digits = load_pool("embedded")[split] if digits is None else digits
        self._frames = _checked_length(frames, spec.frames)
        self._rank, self._ranks = rank, ranks
        self._position = 0

    def batch_at(self, number: int) -> ClipBatch:
        """This rank's batch `number`, 0 and on. Raises IndexError behind the last."""
        first = (number * self._ranks + self._rank) * self.batch
        if number < 0 or first + self.batch > MOST_CLIPS:
            raise IndexError(f"batch {number}")
        return self.clips(range(first, first + self.batch))

    def clips(self, indexes: Sequence[int]) -> ClipBatch:
        """Any clips, each 0 to 2**32 - 1, in any order."""
        index = np.asarray(indexes, np.int64)
        truth = simulate(self._digits, self.spec, self.seed, self.split, index).until(self._frames)
        frames = torch.from_numpy(render_frames(truth, self._digits, self.spec)).unsqueeze(2)
        audio = torch.from_numpy(render_audio(truth, self.spec)).unflatten(1, (-1, self.spec.samples_per_frame))
        return {"frames": frames, "audio": audio, "index": torch.from_numpy(index)}

    def __iter__(self) -> Iterator[ClipBatch]:
        """The batches from the position on; of a loader's workers, each takes its share."""
        worker = get_worker_info()
        ours, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            try:
                batch = self.batch_at(self._position + ours)
            except IndexError:
                return
            self._position += workers
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: the number of its next batch, and which stream it is.

        A loader's worker processes have streams of their own, with their own states, which loaders that keep states
        ask for. Beside any other loader with workers, count its batches, and go on from there by `at`.
        """
        return {"position": self._position, "stream": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` stood. Raises InputError for the state of another stream, or of none."""
        if state.get("stream") != self._identity():
            raise InputError("that is the state of another stream: spec, seed, split, batch, rank and ranks must agree")
        self.at(state["position"])

    def at(self, position: int) -> "M3SOStream":
        """Go on from this rank's batch number `position`. Returns itself. Raises InputError if there is none."""
        if not isinstance(position, int) or position < 0:
            raise InputError(f"a stream's position is 0 or more, not {position!r}")
        self._position = position
        return self

    def _identity(self) -> list[Any]:
        return [self.spec.text(), self.seed, self.split, self.batch, self._rank, self._ranks]


def _checked_length(frames: int | None, longest: int) -> int:
    if frames is not None and not 1 <= frames <= longest:
        raise InputError(f"a clip has 1 to {longest} frames to take, not {frames}")
    return longest if frames is None else frames
