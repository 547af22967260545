"""Futures that another program drew, scored as our own are."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import registry
from baselines.predictor import Prediction
from benchmark import protocols
from benchmark.compute import choose_compute
from benchmark.metrics import choose
from benchmark.protocols import Protocol
from benchmark.run import check_dataset
from benchmark.runs import environment
from benchmark.runs.folder import claim
from benchmark.scoring.evaluate import evaluate
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.scores import Contender
from mmnist_av.dataset import Dataset, open_dataset
from mmnist_av.m3so.family import spec_of
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256, sole_writer

FUTURES, FLOW, ABOUT = "predictions.npy", "flow.npy", "predictions.json"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
WANTED = '{"model": "a-name-of-yours", "fingerprint": "..."}'


@dataclass(frozen=True)
class Predictions:
    """What lies in a folder of predictions."""

    model: str  # its name on the board
    futures: NDArray[Any]  # (clips, K, predicted, C, H, W) uint8, or float in [0, 1]; mapped into memory
    flow: NDArray[Any] | None  # (clips, K, predicted, 2, H, W) float, px; mapped into memory
    folder: Path
    device: torch.device  # where they are scored

    def __call__(self, index: int) -> Prediction:
        """The futures of a clip, float32. Raises InputError for values outside [0, 1] and flow that is not finite."""
        flow = None
        if self.flow is not None:
            flow = self._checked(FLOW, self.flow, index, np.isfinite, "must be finite")
        if self.futures.dtype == np.uint8:
            levels = torch.from_numpy(np.array(self.futures[index])).to(self.device)
            return Prediction(levels[None].float() / 255, flow)
        frames = self._checked(FUTURES, self.futures, index, _within_0_and_1, "must be within 0 and 1")
        return Prediction(frames, flow)

    def _checked(
        self, name: str, values: NDArray[Any], index: int, valid: Callable[[NDArray[Any]], NDArray[Any]], rule: str
    ) -> Tensor:
        """The values of a clip, (1, K, predicted, ...) float32; InputError where one is not `valid`."""
        found = np.array(values[index])
        wrong = np.argwhere(~valid(found))
        if len(wrong):
            sample, frame = wrong[0, :2]
            where = f"clip {index}, sample {sample}, predicted frame {frame + 1}"
            raise InputError(f"{self.folder / name}: {where}: values {rule}, {found[tuple(wrong[0])]:g} is not")
        return torch.from_numpy(found.astype(np.float32)).to(self.device)[None]


def _within_0_and_1(values: NDArray[Any]) -> NDArray[Any]:
    inside: NDArray[Any] = (values >= 0) & (values <= 1)  # a NaN is not
    return inside


def open_predictions(
    folder: Path, dataset: Dataset, protocol: Protocol, device: torch.device | str = "cpu"
) -> Predictions:
    """The predictions in `folder`, of the dataset's test clips under the protocol.

    Raises InputError for files missing or unreadable, another dataset, a name of ours, another shape or type.
    """
    about = _read_about(folder / ABOUT)
    if about["fingerprint"] != dataset.fingerprint:
        told = f"they are of the dataset {about['fingerprint']}, {dataset.path} is {dataset.fingerprint}"
        raise InputError(f"{folder / ABOUT}: {told}: predict the test clips of this one")
    if about["model"] in registry.names():
        raise InputError(f"{folder / ABOUT}: '{about['model']}' is a model of this package: choose another name")
    if not NAME.fullmatch(about["model"]):
        raise InputError(f"{folder / ABOUT}: a name has letters, digits, '.', '_' and '-', not {about['model']!r}")
    clips, picture = len(dataset.split("test")), _picture(dataset)
    path, futures = folder / FUTURES, _mapped(folder / FUTURES)
    wanted = f"({clips} clips, K, {protocol.test_predicted}, {', '.join(map(str, picture))})"
    if futures.ndim != 6 or futures.shape[2:] != (protocol.test_predicted, *picture) or not futures.shape[1]:
        raise InputError(f"{path} has the shape {futures.shape}, {wanted} is wanted")
    if futures.shape[0] != clips:
        raise InputError(f"{path} has {futures.shape[0]} clips, the test split has {clips}: {wanted} is wanted")
    if futures.dtype != np.uint8 and not np.issubdtype(futures.dtype, np.floating):
        raise InputError(f"{path} holds {futures.dtype}: uint8, or floats within 0 and 1, are wanted")
    return Predictions(about["model"], futures, _open_flow(folder / FLOW, futures), folder, torch.device(device))


def _open_flow(path: Path, futures: NDArray[Any]) -> NDArray[Any] | None:
    """The predicted flow of the same futures; None where there is none."""
    if not path.exists():
        return None
    flow, wanted = _mapped(path), (*futures.shape[:3], 2, *futures.shape[4:])
    if flow.shape != wanted or not np.issubdtype(flow.dtype, np.floating):
        raise InputError(f"{path} has the shape {flow.shape} of {flow.dtype}: {wanted} of floats is wanted")
    return flow


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays (numpy.savez): one is wanted, as numpy.save writes it")
    return array


def _read_about(path: Path) -> dict[str, str]:
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {WANTED} is wanted") from error
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in ("model", "fingerprint")):
        raise InputError(f"{path} must say {WANTED}")
    return about


def _picture(dataset: Dataset) -> tuple[int, int, int]:
    return dataset.format.channels, dataset.format.height, dataset.format.width


def score_predictions(
    folder: Path,
    protocol_name: str,
    data: Path,
    out: Path,
    device: str = "auto",
    metrics: str = "standard",
    weights: Path | None = None,
) -> tuple[pd.DataFrame, Path]:
    """Score a folder of predictions beside the floors, from wherever an earlier call was broken off.

    Returns the rows and `out`, a run's folder without training. Raises InputError as `open_predictions` does.
    """
    protocol, compute = protocols.find(protocol_name), choose_compute(device)
    chosen = choose(metrics, protocol.metrics)
    dataset = open_dataset(data)
    check_dataset(dataset, protocol)
    predictions = open_predictions(folder, dataset, protocol, compute.device)
    clips = TrueClips(dataset, "test", protocol, len(predictions.futures), compute.device)
    facts = {
        "model": predictions.model,
        "settings": {},
        "protocol": protocol.name,
        "preset": "outside",
        "fingerprint": dataset.fingerprint,
        "dataset": f"{protocol.dataset} {spec_of(dataset).variant}".strip(),
        "digits": dataset.manifest["digits"]["source"],
        "seed": "",
        "predictions": [sha256(path) for path in (folder / FUTURES, folder / FLOW) if path.exists()],
        "samples": predictions.futures.shape[1],
        "test_clips": clips.count,
        "device": compute.device.type,
        "code_version": environment.code_version(),
    }
    unknown = {"seed": "", "steps": "", "batch": "", "settings": "", "trained": ""}
    with sole_writer(out):
        claim(
            out, facts, environment.describe(compute, facts["code_version"]) | {"precision": ""}
        )  # the futures', which nobody knows
        contender = Contender(predictions.model, predictions)
        rows = evaluate(contender, chosen, clips, weights, facts, unknown, compute, out)
    return rows, out
