"""The training clips of every step: shuffled, in order, or streamed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch.utils.data import default_collate

from baselines.predictor import Predictor
from benchmark.training.plan import TrainingPlan
from benchmark.training.processes import ALONE, Ranks
from mmnist_av import families
from mmnist_av.clips import ClipStream, StoredClips
from mmnist_av.dataset import Dataset
from mmnist_av.system.errors import InputError

ANNOTATIONS = ("flow", "centres")  # the fields of Batch, and names of Predictor.needs, that a dataset's family provides

# Clips as they are stored: frames (B, T, C, H, W) uint8, audio (B, T, samples) int16, index (B,), and annotations
RawBatch = Mapping[str, Any]


class Batches(Protocol):
    """What the training loop takes its clips from."""

    def __call__(self, step: int) -> tuple[int, RawBatch]:
        """Return the epoch of a step, from 0, and this rank's clips."""


class ClipSequence(Protocol):
    """Clips by their index."""

    def __len__(self) -> int:
        """Return the number of clips."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return one clip: frames, audio, index, and annotations."""


class AnnotatedClips:
    """The clips of a split with annotations, cut to their first `frames` frames."""

    def __init__(self, dataset: Dataset, split: str, frames: int, annotations: tuple[str, ...]) -> None:
        self._clips = StoredClips(dataset.split(split), frames)
        self._dataset, self._split, self._frames, self._annotations = dataset, split, frames, annotations
        self._family = families.find(dataset.family)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self._dataset.refuse_changed()
        annotations = {
            name: self._family.annotate(self._dataset, self._split, index, name, self._frames)
            for name in self._annotations
        }
        return {**self._clips[index], **annotations}


def batch_indices(clips: int, plan: TrainingPlan, step: int) -> tuple[int, list[int]]:
    """Return the epoch of a step, and the indices of its clips, of `clips` clips in all.

    Every epoch is a new shuffle, keyed by (seed, epoch); the clips that do not fill a batch are left out.
    """
    epoch, number = divmod(step, max(1, clips // plan.batch))
    order = np.random.default_rng([plan.seed, epoch]).permutation(clips)
    return epoch, order[number * plan.batch : (number + 1) * plan.batch].tolist()


@dataclass(frozen=True)
class StoredBatches:
    """Batches of a split's clips, shuffled anew every epoch; each rank takes its share of every batch."""

    clips: ClipSequence
    plan: TrainingPlan
    ranks: Ranks = ALONE

    def __call__(self, step: int) -> tuple[int, RawBatch]:
        """Return the epoch of a step, and this rank's clips."""
        epoch, indices = batch_indices(len(self.clips), self.plan, step)
        share = self.ranks.share(len(indices))
        own = indices[self.ranks.rank * share :][:share]
        return epoch, default_collate([self.clips[index] for index in own])


@dataclass(frozen=True)
class OrderedBatches:
    """Batches of a split's clips in their order, for models that keep state from clip to clip.

    The clips are cut into as many runs of consecutive clips as a batch has clips. The n-th step of an epoch gives clip
    n of every run, so that each row of a batch follows on the same row of the batch before. Clips that do not fill
    the runs are left out.
    """

    clips: ClipSequence
    plan: TrainingPlan

    @property
    def runs(self) -> int:
        """Return the number of runs, which is the number of clips of every batch."""
        return min(self.plan.batch, len(self.clips))

    @property
    def length(self) -> int:
        """Return the number of clips of a run, which is the number of steps of an epoch."""
        return len(self.clips) // self.runs

    def __call__(self, step: int) -> tuple[int, RawBatch]:
        """Return the epoch of a step, and its clips."""
        epoch, number = divmod(step, self.length)
        return epoch, default_collate([self.clips[run * self.length + number] for run in range(self.runs)])

    def begins_epoch(self, step: int) -> bool:
        """Return whether the step is the first of an epoch, before which the model's state is reset."""
        return step % self.length == 0


@dataclass(frozen=True)
class StreamedBatches:
    """Batches of endless clips, each rendered when it is needed and used once; every rank has a stream of its own."""

    stream: ClipStream
    epoch_clips: int  # clips of this stream that count as an epoch: the dataset's training clips / number of ranks

    def __call__(self, step: int) -> tuple[int, RawBatch]:
        """Return the epoch of a step, and this rank's clips."""
        return step // max(1, self.epoch_clips // self.stream.batch), self.stream.batch_at(step)


def choose_batches(
    model: Predictor, dataset: Dataset, frames: int, plan: TrainingPlan, ranks: Ranks = ALONE
) -> StoredBatches | OrderedBatches:
    """Return the batches of the training split that suit the model: in order if it carries state, else shuffled.

    The clips are cut to `frames` frames and have the annotations that the model needs. Raises InputError where the
    dataset does not have them.
    """
    annotations = tuple(name for name in ANNOTATIONS if name in model.needs)
    missing = [name for name in annotations if name not in families.find(dataset.family).annotations(dataset)]
    if missing:
        raise InputError(
            f"{type(model).__name__} needs {' and '.join(missing)} of its training clips, and the dataset "
            f"{dataset.path} ({dataset.name}) has no such annotation: choose another --model or --data"
        )
    clips = AnnotatedClips(dataset, "train", frames, annotations)
    return OrderedBatches(clips, plan) if model.carries_state else StoredBatches(clips, plan, ranks)
