"""Merged shards are the dataset, byte for byte; shards that do not belong together are refused."""

import numpy as np
import pytest

from forged import forge
from mmnist_av import sources, writing
from mmnist_av.dataset import open_dataset, open_dataset_or_shard
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.merge import merge
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256

SPEC, SIZES = Spec(obstacle=True), {"train": 11, "val": 0, "test": 4}


def contents(out):
    return {str(file.relative_to(out)): sha256(file) for file in sorted(out.rglob("*")) if file.is_file()}


@pytest.fixture(autouse=True)
def few_clips_at_once(monkeypatch):
    monkeypatch.setattr(sources, "BYTES_AT_ONCE", 2 * SPEC.format.clip_bytes)


@pytest.fixture
def unbroken(tmp_path):
    return contents(generate(tmp_path / "unbroken", SPEC, SIZES, seed=5).path)


def shards(tmp_path, of=3):
    return [generate(tmp_path / f"shard {n}", SPEC, SIZES, seed=5, shard=(n, of)).path for n in range(1, of + 1)]


def test_shards_merged_in_any_order_are_the_dataset(tmp_path, unbroken):
    second, *others = shards(tmp_path)
    assert contents(merge(tmp_path / "new", [*others, second]).path) == unbroken


def test_more_shards_than_clips_of_a_split_are_the_dataset_too(tmp_path, unbroken):
    assert contents(merge(tmp_path / "new", shards(tmp_path, of=7)).path) == unbroken


def test_a_shard_holds_its_own_clips_and_says_so(tmp_path):
    whole, part = generate(tmp_path / "new", SPEC, SIZES, seed=5), open_dataset_or_shard(shards(tmp_path)[1])
    assert part.manifest["shard"] == [2, 3]
    assert part.fingerprint != whole.fingerprint
    np.testing.assert_array_equal(part.split("train").frames, whole.split("train").frames[3:7])
    with pytest.raises(InputError, match=r"shard is \[2, 3\], not None"):
        generate(part.path, SPEC, SIZES, seed=5)


def test_a_shard_is_not_taken_for_a_dataset(tmp_path):
    part = generate(tmp_path / "part", SPEC, SIZES, seed=5, shard=(2, 3)).path
    with pytest.raises(InputError, match="part is shard 2 of 3 of m3so: `mmnist-av merge` makes the dataset from its"):
        open_dataset(part)


def test_an_interrupted_merge_is_resumed(tmp_path, unbroken, monkeypatch):
    parts, out = shards(tmp_path), tmp_path / "new"
    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_record", None)
        with pytest.raises(TypeError):
            merge(out, parts)
    with pytest.raises(InputError):
        open_dataset(out)
    assert contents(merge(out, parts).path) == unbroken


def test_shards_that_do_not_form_a_dataset_are_refused(tmp_path):
    one, two, three = shards(tmp_path)
    whole = generate(tmp_path / "whole", SPEC, SIZES, seed=5).path
    other = generate(tmp_path / "other", SPEC, SIZES, seed=6, shard=(3, 3)).path
    cut = generate(tmp_path / "cut", SPEC, SIZES, seed=5, shard=(3, 4)).path
    with (two / "train" / "frames.npy").open("rb+") as file:
        file.seek(1000)
        file.write(b"\x55")
    for parts, message in [
        ([one, three], "shards are missing: 2"),
        ([], "shards are missing: none was given"),
        ([one, one, three], "are both shard 1"),
        ([one, other], "is a shard of another dataset"),
        ([one, cut], "is a shard of another dataset"),
        ([one, whole], "is not a shard: it is a whole dataset"),
        ([one, two, three], r"shard 2 is damaged: train/frames\.npy has changed"),
        ([one, tmp_path / "nowhere"], "is not a dataset"),
    ]:
        with pytest.raises(InputError, match=message):
            merge(tmp_path / "new", parts)
    assert not (tmp_path / "new").exists()


def test_a_shard_of_trillions_is_told_that_the_others_are_missing(tmp_path):
    one, *_ = shards(tmp_path)
    forge(one, lambda entries: entries.update(shard=[1, 2**62]))
    with pytest.raises(InputError, match=r"shards are missing: 2, 3, 4, .*, 101$"):
        merge(tmp_path / "new", [one])
