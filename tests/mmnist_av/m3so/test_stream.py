"""Streams give the clips of the dataset, in the same order for any number of workers, and resume."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.stream import M3SOStream
from mmnist_av.system.errors import InputError


def stream(**changes):
    return M3SOStream(Spec(obstacle=True), 1, **{"batch": 2, "frames": 45, **changes})


def indexes(batches, count):
    return [batch["index"].tolist() for batch in itertools.islice(batches, count)]


def test_a_stream_renders_the_clips_of_the_dataset(small_dataset):
    """small_dataset is of the same spec, seed and digits."""
    split = small_dataset.split("train")
    for frames in (None, 20, 60):  # before and after the block
        batch = stream(frames=frames).clips([4, 0, 3])
        count = frames or 100
        np.testing.assert_array_equal(batch["frames"].numpy()[:, :, 0], split.frames[[4, 0, 3], :count])
        np.testing.assert_array_equal(batch["audio"].numpy().reshape(3, -1), split.audio[[4, 0, 3], : 800 * count])
    assert not torch.equal(stream().batch_at(0)["frames"], stream(split="test").batch_at(0)["frames"])


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_deliver_the_same_batches_in_the_same_order(workers):
    context = "fork" if workers else None
    loader = DataLoader(stream(), batch_size=None, num_workers=workers, multiprocessing_context=context)
    batches = list(itertools.islice(loader, 7))
    assert [batch["index"].tolist() for batch in batches] == [[2 * n, 2 * n + 1] for n in range(7)]
    for number, batch in enumerate(batches):
        assert torch.equal(batch["frames"], stream().batch_at(number)["frames"])
        assert torch.equal(batch["audio"], stream().batch_at(number)["audio"])


def test_ranks_divide_the_batches_of_one_process():
    one = indexes(stream(batch=6), 4)
    three = [indexes(stream(rank=rank, ranks=3), 4) for rank in range(3)]
    assert [list(itertools.chain(*parts)) for parts in zip(*three, strict=True)] == one


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_resumes_from_a_position_with_any_number_of_workers(workers):
    first = stream()
    assert indexes(first, 3) == [[0, 1], [2, 3], [4, 5]]
    later = stream()
    later.load_state_dict(json.loads(json.dumps(first.state_dict())))
    context = "fork" if workers else None
    loader = DataLoader(later, batch_size=None, num_workers=workers, multiprocessing_context=context)
    assert indexes(loader, 3) == [[6, 7], [8, 9], [10, 11]]


def test_each_worker_resumes_from_its_own_state(monkeypatch):
    """As with loaders that keep the states of their workers."""
    for worker in range(3):
        own = SimpleNamespace(id=worker, num_workers=3)
        monkeypatch.setattr("mmnist_av.m3so.stream.get_worker_info", lambda own=own: own)
        unbroken, broken, resumed = stream(), stream(), stream()
        taken = indexes(broken, 2)
        resumed.load_state_dict(broken.state_dict())
        assert taken + indexes(resumed, 2) == indexes(unbroken, 4)


def test_a_stream_ends_with_the_last_possible_clip():
    last = stream(batch=2**31)
    with pytest.raises(IndexError):
        last.batch_at(2)
    near = stream().start_at(2**31 - 1)
    assert indexes(near, 5) == [[2**32 - 2, 2**32 - 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tran"}, "unknown split 'tran': did you mean train"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"rank": 2, "ranks": 2}, "rank must be 0 to 1, not 2"),
        ({"ranks": 0}, "ranks must be at least 1, not 0"),
        ({"frames": 101}, "100 frames: 1 to 100 can be used"),
    ],
)
def test_bad_arguments_of_a_stream_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        stream(**changes)


def test_states_of_other_streams_are_refused():
    for other in (stream(batch=3), stream(split="val"), stream(rank=1, ranks=2), M3SOStream(Spec(), 1, batch=2)):
        with pytest.raises(InputError, match="the state of another stream"):
            stream().load_state_dict(other.state_dict())
    with pytest.raises(InputError, match="position is 0 or more, not -1"):
        stream().start_at(-1)


def test_an_index_that_no_split_has_is_an_index_error():
    for index in (-1, 2**32):
        with pytest.raises(IndexError, match="clips are numbered 0 to 4294967295"):
            stream().clips([0, index])


def test_a_loaders_workers_keep_their_own_positions():
    """As state_dict documents: the position of the stream in this process does not change."""
    main = stream().start_at(4)
    loader = DataLoader(main, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert indexes(loader, 2) == indexes(loader, 2) == [[8, 9], [10, 11]]
    assert main.state_dict()["position"] == 4
