"""The manifest: what is requested, what is written, and every change of it is found."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from mmnist_av.clip_format import ClipFormat
from mmnist_av.dataset import open_dataset, verify
from mmnist_av.exchange.convert import export, import_
from mmnist_av.families import ArrayType
from mmnist_av.m3so.family import spec_of
from mmnist_av.m3so.generate import generate
from mmnist_av.manifest import request
from mmnist_av.system.errors import InputError

SMALL = ClipFormat(frames=6, channels=3, height=16, width=24, fps=30, sample_rate=44100)
ALL = [f"{split}/{name}" for split in ("train", "test") for name in ("frames.npy", "audio.npy", "truth.npz")]


@pytest.fixture
def copy(small_dataset, tmp_path):
    return shutil.copytree(small_dataset.path, tmp_path / "copy")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": {"trian": 1}}, "unknown split 'trian': did you mean train"),
        ({"sizes": {"train": -1}}, "the split 'train' cannot have -1 clips"),
        ({"sizes": {}}, "needs at least one clip"),
        ({"arrays": {"frames": ArrayType((1,), np.dtype(np.int8))}}, "an annotation cannot be called 'frames'"),
        ({"arrays": {"../x": ArrayType((1,), np.dtype(np.int8))}}, "an annotation cannot be called"),
        ({"arrays": {"speed": ArrayType((5,), "f4", per_frame=True)}}, "is not per frame: a clip has 6"),
        ({"family": "m3os"}, "unknown family of datasets 'm3os': did you mean m3so"),
    ],
)
def test_bad_requests_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        request(**{"name": "bad", "format": SMALL, "sizes": {"train": 1}, **changed})


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
