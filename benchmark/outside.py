"""Futures that another program drew, scored as our own are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import registry
from benchmark import environment, protocols, results
from benchmark.protocols import Protocol
from benchmark.run import check_dataset, claim, read_json, score_all, tabulate
from benchmark.scoring import ScoredClips
from mmnist_av.errors import InputError
from mmnist_av.files import sha256, sole_writer
from mmnist_av.store import Dataset, open_dataset

FUTURES, ABOUT = "predictions.npy", "predictions.json"
WANTED = '{"model": "a-name-of-yours", "fingerprint": "..."}'


@dataclass(frozen=True)
class Predictions:
    """What lies in a folder of predictions."""

    model: str  # its name on the board
    futures: NDArray[Any]  # (clips, K, predicted, C, H, W) uint8, or float in [0, 1]; mapped into memory
    path: Path

    def __call__(self, index: int) -> Tensor:
        """The futures of a clip: (1, K, predicted, C, H, W) in [0, 1], float32. Raises InputError for other values."""
        found = np.array(self.futures[index])
        if found.dtype == np.uint8:
            return torch.from_numpy(found)[None].float() / 255
        wrong = np.argwhere(~((found >= 0) & (found <= 1)))  # a NaN is wrong, too
        if len(wrong):
            sample, frame = wrong[0, :2]
            where = f"clip {index}, sample {sample}, predicted frame {frame + 1}"
            raise InputError(f"{self.path}: {where}: values must be within 0 and 1, {found[tuple(wrong[0])]:g} is not")
        return torch.from_numpy(found.astype(np.float32))[None]


def open_predictions(folder: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
    """The predictions in `folder`, of the dataset's test clips under the protocol.

    Raises InputError for files missing or unreadable, another dataset, a name of ours, another shape or type.
    """
    about = _read_about(folder / ABOUT)
    if about["fingerprint"] != dataset.fingerprint:
        told = f"they are of the dataset {about['fingerprint']}, {dataset.path} is {dataset.fingerprint}"
        raise InputError(f"{folder / ABOUT}: {told}: predict the test clips of this one")
    if about["model"] in registry.models():
        raise InputError(f"{folder / ABOUT}: '{about['model']}' is a model of this package: choose another name")
    path = folder / FUTURES
    try:
        futures = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    clips, picture = len(dataset.split("test")), _picture(dataset)
    wanted = f"({clips} clips, K, {protocol.test_predicted}, {', '.join(map(str, picture))})"
    if futures.ndim != 6 or futures.shape[2:] != (protocol.test_predicted, *picture) or not futures.shape[1]:
        raise InputError(f"{path} has the shape {futures.shape}, {wanted} is wanted")
    if futures.shape[0] != clips:
        raise InputError(f"{path} has {futures.shape[0]} clips, the test split has {clips}: {wanted} is wanted")
    if futures.dtype != np.uint8 and not np.issubdtype(futures.dtype, np.floating):
        raise InputError(f"{path} holds {futures.dtype}: uint8, or floats within 0 and 1, are wanted")
    return Predictions(about["model"], futures, path)


def _read_about(path: Path) -> dict[str, str]:
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {WANTED} is wanted") from error
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in ("model", "fingerprint")):
        raise InputError(f"{path} must say {WANTED}")
    return about


def _picture(dataset: Dataset) -> tuple[int, int, int]:
    return 1, dataset.spec.canvas, dataset.spec.canvas


def score_predictions(
    folder: Path, protocol_name: str, data: Path, out: Path, device: str = "auto"
) -> tuple[pd.DataFrame, Path]:
    """Score a folder of predictions beside the floors, from wherever an earlier call was broken off.

    Returns the rows and `out`, a run's folder without training. Raises InputError as `open_predictions` does.
    """
    protocol, compute = protocols.find(protocol_name), environment.choose_compute(device)
    dataset = open_dataset(data)
    check_dataset(dataset, protocol)
    predictions = open_predictions(folder, dataset, protocol)
    clips = ScoredClips(dataset.split("test"), protocol, len(predictions.futures), compute.device)
    facts = {
        "model": predictions.model,
        "settings": {},
        "protocol": protocol.name,
        "preset": "outside",
        "fingerprint": dataset.fingerprint,
        "dataset": f"{protocol.dataset} {dataset.spec.variant}".strip(),
        "digits": dataset.manifest["digits"]["source"],
        "seed": "",
        "predictions": sha256(predictions.path),
        "samples": predictions.futures.shape[1],
        "test_clips": clips.count,
        "device": compute.device.type,
        "code_version": environment.code_version(),
    }
    with sole_writer(out):
        claim(out, facts, environment.describe(compute))
        scores = score_all({predictions.model: predictions}, clips, compute, out)
        unknown = {"seed": "", "steps": "", "batch": "", "settings": ""}
        rows = tabulate(scores, protocol, facts, unknown, read_json(out / "environment.json"))
        results.write_rows(rows, out / "results.csv")
    return rows, out
