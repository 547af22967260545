"""External predictions: another program's samples, scored as our own are."""

import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints, ValidationError
from torch import Tensor

from baselines.names import FLOORS, names
from baselines.predictor import Prediction
from benchmark.catalogue import EXTERNAL, Protocol, choose_metrics, find_protocol
from benchmark.compute import choose_compute
from benchmark.metrics import named
from benchmark.options import Download
from benchmark.runs import environment
from benchmark.runs.folder import CONFIG, ENVIRONMENT, RESULTS, check_folder, claim, is_run
from benchmark.runs.seal import SEAL
from benchmark.scoring.evaluate import Evaluation, evaluate
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from benchmark.scoring.scores import Entry, remove_records
from benchmark.setup import check_memory, check_splits
from mmnist_av import families
from mmnist_av.dataset import Dataset, open_dataset, refuse_damaged
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import FileState, parse_json, refuse_changed, regular, sha256, sole_writer, state_of
from mmnist_av.system.npy import map_npy
from mmnist_av.system.plugins import NAME, NAME_IN_WORDS

log = logging.getLogger(__name__)

FRAMES, FLOW, MANIFEST = "predictions.npy", "flow.npy", "predictions.json"


class Manifest(BaseModel, extra="allow"):
    """predictions.json."""

    model: Annotated[str, StringConstraints(pattern=NAME)]  # a name that none of our models has
    fingerprint: Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True)]  # of the dataset predicted
    seed: Annotated[int, Field(ge=0)] | None = None  # of the model's training; None: unknown


@dataclass(frozen=True)
class ExternalPredictions:
    """The contents of a folder of predictions."""

    model: str
    seed: int | None  # of the model's training
    frames: NDArray[Any]  # (clips, K, predicted, C, H, W) uint8, or float in [0, 1]; mapped into memory
    flow: NDArray[Any] | None  # (clips, K, predicted, 2, H, W) float, px; mapped into memory
    states: Mapping[Path, FileState | None]  # of the files, when they were opened
    folder: Path
    device: torch.device  # where they are scored

    def draw(self, clip: TargetClip) -> Iterable[Prediction]:
        """Return the samples of a clip, float32.

        Raises InputError for values outside [0, 1], impossible flow, and files that have changed meanwhile.
        """
        refuse_changed(self.states)
        samples = self._read(clip)
        refuse_changed(self.states)
        return [samples]

    def _read(self, clip: TargetClip) -> Prediction:
        flow = None
        if self.flow is not None:
            flow = self._checked(FLOW, self.flow, clip.index, _can_be_flow, "must be finite and at most 1e9 px")
        if self.frames.dtype == np.uint8:
            levels = torch.from_numpy(np.array(self.frames[clip.index])).to(self.device)
            return Prediction(levels[None].float() / 255, flow)
        frames = self._checked(FRAMES, self.frames, clip.index, _within_unit_range, "must be within 0 and 1")
        return Prediction(frames, flow)

    def _checked(
        self, name: str, values: NDArray[Any], index: int, valid: Callable[[NDArray[Any]], NDArray[Any]], rule: str
    ) -> Tensor:
        """Return the values of a clip, (1, K, predicted, ...) float32; InputError for the first that is not `valid`."""
        own = np.array(values[index])
        wrong = np.argwhere(~valid(own))
        if len(wrong):
            sample, frame = wrong[0, :2]
            where = f"clip {index}, sample {sample}, predicted frame {frame + 1}"
            raise InputError(f"{self.folder / name}: {where}: values {rule}, {own[tuple(wrong[0])]!s} is not")
        return torch.from_numpy(own.astype(np.float32)).to(self.device)[None]


def _within_unit_range(values: NDArray[Any]) -> NDArray[Any]:
    inside: NDArray[Any] = (values >= 0) & (values <= 1)  # a NaN is not
    return inside


