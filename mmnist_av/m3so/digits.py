"""The pools that digits are drawn from: the embedded digits, and MNIST."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import PART

INK = 20  # px, the largest side of an ink box

# SHA-256 of the pixels and labels that are used, in the order of `_check_digest`
POOL_SHA256 = {
    "embedded": "6cb2b0053d769d8975c623c43fd404237b8421e38ec7b91080df08666b05b00e",
    "mnist": "cb02b1a42b11e32f32b356479b0c1d890b95da19193c9c8922dd2b6cb16f618d",
}

# Number of images of each file that are used; and the images of each split: first, and the one after the last
_MNIST_USED = {"train": 19000, "t10k": 10000}
_MNIST_SPLITS = {"train": ("train", 0, 18000), "val": ("train", 18000, 19000), "test": ("t10k", 0, 10000)}
_EMBEDDED_SPLITS = {"train": (0, 1437), "val": (1437, 1617), "test": (1617, 1797)}
_TILE = 28  # px, both sides of an MNIST image


@dataclass(frozen=True)
class Digits:
    """The pool of digits of one split."""

    tiles: NDArray[np.uint8]  # (P, 20, 20) the ink box in the upper left corner, black around it
    size: NDArray[np.uint8]  # (P, 2) width and height of the ink box, px
    label: NDArray[np.uint8]  # (P,) 0..9

    def __len__(self) -> int:
        return len(self.label)


DigitPool = Mapping[str, Digits]  # by split


def cut_out(images: NDArray[np.uint8], label: NDArray[np.uint8]) -> Digits:
    """Cut each of the `images` (P, rows, columns) to its ink box: the rows and columns with ink.

    Raises InputError if an image has no ink, or an ink box of more than 20 rows or columns.
    """
    inked: list[NDArray[np.bool_]] = [np.any(images, axis=other) for other in (1, 2)]  # columns, rows
    first = [np.argmax(line, axis=1) for line in inked]
    after = [line.shape[1] - np.argmax(line[:, ::-1], axis=1) for line in inked]
    size = np.stack(after, axis=1) - np.stack(first, axis=1)
    wrong = np.flatnonzero((size > INK).any(axis=1) | ~inked[0].any(axis=1))
    if len(wrong):
        raise InputError(f"digit image {wrong[0]} has no ink box of at most {INK} x {INK} px")
    padded = np.pad(images, ((0, 0), (0, INK), (0, INK)))
    row = first[1][:, None] + np.arange(INK)
    column = first[0][:, None] + np.arange(INK)
    tiles = padded[np.arange(len(images))[:, None, None], row[:, :, None], column[:, None, :]]
    return Digits(tiles, size.astype(np.uint8), label)


def load_pool(source: str, mnist_root: Path | None = None, download: bool = False) -> DigitPool:
    """Return the digits of every split, after comparing them with the SHA-256 of their pool.

    source: "embedded", 1797 UCI optical digits that are part of the package; or "mnist", the four MNIST files in
    `mnist_root` (or in its folders raw or MNIST/raw), gzipped or not, with the first 19,000 training images used.
    download: let torchvision fetch the MNIST files first, to `mnist_root` or to the user's cache folder.
    Raises InputError for an unknown source, and for files that are missing, damaged or not MNIST.
    """
    check_source(source)
    if source == "embedded":
        if download:
            raise InputError("--download is for --digits mnist; the embedded digits are part of the package")
        return _embedded()
    if download:
        mnist_root = _download(mnist_root)
    if mnist_root is None:
        raise InputError(
            "the digits 'mnist' need --mnist-root DIR, a folder with the MNIST files; or let `mmnist-av generate` "
            "fetch them (--digits mnist --download), and name its folder with --data"
        )
    return _mnist(mnist_root)


def check_source(source: str) -> None:
    """Raise InputError, with the nearest names, for an unknown digit source."""
    if source not in POOL_SHA256:
        raise unknown_name("digit source", source, POOL_SHA256)


def _embedded() -> DigitPool:
    with resources.files("mmnist_av.m3so").joinpath("embedded.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    _check_digest("embedded", "embedded.npz of the package", images, labels)
    return {
        split: cut_out(images[first:after], labels[first:after]) for split, (first, after) in _EMBEDDED_SPLITS.items()
    }


def _mnist(root: Path) -> DigitPool:
    files = {
        stem: (
            _read_idx(root, f"{stem}-images-idx3-ubyte", (used, _TILE, _TILE)),
            _read_idx(root, f"{stem}-labels-idx1-ubyte", (used,)),
        )
        for stem, used in _MNIST_USED.items()
    }
    _check_digest("mnist", str(root), *files["train"], *files["t10k"])
    return {
        split: cut_out(files[stem][0][first:after], files[stem][1][first:after])
        for split, (stem, first, after) in _MNIST_SPLITS.items()
    }


def _read_idx(root: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the first `shape[0]` items of an IDX file of bytes; later ones are not read."""
    path = _find(root, name)
    count, header = int(np.prod(shape)), 4 + 4 * len(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(header + count)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    item = np.array(shape[1:], ">u4").tobytes()
    if content[:4] != bytes([0, 0, 8, len(shape)]) or content[8:header] != item:
        raise InputError(f"{path} is not the MNIST file of that name")
    if len(content) < header + count:
        raise InputError(f"{path} is cut short: its first {shape[0]} items are needed")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _find(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise InputError(f"the MNIST folder {root} {'is not a folder' if root.exists() else 'does not exist'}")
    for folder in (root, root / "raw", root / "MNIST" / "raw"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise InputError(f"{root} has no {name} or {name}.gz, nor have its folders raw and MNIST/raw")


def _download(root: Path | None) -> Path:
    """Download the MNIST files to root/MNIST, unless it exists; return `root`, or the user's cache folder for None."""
    from torchvision.datasets import MNIST  # imported here because it imports torch

    if root is None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmnist-av"
    if (root / "MNIST").exists():
        return root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".MNIST.", suffix=PART) as folder:
            MNIST(folder, download=True)
            (Path(folder) / "MNIST").rename(root / "MNIST")
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"MNIST could not be downloaded to {root} ({error}): give its files by --mnist-root"
        ) from error
    return root


def _check_digest(source: str, where: str, *arrays: NDArray[np.uint8]) -> None:
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    if digest != POOL_SHA256[source]:
        raise InputError(f"the {source} digits in {where} are not the right ones: SHA-256 {digest}")
