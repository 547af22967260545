"""The dataset on disk: opening, verifying, and reading without copies."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest

from mmnist_av.dataset import open_dataset, verify
from mmnist_av.exchange.convert import export, import_
from mmnist_av.m3so.family import spec_of
from mmnist_av.m3so.generate import generate
from mmnist_av.system.errors import InputError

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


def test_a_flipped_bit_anywhere_in_the_manifest_is_found(copy):
    file = copy / "dataset.json"
    content = file.read_bytes()
    for at in range(len(content)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"dataset\.json"):
            verify(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": 3}', "null"])
def test_a_file_that_is_no_manifest_is_refused(copy, text):
    (copy / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        open_dataset(copy)


def test_a_folder_without_a_manifest_is_no_dataset(copy, tmp_path):
    (copy / "dataset.json").unlink()
    with pytest.raises(InputError, match=r"is not a dataset: it has no dataset\.json"):
        open_dataset(copy)
    with pytest.raises(InputError, match="is not a dataset"):
        open_dataset(tmp_path / "nowhere")


def test_a_wrong_fingerprint_is_refused(copy):
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["fingerprint"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    with pytest.raises(InputError, match="its fingerprint is not that of its spec and files"):
        open_dataset(copy)


def test_the_fingerprint_is_of_the_spec_and_the_files(small_dataset):
    hashes = {name: hashlib.sha256((small_dataset.path / name).read_bytes()).hexdigest() for name in ALL}
    lines = [spec_of(small_dataset).text(), *(f"{hashes[name]}  {name}" for name in sorted(ALL))]
    assert small_dataset.fingerprint == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


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


@pytest.fixture
def before_families(copy):
    """A dataset whose manifest names neither family nor format nor annotations, as M3SO's first version wrote it."""
    manifest = json.loads((copy / "dataset.json").read_text())
    for name in ("family", "format", "annotations", "checksum"):
        del manifest[name]
    manifest["checksum"] = hashlib.sha256(f"{json.dumps(manifest, indent=2, sort_keys=True)}\n".encode()).hexdigest()
    (copy / "dataset.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return copy


def test_a_dataset_from_before_families_opens_and_verifies(small_dataset, before_families):
    dataset = open_dataset(before_families)
    assert (dataset.family, dataset.format) == ("m3so", spec_of(small_dataset).format)
    assert (dataset.annotations, dataset.fingerprint) == ({"truth"}, small_dataset.fingerprint)
    assert verify(before_families) == []


def test_a_dataset_from_before_families_is_not_generated_again(small_dataset, before_families):
    before = (before_families / "dataset.json").read_bytes()
    generate(before_families, spec_of(small_dataset), {"train": 5, "test": 3}, seed=1)
    assert (before_families / "dataset.json").read_bytes() == before


@pytest.mark.parametrize("form", ["webdataset", "hf"])
def test_a_dataset_from_before_families_is_exported_and_imported(small_dataset, before_families, tmp_path, form):
    export(open_dataset(before_families), form, tmp_path / "out")
    assert import_(tmp_path / "out", tmp_path / "again").fingerprint == small_dataset.fingerprint


def test_a_format_that_is_not_the_specs_is_refused(copy):
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["format"]["fps"] = 25
    (copy / "dataset.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    with pytest.raises(InputError, match="its format is not that of its spec"):
        open_dataset(copy)
