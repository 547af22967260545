"""The dataset on disk: opening, verifying, and reading without copies."""

import pickle
import shutil

import numpy as np
import pytest

from forged import forge
from mmnist_av.clip_format import ClipFormat
from mmnist_av.dataset import open_dataset, verify
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256
from plain_clips import make_plain

ALL = [f"{split}/{name}" for split in ("train", "test") for name in ("frames.npy", "audio.npy", "truth.npz")]


@pytest.fixture
def copy(small_dataset, tmp_path):
    return shutil.copytree(small_dataset.path, tmp_path / "copy")


def test_a_whole_dataset_is_as_it_was_written(small_dataset):
    assert verify(small_dataset.path) == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_flipped_bit_is_found_and_named(copy, name, where):
    content = bytearray((copy / name).read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[where]] ^= 1
    (copy / name).write_bytes(content)
    assert verify(copy) == [f"{name} has changed"]


@pytest.mark.parametrize("name", ALL)
def test_a_shortened_file_is_found_and_named(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    assert verify(copy) == [f"{name} has {len(content) - 1} bytes, not {len(content)}"]
    with pytest.raises(InputError, match=name):
        open_dataset(copy)


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_found_and_named(copy, name):
    (copy / name).unlink()
    assert verify(copy) == [f"{name} is missing"]
    with pytest.raises(InputError, match=f"{name} is missing"):
        open_dataset(copy)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("frames.npy", b"garbage"),
        ("frames.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (23000000000000,)}"),
        ("truth.npz", b"garbage"),
        ("truth.npz", b"PK\x03\x04"),
    ],
)
def test_a_file_that_is_no_array_is_named_in_our_own_words(copy, name, content):
    size = (copy / "test" / name).stat().st_size
    (copy / "test" / name).write_bytes(content + b" " * (size - len(content)))
    split = open_dataset(copy).split("test")
    with pytest.raises(InputError, match=rf"test/{name} cannot be read: .*; delete the folder") as error:
        _ = split.frames, split.record("truth")
    assert "allow_pickle" not in str(error.value)


def test_a_record_with_a_changed_byte_is_refused(copy):
    path = copy / "test" / "truth.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 99
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"test/truth\.npz cannot be read: it has changed since it was written"):
        open_dataset(copy).split("test").record("truth")


def test_a_compressed_record_is_refused_before_it_is_read(copy):
    np.savez_compressed(copy / "test" / "truth.npz", label=np.zeros(10_000_000))
    forge(copy, lambda entries: entries["files"].update({"test/truth.npz": facts(copy / "test" / "truth.npz")}))
    with pytest.raises(InputError, match=r"test/truth\.npz cannot be read: it is compressed, which no dataset is"):
        open_dataset(copy).split("test").record("truth")


def facts(path):
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def test_an_annotation_of_another_type_than_dataset_json_says_is_refused(tmp_path):
    format = ClipFormat(frames=5, channels=1, height=18, width=25, fps=30, sample_rate=44100)
    path = make_plain(tmp_path / "data", {"test": 2}, format, flow=True).path
    forge(path, lambda entries: entries["arrays"]["flow"].update(shape=[5, 2, 9, 25]))
    with pytest.raises(
        InputError, match=r"flow\.npy has clips of \(5, 2, 18, 25\) float32, not \(5, 2, 9, 25\) float32"
    ):
        open_dataset(path).split("test").array("flow")


def test_the_arrays_are_maps_that_numpy_alone_can_read(small_dataset):
    split = small_dataset.split("train")
    assert split.frames.shape == (5, 100, 48, 48)
    assert split.audio.shape == (5, 80000)
    assert isinstance(split.frames, np.memmap)
    assert split.frames is split.frames
    np.testing.assert_array_equal(split.frames, np.load(split.path / "frames.npy", mmap_mode="r"))
    with np.load(split.path / "truth.npz") as truth:
        assert set(truth) == set(split.record("truth"))


def test_nothing_written_to_a_map_reaches_the_disk(small_dataset):
    split = small_dataset.split("test")
    split.frames[0, 0, 0, 0] ^= 255
    assert verify(small_dataset.path) == []
    split.frames[0, 0, 0, 0] ^= 255


def test_a_pickled_split_is_small_and_opens_its_own_maps(small_dataset):
    split = small_dataset.split("train")
    assert split.frames.nbytes > 1_000_000
    content = pickle.dumps(split)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content).frames, split.frames)


def test_splits_by_name(small_dataset):
    assert len(small_dataset.split("train")) == 5
    assert len(small_dataset.split("val")) == 0
    with pytest.raises(InputError, match="generated without clips in its split 'val'"):
        small_dataset.split("val").frames  # noqa: B018
    with pytest.raises(InputError, match="unknown split 'tets': did you mean test"):
        small_dataset.split("tets")