def _can_be_flow(values: NDArray[Any]) -> NDArray[Any]:
    sound: NDArray[Any] = np.abs(values) <= 1e9  # whose squares float32 can add up; a NaN is not
    return sound


def open_predictions(
    folder: Path, dataset: Dataset, protocol: Protocol, device: torch.device | str
) -> ExternalPredictions:
    """Return the predictions in `folder`, of the dataset's test clips under the protocol.

    Raises InputError for files missing or unreadable, another dataset, a name of ours, another shape or type.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file: name the folder that holds {FRAMES} and {MANIFEST}")
    states = {folder / name: state_of(folder / name) for name in (FRAMES, FLOW)}
    manifest = _read_manifest(folder / MANIFEST)
    if manifest.fingerprint != dataset.fingerprint:
        if dataset.fingerprint.startswith(manifest.fingerprint):
            raise InputError(
                f"{folder / MANIFEST}: the fingerprint '{manifest.fingerprint}' is cut, {dataset.path} has "
                f"{dataset.fingerprint}: write it whole"
            )
        raise InputError(
            f"{folder / MANIFEST}: they are of the dataset {manifest.fingerprint}, {dataset.path} is "
            f"{dataset.fingerprint}: predict the test clips of this one"
        )
    if manifest.model in names():
        raise InputError(f"{folder / MANIFEST}: '{manifest.model}' is a model of this package: choose another name")
    form, clips = dataset.format, len(dataset.split("test"))
    path, frames = folder / FRAMES, _mapped(folder / FRAMES)
    shape = (protocol.test_predicted, form.channels, form.height, form.width)
    expected = f"({clips} clips, K, {', '.join(map(str, shape))})"
    if frames.ndim != 6 or frames.shape[2:] != shape or not frames.shape[1]:
        raise InputError(f"{path} has the shape {frames.shape}, {expected} is expected")
    if frames.shape[0] != clips:
        raise InputError(f"{path} has {frames.shape[0]} clips, the test split has {clips}: {expected} is expected")
    if frames.dtype != np.uint8 and not np.issubdtype(frames.dtype, np.floating):
        raise InputError(f"{path} holds {frames.dtype}: uint8, or floats within 0 and 1, are expected")
    note_if_dark(path, frames)
    flow = _open_flow(folder / FLOW, frames)
    return ExternalPredictions(manifest.model, manifest.seed, frames, flow, states, folder, torch.device(device))


def _read_manifest(path: Path) -> Manifest:
    expected = '{"model": "a-name-of-yours", "fingerprint": "the dataset\'s"}'
    try:
        manifest = Manifest.model_validate(parse_json(regular(path).read_text()), strict=True)
    except (OSError, ValidationError, ValueError) as error:
        found = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            if first["type"] == "string_pattern_mismatch":
                raise InputError(f"{path}: {NAME_IN_WORDS}, not {first['input']!r}") from None
            found = f"{': '.join([*map(str, first['loc']), first['msg']])}"
        raise InputError(f"{path} must hold {expected} ({found})") from error
    if manifest.model_extra:
        unknown, known = ", ".join(manifest.model_extra), ", ".join(Manifest.model_fields)
        log.warning("%s: nothing is made of %s: known are %s", path, unknown, known)
    return manifest


def note_if_dark(path: Path, frames: NDArray[Any]) -> None:
    """Log a note where clip 0 may have been scaled wrongly: levels of 0 to 2 of 255, floats divided by 255 twice."""
    brightest = float(np.nanmax(frames[0].astype(np.float32)))
    if frames.dtype == np.uint8 and 0 < brightest <= 2:
        log.warning("%s: no level of clip 0 is above %g, and white is 255: floats may have been meant", path, brightest)
    elif 0 < brightest <= 1.5 / 255:
        log.warning(
            "%s: no value of clip 0 is above %.2g, and white is 1: it may have been divided by 255 twice",
            path,
            brightest,
        )


def _open_flow(path: Path, frames: NDArray[Any]) -> NDArray[Any] | None:
    """Return the predicted flow of the same samples; None where the folder has none."""
    if not os.path.lexists(path):  # a link that leads nowhere is an error, not a model without flow
        return None
    flow, expected = _mapped(path), (*frames.shape[:3], 2, *frames.shape[4:])
    if flow.shape != expected or not np.issubdtype(flow.dtype, np.floating):
        raise InputError(f"{path} has the shape {flow.shape} of {flow.dtype}: {expected} of floats is expected")
    return flow


def _mapped(path: Path) -> NDArray[Any]:
    try:
        several = zipfile.is_zipfile(regular(path))
        array = None if several else map_npy(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as numpy.save writes arrays of numbers: {error}") from error
    if array is None:
        raise InputError(
            f"{path} is an archive (of numpy.savez or torch.save): one array is expected, as numpy.save writes it"
        )
    return array


def score_predictions(
    folder: Path,
    protocol_name: str,
    data: Path,
    out: Path,
    device: str = "auto",
    metrics: str = "standard",
    weights: Path | Download | None = None,
    report: bool = True,
) -> tuple[pd.DataFrame, Path]:
    """Score a folder of predictions beside the floors, continuing where an interrupted call ended.

    report: whether figures, movies and the page are drawn. Returns the rows and `out`, a run's folder without training.
    Raises InputError as `open_predictions` does.
    """
    protocol, compute = find_protocol(protocol_name), choose_compute(device)
    check_folder(out)
    dataset = open_dataset(data)
    protocol.check(dataset)
    refuse_damaged(dataset.path)
    check_splits(dataset, protocol, ["test"])
    family = families.find(dataset.family)
    chosen = choose_metrics(metrics, family.annotations(dataset), protocol.seen)
    predictions = open_predictions(folder, dataset, protocol, compute.device)
    samples, pixels = predictions.frames.shape[1], math.prod(predictions.frames.shape[2:])
    check_memory(f"{folder / FRAMES}, K = {samples}", samples, pixels, compute)
    clips = TargetClips(dataset, "test", protocol, len(predictions.frames), compute.device)
    code = environment.code_version(type(family))
    predicted = frozenset({"flow"} if predictions.flow is not None else ())
    named.check_weights(metrics, weights)
    named.check_model(metrics, predictions.model, predicted)
    named.check_clips(metrics, clips.count, training_clips=0)
    seed = "" if predictions.seed is None else predictions.seed
    config = {
        "model": predictions.model,
        "settings": {},
        "protocol": protocol.name,
        "preset": EXTERNAL,
        "fingerprint": dataset.fingerprint,
        "dataset": family.label(dataset.manifest),
        "seed": seed,
        "predictions": [sha256(path) for path in (folder / FRAMES, folder / FLOW) if path.exists()],
        "samples": samples,
        "test_clips": clips.count,
        "device": compute.device.type,
        "code_version": code,
    }
    described = environment.describe(compute, code)
    with sole_writer(out):
        empty = not is_run(out)
        claim(out, config, described | {"precision": ""})  # the precision of the predictions is not known
        evaluation = Evaluation(
            entry=Entry(name=predictions.model, draw=predictions.draw, predicts=predicted),
            metrics=chosen,
            clips=clips,
            weights=weights,
            training={"seed": seed, "steps": "", "batch": "", "checkpoint": "", "settings": "", "pretrained": ""},
            compute=compute,
            folder=out,
            report=report,
        )
        try:
            return evaluate(evaluation), out
        except InputError:  # a value that no frame has, for example: the mended predictions may be scored there
            if empty:
                empty_again(out, predictions.model)
            raise


def empty_again(folder: Path, entry: str) -> None:
    """Delete what scoring writes before its report, and no file that the user put there meanwhile."""
    remove_records(folder / "scores", [entry, *FLOORS])
    for name in (SEAL, CONFIG, ENVIRONMENT, RESULTS, "scores.npz", "examples.npz"):
        (folder / name).unlink(missing_ok=True)
