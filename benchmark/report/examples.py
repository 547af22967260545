"""examples.npz: a few test clips and a run's predictions of them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalogue import Protocol
from mmnist_av.system.errors import InputError

NUMBERS = {"seen": 0, "fps": 1, "sample_rate": 1}  # name -> the least value
PICTURES = ("target", "mean", "best", "random")
ARRAYS = ("clips", "audio", *PICTURES)
BLOCK = ("block", "block_side", "windows")  # all three or none

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """E clips of T frames, P of them predicted, with K samples per clip."""

    clips: NDArray[np.integer]  # (E,) numbers of the clips in the test split
    seen: int  # frames given to the model
    fps: int
    sample_rate: int  # Hz
    target: Frames  # (E, T, C, H, W), C is 1 or 3
    mean: Frames  # (E, P, C, H, W): the K samples averaged pixel by pixel
    best: Frames  # (E, P, C, H, W): the sample with the best mean PSNR
    random: Frames  # (E, R, P, C, H, W): the first R samples
    audio: NDArray[np.int16]  # (E, sound samples) of the T frames
    variance: NDArray[np.floating] | None = None  # (E, P): the error that the model expects
    block: NDArray[np.integer] | None = None  # (E, 2) px, lower-left corner x, y, y up; -1: none
    block_side: int = 0  # px; 0 without blocks
    windows: NDArray[np.integer] | None = (
        None  # (E, K, 2) px, row and column of each sample's brightest window's corner
    )


def read_examples(path: Path, protocol: Protocol) -> Examples:
    """Return the examples in a file. Raises InputError where it is damaged, or does not fit the protocol."""
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it") from error
    needed = (*NUMBERS, *ARRAYS, *(BLOCK if "block" in found else ()))
    missing = [name for name in needed if name not in found]
    if missing:
        raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}; delete it")
    least = NUMBERS | ({"block_side": 1} if "block" in found else {})
    for name in least:
        number = found[name]
        if number.shape != () or number.dtype.kind not in "iu" or number < least[name]:
            raise InputError(f"{path}: {name} must be one whole number from {least[name]}")
        found[name] = int(number)
    _check_shapes(found, protocol, path)
    _check_values(found, path)
    return Examples(**{name: found[name] for name in (*needed, "variance") if name in found})


def _check_shapes(found: dict[str, Any], protocol: Protocol, path: Path) -> None:
    """Raise InputError for arrays of another shape or type than Examples says."""
    target, seen, frames = found["target"], protocol.seen, protocol.test_frames
    if target.ndim != 5 or target.shape[1] != frames or found["seen"] != seen or target.shape[2] not in (1, 3):
        raise InputError(
            f"{path}: protocol {protocol.name} needs {seen} seen frames and a target (E, {frames}, 1 or 3, H, W), "
            f"found {found['seen']} and {target.shape}"
        )
    clips, picture, predicted = len(target), target.shape[2:], protocol.test_predicted
    expected: dict[str, tuple[tuple[int, ...], str]] = {  # shape, and kinds of numpy's types
        "clips": ((clips,), "iu"),
        "target": (target.shape, "u"),
        "mean": ((clips, predicted, *picture), "u"),
        "best": ((clips, predicted, *picture), "u"),
        "random": ((clips, *found["random"].shape[1:2], predicted, *picture), "u"),
        "audio": ((clips, frames * found["sample_rate"] // found["fps"]), "i"),
        "variance": ((clips, predicted), "f"),
    }
    if "block" in found:
        expected |= {"block": ((clips, 2), "i"), "windows": ((clips, *found["windows"].shape[1:2], 2), "iu")}
    for name, (shape, kinds) in expected.items():
        array = found.get(name)
        if array is None:
            continue
        wrong_pixels = name in PICTURES and array.dtype != np.uint8
        if array.shape != shape or array.dtype.kind not in kinds or wrong_pixels:
            raise InputError(f"{path}: {name} is {array.dtype} {array.shape}, expected {shape}")


def _check_values(found: dict[str, Any], path: Path) -> None:
    """Raise InputError for arrays with impossible values."""
    if not len(found["clips"]):
        raise InputError(f"{path} holds no clips: delete it")
    if "block" in found and found["windows"].size:
        furthest = np.array(found["target"].shape[-2:]) - found["block_side"]
        if (found["windows"] < 0).any() or (found["windows"] > furthest).any():
            raise InputError(f"{path}: windows of {found['block_side']} px leave the frames")
    if "variance" in found and not (np.isfinite(found["variance"]) & (found["variance"] >= 0)).all():
        raise InputError(f"{path}: variance must be finite and not negative")
