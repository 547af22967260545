"""examples.npz: what a few test clips are, and what a run predicted of them."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.protocols import Protocol
from mmnist_av.system.errors import InputError

NUMBERS = ("seen", "fps", "sample_rate")
ARRAYS = ("clips", "truth", "mean", "best", "random", "audio")
WINDOW = 16  # px, side of the brightest window: metrics.block
BLOCK = ("block", "block_side", "windows")

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """E clips of T frames, P of them predicted, under K futures."""

    clips: NDArray[np.integer]  # (E,) numbers of the clips in the test split
    seen: int
    fps: int
    sample_rate: int
    truth: Frames  # (E, T, C, H, W)
    mean: Frames  # (E, P, C, H, W): the K futures averaged pixel by pixel
    best: Frames  # (E, P, C, H, W): the future with the best mean PSNR
    random: Frames  # (E, R, P, C, H, W): the first R futures
    audio: NDArray[np.int16]  # (E, samples) of the T frames
    variance: NDArray[np.floating] | None  # (E, P) or (E, P, 1, H, W): PUQ's 1/m_t
    block: NDArray[np.integer] | None  # (E, 2) px, lower-left corner x, y, y up; -1: none
    block_side: int  # px; 0 without blocks
    windows: NDArray[np.integer] | None  # (E, K, 2): upper-left row, column of each future's brightest window


def read_examples(path: Path, protocol: Protocol) -> Examples:
    """The examples in a file. Raises InputError where it is damaged, or not of the protocol."""
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it") from error
    wanted = (*NUMBERS, *ARRAYS, *(BLOCK if "block" in found else ()))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}")
    for name in NUMBERS + (BLOCK[1:2] if "block" in found else ()):
        if found[name].shape != () or found[name].dtype.kind not in "iu" or found[name] < 1:
            raise InputError(f"{path}: {name} must be one whole number from 1")
        found[name] = int(found[name])
    _check_shapes(found, protocol, path)
    own = {name: found[name] for name in wanted}
    return Examples(**{"variance": found.get("variance"), "block": None, "block_side": 0, "windows": None} | own)


def _check_shapes(found: dict[str, Any], protocol: Protocol, path: Path) -> None:
    """Raise InputError for arrays of another shape, type or range than Examples says."""
    truth, seen, frames = found["truth"], protocol.seen, protocol.test_frames
    if truth.ndim != 5 or truth.shape[1] != frames or found["seen"] != seen or truth.shape[2] not in (1, 3):
        told = f"{found['seen']} frames seen and truth {truth.shape}"
        raise InputError(f"{path}: {told}; {protocol.name} wants {seen} seen and (E, {frames}, 1 or 3, H, W)")
    clips, picture, predicted = len(truth), truth.shape[2:], frames - seen
    futures, samples = found["random"].shape[1:2], frames * found["sample_rate"] // found["fps"]
    wanted: dict[str, tuple[tuple, str]] = {
        "clips": ((clips,), "iu"),
        "truth": (truth.shape, "u"),
        "mean": ((clips, predicted, *picture), "u"),
        "best": ((clips, predicted, *picture), "u"),
        "random": ((clips, *futures, predicted, *picture), "u"),
        "audio": ((clips, samples), "i"),
    }
    if "block" in found:
        windows = found["windows"].shape[1:2]
        wanted |= {"block": ((clips, 2), "i"), "windows": ((clips, *windows, 2), "iu")}
    if "variance" in found:
        maps = (clips, predicted, 1, *picture[1:])
        wanted["variance"] = (maps if found["variance"].ndim == 5 else (clips, predicted), "f")
    for name, (shape, kinds) in wanted.items():
        array = found[name]
        narrow = name in ("truth", "mean", "best", "random") and array.dtype != np.uint8
        if array.shape != shape or array.dtype.kind not in kinds or narrow:
            raise InputError(f"{path}: {name} is {array.dtype} {array.shape}, {shape} is wanted")
    if "block" in found and found["windows"].size:
        furthest = np.array(picture[1:]) - WINDOW
        if (found["windows"] < 0).any() or (found["windows"] > furthest).any():
            raise InputError(f"{path}: windows of {WINDOW} px leave the frames")
    if not clips:
        raise InputError(f"{path} holds no clips: delete it")
    if "variance" in found and not (np.isfinite(found["variance"]) & (found["variance"] >= 0)).all():
        raise InputError(f"{path}: variance must be finite and not negative")
