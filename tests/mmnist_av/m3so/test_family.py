"""M3SO's annotations, its name in results, and its generator and stream, through the interface of families."""

import numpy as np
import pytest

from mmnist_av.families import find
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import backward_flow, block_mask, ink_masks
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

FAMILY = find("m3so")


def annotations(dataset, clip, frames=100):
    return {name: FAMILY.annotate(dataset, "test", clip, name, frames) for name in FAMILY.annotations(dataset)}


def test_annotations_are_those_of_the_truth(small_dataset):
    truth, spec = truth_of(small_dataset.split("test")), spec_of(small_dataset)
    found = annotations(small_dataset, 2)
    assert set(found) == {"block", "block_mask", "label", "events", "flow", "centres"}
    np.testing.assert_array_equal(found["block"], truth.block_place[2])
    np.testing.assert_array_equal(found["block_mask"], block_mask(truth, spec)[2])
    np.testing.assert_array_equal(found["events"], truth.event[2, :, 0] > 0)
    np.testing.assert_array_equal(found["flow"][1:], backward_flow(truth, spec)[2])
    assert not found["flow"][0].any()
    assert found["label"] == truth.label[2, 0]
    assert {name: array.dtype.name for name, array in found.items()} == {
        "block": "int64",
        "block_mask": "bool",
        "label": "int64",
        "events": "bool",
        "flow": "float32",
        "centres": "float32",
    }


def test_centres_are_in_the_middle_of_the_ink(small_dataset):
    truth, spec, pool = truth_of(small_dataset.split("test")), spec_of(small_dataset), load_pool("embedded")["test"]
    centres = FAMILY.annotate(small_dataset, "test", 1, "centres", 100)
    ink = ink_masks(truth, pool, spec)[1, :, 0]
    for t in range(0, 100, 7):
        rows, columns = np.nonzero(ink[t])
        middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        assert tuple(centres[t, 0]) == middle


def test_annotations_are_cut_to_the_requested_frames(small_dataset):
    found = annotations(small_dataset, 0, frames=30)
    assert found["block"].tolist() == [-1, -1], "the block appears later"
    assert {len(found[name]) for name in ("block_mask", "events", "flow", "centres")} == {30}


def test_annotations_depend_on_the_world(tmp_path):
    dataset = generate(tmp_path / "data", Spec(digits_per_clip=2, frames=3), {"test": 1}, seed=0)
    assert FAMILY.annotations(dataset) == {"block_mask", "centres"}
    assert FAMILY.annotate(dataset, "test", 0, "centres", 3).shape == (3, 2, 2)
    with pytest.raises(InputError, match="unknown annotation 'flow'"):
        FAMILY.annotate(dataset, "test", 0, "flow", 3)


def test_the_family_generates_labels_and_streams(tmp_path):
    world = {"frames": 12, "bounce": "specular"}
    dataset = FAMILY.make(tmp_path / "data", world, {"train": 3}, 4, "embedded", None)
    assert FAMILY.label(dataset.manifest) == "M3SO-NB digits=embedded frames=12 bounce=specular"
    stream = FAMILY.stream(dataset, batch=2, frames=10, rank=0, ranks=1, root=None)
    frames = stream.batch_at(0)["frames"][:, :, 0]
    np.testing.assert_array_equal(frames, dataset.split("train").frames[:2, :10])
