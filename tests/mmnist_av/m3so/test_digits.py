"""Digit pools: the source of the embedded digits, the images of MNIST that are used, and wrong files."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmnist_av.m3so import digits
from mmnist_av.m3so.digits import cut_out, load_pool
from mmnist_av.system.errors import InputError


def enlarged(image):
    """An 8x8 image of levels 0..16 as 20x20 of 0..255: bilinear in whole numbers (100ths of a level), then contrast.

    Of the 1600 the levels up to 600 are black and from 1100 on white: strokes get MNIST's sharp edges and width, and
    faint smear does not widen the ink box.
    """
    out = np.zeros((20, 20), np.uint8)
    for i in range(20):
        for j in range(20):
            level = 0
            for row, row_weight in taps(i):
                for column, column_weight in taps(j):
                    level += row_weight * column_weight * int(image[row, column])
            out[i, j] = min(max((level - 600) * 255 // 500, 0), 255)
    return out


def taps(i):
    """Pixel i of 20 lies at (4i - 3) / 10 of 8: the two nearest pixels there, with their weights in tenths."""
    low, part = divmod(4 * i - 3, 10)
    return [(max(low, 0), 10 - part), (min(low + 1, 7), part)]


def test_the_embedded_digits_are_scikit_learns_enlarged():
    theirs = load_digits()
    with np.load(digits.resources.files("mmnist_av.m3so").joinpath("embedded.npz").open("rb")) as ours:
        np.testing.assert_array_equal(ours["labels"], theirs.target)
        np.testing.assert_array_equal(ours["images"], np.stack([enlarged(image) for image in theirs.images]))


def test_the_embedded_splits_have_the_documented_sizes():
    pool = load_pool("embedded")
    assert {split: len(some) for split, some in pool.items()} == {"train": 1437, "val": 180, "test": 180}
    for some in pool.values():
        assert set(some.label) == set(range(10))
        assert some.size.min() >= 4
        assert some.size.max() == 20


def test_an_ink_box_is_the_rows_and_columns_with_any_ink():
    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 5, 7] = images[0, 9, 20] = 1
    images[1, 27, 27] = 255
    cut = cut_out(images, np.array([3, 4], np.uint8))
    assert cut.size.tolist() == [[14, 5], [1, 1]]
    assert np.argwhere(cut.tiles[0]).tolist() == [[0, 0], [4, 13]]
    assert np.argwhere(cut.tiles[1]).tolist() == [[0, 0]]


@pytest.mark.parametrize("image", [np.zeros((28, 28), np.uint8), np.eye(28, dtype=np.uint8)])
def test_images_without_a_proper_ink_box_are_refused(image):
    with pytest.raises(InputError, match="digit image 0 has no ink box"):
        cut_out(image[None], np.zeros(1, np.uint8))


def test_mnist_splits(mnist_root):
    pool = load_pool("mnist", mnist_root)
    assert {split: len(some) for split, some in pool.items()} == {"train": 18000, "val": 1000, "test": 10000}


def test_mnist_unzipped_in_torchvisions_folder_is_the_same(mnist_root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in mnist_root.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    ours, theirs = load_pool("mnist", tmp_path)["val"], load_pool("mnist", mnist_root)["val"]
    np.testing.assert_array_equal(ours.tiles, theirs.tiles)


TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def zipped(change):
    return lambda file: file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes())), 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "has no t10k-labels-idx1-ubyte"),
        (lambda file: file.write_bytes(b"<html>"), "cannot be read"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "cannot be read"),
        (zipped(lambda bytes_: bytes_[:-1]), "is cut short: its first 10000 items are needed"),
        (zipped(lambda bytes_: b""), "is not the MNIST file of that name"),
        (zipped(lambda bytes_: bytes_[:3] + b"\3" + bytes_[4:]), "is not the MNIST file of that name"),
        (zipped(lambda bytes_: bytes_[:-1] + b"\0"), "are not the right ones"),
    ],
)
def test_wrong_mnist_files_are_named_in_the_error(mnist_root, tmp_path, damage, message):
    for file in mnist_root.glob("*.gz"):
        shutil.copyfile(file, tmp_path / file.name)
    damage(tmp_path / TEST_LABELS)
    with pytest.raises(InputError, match=message):
        load_pool("mnist", tmp_path)


def test_errors_say_why_digits_cannot_be_loaded(tmp_path):
    with pytest.raises(InputError, match="unknown digit source 'mnst': did you mean mnist"):
        load_pool("mnst")
    with pytest.raises(InputError, match="need --mnist-root DIR"):
        load_pool("mnist")
    with pytest.raises(InputError, match="does not exist"):
        load_pool("mnist", tmp_path / "nowhere")
    with pytest.raises(InputError, match="--download is for --digits mnist"):
        load_pool("embedded", download=True)


def test_a_failed_download_is_an_input_error(tmp_path, monkeypatch):
    def refuse(root, download):
        raise RuntimeError("Error downloading\ntrain-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(InputError, match="could not be downloaded"):
        load_pool("mnist", tmp_path, download=True)


def test_downloaded_files_are_read_like_any_folder(mnist_root, tmp_path, monkeypatch):
    def fetch(root, download):
        shutil.copytree(mnist_root, Path(root) / "MNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.MNIST", fetch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(load_pool("mnist", download=True)["test"]) == 10000
    assert (tmp_path / "cache" / "mmnist-av" / "MNIST" / "raw" / TEST_LABELS).is_file()


def test_a_download_replaces_no_file(tmp_path, monkeypatch):
    def fetch(root, download):
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        (raw / TEST_LABELS).write_bytes(b"downloaded")

    monkeypatch.setattr("torchvision.datasets.MNIST", fetch)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / TEST_LABELS).write_bytes(b"mine")
    with pytest.raises(InputError, match="has no train-images"):
        load_pool("mnist", tmp_path, download=True)
    assert (raw / TEST_LABELS).read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_a_changed_embedded_pool_is_refused(monkeypatch):
    monkeypatch.setitem(digits.POOL_SHA256, "embedded", "0" * 64)
    with pytest.raises(InputError, match="are not the right ones"):
        load_pool("embedded")
