"""The manifest: what is requested, what is written, and every change of it is found."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from forged import forge
from mmnist_av.clip_format import ClipFormat
from mmnist_av.dataset import open_dataset, verify
from mmnist_av.exchange.convert import export, import_
from mmnist_av.families import ArrayType
from mmnist_av.m3so.family import spec_of
from mmnist_av.m3so.generate import generate
from mmnist_av.manifest import request
from mmnist_av.system.errors import InputError
from plain_clips import make_plain

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


@pytest.fixture
def plain(tmp_path):
    """A dataset of the family "plain" with the annotation "flow"."""
    return make_plain(tmp_path / "plain", {"train": 2, "test": 1}, SMALL, flow=True).path


FORGERIES = [
    (lambda entries: entries["sizes"].update(train="2"), "sizes.train must be a whole number, not '2'"),
    (lambda entries: entries["sizes"].update(train=2.0), "sizes.train must be a whole number, not 2.0"),
    (lambda entries: entries["sizes"].update(train=10**30), "sizes.train must be less than"),
    (lambda entries: entries["sizes"].update(train=-1), "sizes.train must be at least 0, not -1"),
    (lambda entries: entries["sizes"].update(more=1), "unknown split 'more'"),
    (lambda entries: entries["sizes"].pop("val"), "sizes.val is missing"),
    (lambda entries: entries.update(sizes=[2]), "sizes must have entries by name, not"),
    (lambda entries: entries.update(shard=[1, 0]), "shard: its number, from 1, and the number of shards are expected"),
    (lambda entries: entries.update(shard=[1, 2, 3]), "shard: its number, from 1, and the number of shards"),
    (lambda entries: entries.update(shard="xy"), "shard must be a list, not 'xy'"),
    (lambda entries: entries.update(arrays=[1]), "arrays must have entries by name, not"),
    (lambda entries: entries["arrays"].update({"../x": entries["arrays"]["flow"]}), "cannot be called '../x'"),
    (lambda entries: entries["arrays"].update(frames=entries["arrays"]["flow"]), "cannot be called 'frames'"),
    (
        lambda entries: entries["arrays"]["flow"].update(dtype="<f99"),
        "arrays.flow.dtype: no array has the dtype '<f99'",
    ),
    (lambda entries: entries["arrays"]["flow"].update(dtype="|O"), "arrays.flow.dtype: no array has the dtype"),
    (lambda entries: entries["arrays"]["flow"].update(shape="abc"), "arrays.flow.shape must be a list, not 'abc'"),
    (lambda entries: entries["arrays"]["flow"].update(shape=[6, -2]), "arrays.flow.shape.1 must be at least 0, not -2"),
    (lambda entries: entries["arrays"]["flow"].update(shape=[10**12] * 2), "arrays.flow.shape: no array has the shape"),
    (lambda entries: entries["arrays"]["flow"].update(shape=[1] * 99), "arrays.flow.shape: no array has the shape"),
    (lambda entries: entries["arrays"]["flow"].update(shape=[5], per_frame=True), "'flow' of .* is not per frame"),
    (lambda entries: entries["arrays"]["flow"].update(per_frame=1), "arrays.flow.per_frame must be true or false"),
    (lambda entries: entries.update(annotations=5), "annotations must be a list, not 5"),
    (lambda entries: entries.update(annotations=["frames"]), "annotations are .*, not those that are stored"),
    (lambda entries: entries["format"].update(frames=2**31), "frames must be less than 2147483648"),
    (lambda entries: entries.update(format=None), "format must have entries by name, not None"),
    (lambda entries: entries.update(spec=None), "spec must have entries by name, not None"),
    (lambda entries: entries.update(dataset=5), "dataset must be text, not 5"),
    (lambda entries: entries.update(family=["a"]), "family must be text, not"),
    (lambda entries: entries.update(files=None), "files must have entries by name, not None"),
    (lambda entries: entries["files"]["train/flow.npy"].update(bytes="big"), "flow.npy.bytes must be a whole number"),
    (lambda entries: entries["files"]["train/flow.npy"].update(bytes=10**400), "flow.npy.bytes must be less than"),
    (lambda entries: entries["files"]["train/flow.npy"].update(sha256="0"), "flow.npy.sha256 must be like"),
    (lambda entries: entries.update(beside=None), "beside must have entries by name, not None"),
    (lambda entries: entries.pop("beside"), "beside is missing"),
    (lambda entries: entries.pop("generator"), "generator is missing"),
]
NAMES = ["../x.npy", "/etc/passwd", "train/../../x.npy", "..", ".", "", "./x.npy", "train//x.npy", "a\nb", "a\0b"]


@pytest.mark.parametrize(("change", "message"), FORGERIES)
def test_an_entry_of_another_kind_is_named_with_the_file(plain, change, message):
    forge(plain, change)
    for use in (open_dataset, verify, lambda path: import_(path, path.parent / "again")):
        with pytest.raises(InputError, match=rf"plain/dataset\.json is damaged, or of another version: .*{message}"):
            use(plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("entry", ["files", "beside"])
def test_a_file_that_is_not_in_the_datasets_folder_is_refused(plain, entry, name):
    forge(plain, lambda entries: entries[entry].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    with pytest.raises(InputError, match=f"(?s){entry}: the file '.*' does not lie in the dataset's folder"):
        verify(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("digits"), "digits is missing"),
        (
            lambda entries: entries["digits"].update(source="emnist"),
            "unknown digits.source 'emnist': did you mean mnist",
        ),
        (lambda entries: entries.update(seed=-1), "seed must be at least 0, not -1"),
        (lambda entries: entries.update(seed="0"), "seed must be a whole number, not '0'"),
        (lambda entries: entries.update(spec={}), "the spec has no 'obstacle'"),
    ],
)
def test_an_entry_of_another_kind_than_m3sos_is_named(copy, change, message):
    forge(copy, change)
    with pytest.raises(InputError, match=rf"dataset\.json is damaged, or of another version: {message}"):
        open_dataset(copy)


@pytest.mark.parametrize("spec", [3, {}, {"frames": "x"}])
def test_a_manifest_from_before_families_with_another_spec_is_refused(before_families, spec):
    forge(before_families, lambda entries: entries.update(spec=spec))
    with pytest.raises(InputError, match=r"dataset\.json is damaged, or of another version: "):
        open_dataset(before_families)


def test_forging_nothing_changes_nothing(plain, copy):
    for folder in (plain, copy):
        before = (folder / "dataset.json").read_bytes()
        forge(folder, lambda entries: None)
        assert (folder / "dataset.json").read_bytes() == before
        open_dataset(folder)
