"""Batches: shuffled, in order or streamed, with the annotations that a model needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.predictor import ClipShape
from benchmark.training.batches import (
    OrderedBatches,
    StoredBatches,
    StreamedBatches,
    batch_indices,
    choose_batches,
)
from benchmark.training.plan import TrainingPlan
from benchmark.training.processes import Ranks
from mmnist_av import families
from mmnist_av.clips import StoredClips
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from toys import FlowUser, Recurrent, TwoStage

SHAPE = ClipShape((1, 48, 48), (41, 21), seen=3, train_frames=5, fps=10)


@pytest.fixture
def clips(small_dataset):
    return StoredClips(small_dataset.split("train"), 5)


def test_every_epoch_is_a_new_shuffle_of_the_clips():
    plan = TrainingPlan(steps=10, batch=4, seed=0)
    epochs = [batch_indices(13, plan, step) for step in range(6)]
    assert [epoch for epoch, _ in epochs] == [0, 0, 0, 1, 1, 1]
    first, second = ([clip for _, batch in part for clip in batch] for part in (epochs[:3], epochs[3:]))
    assert len(set(first)) == len(set(second)) == 12
    assert first != second
    assert batch_indices(13, replace(plan, seed=1), 0) != epochs[0]


def test_a_split_smaller_than_a_batch_is_one_batch():
    assert sorted(batch_indices(3, TrainingPlan(1, 8, 0), 5)[1]) == [0, 1, 2]


def test_the_ranks_shares_make_up_the_batch(clips):
    plan = TrainingPlan(4, 4, 0)
    whole = StoredBatches(clips, plan)(0)[1]["index"].tolist()
    shares = [StoredBatches(clips, plan, Ranks(rank, 2))(0)[1]["index"].tolist() for rank in (0, 1)]
    assert shares[0] + shares[1] == whole
    with pytest.raises(InputError, match="4 clips cannot be shared evenly among 3 processes"):
        StoredBatches(clips, plan, Ranks(0, 3))(0)


def test_ordered_batches_follow_runs_of_consecutive_clips(clips):
    batches = OrderedBatches(clips, TrainingPlan(9, 2, 0))  # 5 clips: 0 1, 2 3, and clip 4 is left out
    drawn = [batches(step) for step in range(5)]
    assert [epoch for epoch, _ in drawn] == [0, 0, 1, 1, 2]
    assert [batch["index"].tolist() for _, batch in drawn] == [[0, 2], [1, 3], [0, 2], [1, 3], [0, 2]]
    assert [batches.begins_epoch(step) for step in range(5)] == [True, False, True, False, True]
    assert OrderedBatches(clips, TrainingPlan(1, 8, 0))(3)[1]["index"].tolist() == [0, 1, 2, 3, 4]


def test_an_epoch_of_a_stream_is_as_many_clips_as_the_dataset_has(tmp_path):
    dataset = generate(tmp_path / "nb", Spec(), {"train": 1}, seed=0)
    stream = families.find("m3so").stream(dataset, 4, 3, 0, 1, None)
    batches = StreamedBatches(stream, epoch_clips=10)
    assert [batches(step)[0] for step in range(5)] == [0, 0, 1, 1, 2]
    assert batches(3)[1]["index"].tolist() == [12, 13, 14, 15]


def test_a_model_gets_the_order_and_the_annotations_that_it_needs(small_dataset):
    plan = TrainingPlan(4, 2, 0)
    assert isinstance(choose_batches(Recurrent(SHAPE), small_dataset, 5, plan), OrderedBatches)
    shuffled = choose_batches(TwoStage(SHAPE), small_dataset, 5, plan)
    assert shuffled(1)[1].keys() == {"frames", "audio", "index"}
    _, clips = choose_batches(FlowUser(SHAPE), small_dataset, 5, plan)(1)
    assert clips["flow"].shape == (2, 5, 2, 48, 48)
    expected = [
        families.find("m3so").annotate(small_dataset, "train", int(index), "flow", 5) for index in clips["index"]
    ]
    assert np.array_equal(clips["flow"].numpy(), np.stack(expected))
    assert torch.equal(clips["frames"], shuffled(1)[1]["frames"])


def test_a_dataset_without_the_annotation_that_a_model_needs_is_refused(tmp_path):
    dataset = generate(tmp_path / "two", Spec(digits_per_clip=2), {"train": 2}, seed=0)
    with pytest.raises(InputError, match=r"FlowUser needs flow of its training clips, and the dataset .*two \(m3so"):
        choose_batches(FlowUser(SHAPE), dataset, 5, TrainingPlan(1, 2, 0))
