"""Futures to scores: every metric for every clip, sample and frame, in one pass that can be broken off."""

import logging
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics import METRICS, Metric
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.resources import Measure, Practice, Setting, Unavailable
from benchmark.scoring.ground_truth import TARGETS, TrueClip, TrueClips
from benchmark.scoring.records import CHECKSUM, record_all
from benchmark.scoring.samples import Futures
from benchmark.scoring.statistics import by_sampling
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_whole

log = logging.getLogger(__name__)

# metric -> (clips, samples, frames); "metric/mean_frame" -> (clips, frames); a distance of sets -> ()
Scores = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Contender:
    """A model in the test."""

    name: str
    futures: Futures  # of the test clips
    practice: Practice | None = None  # what can be asked about training clips


def score_all(
    contenders: Iterable[Contender], metrics: Sequence[str], clips: TrueClips, setting: Setting, folder: Path
) -> dict[str, Scores]:
    """The scores of every contender by its name; kept in scores.npz in `folder`, and taken from there if they are.

    A metric that cannot be had is left out, and the log says why.
    """
    path, parts = folder / "scores.npz", folder / "scores"
    scores = read_all(path) if path.exists() else {}
    told: set[str] = set()
    for contender in contenders:
        known = scores.setdefault(contender.name, {})
        measures = measures_of(contender, [name for name in metrics if name not in known], setting, told)
        if measures:
            parts.mkdir(exist_ok=True)
            known.update(score(contender, measures, clips, parts))
            write_all(scores, path)
    shutil.rmtree(parts, ignore_errors=True)
    return scores


def measures_of(contender: Contender, names: Iterable[str], setting: Setting, told: set[str]) -> dict[str, Measure]:
    """What measures the metrics that can be had of this contender; says why others cannot, once, as `told` knows."""
    measures: dict[str, Measure] = {}
    left_out: dict[str, list[str]] = {}
    for name in names:
        try:
            if METRICS[name].judges != "frames" and judged(METRICS[name], contender.futures(0)) is None:
                continue
            measures[name] = METRICS[name].get(replace(setting, practice=contender.practice))
        except Unavailable as reason:
            left_out.setdefault(str(reason), []).append(name)
    for why in left_out.keys() - told:
        log.warning("%s left out for %s: %s", ", ".join(left_out[why]), contender.name, why)
    told.update(left_out)
    return measures


def score(contender: Contender, measures: Mapping[str, Measure], clips: TrueClips, parts: Path) -> Scores:
    """Score the futures of the clips; what an earlier, broken-off call left in `parts` is kept.

    One pass of K futures a clip serves every metric and every sampling rule.
    """

    def measured(index: int) -> Scores:
        return score_clip(measures, clips(index), contender.futures(index))

    records = record_all(measured, clips.count, parts / contender.name, list(measures), f"score {contender.name}")
    distances = [name for name in measures if METRICS[name].of == "set"]
    names = [name for name in records.dtype.names or () if name not in (CHECKSUM, *distances)]
    scores: Scores = {name: np.array(records[name]) for name in names}
    if distances:
        true = true_features({name: measures[name] for name in distances}, clips, parts)
        for name in distances:
            scores[name] = np.array(frechet_distance(as_set(true[name]), as_set(records[name])))
    return scores


def score_clip(measures: Mapping[str, Measure], clip: TrueClip, predicted: Prediction) -> Scores:
    """The scores of a clip: of each future, of their pixelwise mean, of their pairs; and its features for sets."""
    scores: Scores = {}
    for name, measure in measures.items():
        metric, what = METRICS[name], judged(METRICS[name], predicted)
        if what is None:
            continue
        if metric.of == "set":
            scores[name] = as_array(measure(None, what[:, :1]))
            continue
        target, what = TARGETS[metric.target](clip), what[:, : metric.futures]
        scores[name] = as_array(measure(target, what)[0])
        if metric.of == "future" and predicted.frames.shape[1] > 1:
            scores[f"{name}/mean_frame"] = as_array(measure(target, what.mean(1, keepdim=True))[0, 0])
    return scores


def judged(metric: Metric, predicted: Prediction) -> Tensor | None:
    """What of a prediction the metric looks at, (B, K, T, ...); None where the model does not predict it."""
    if metric.judges == "flow":
        return predicted.flow
    if metric.judges == "frames":
        return predicted.frames
    if predicted.variance is None:
        return None
    one_channel = (*predicted.frames.shape[:3], 1, *predicted.frames.shape[4:])
    expected = predicted.variance[..., None, None, None].expand(one_channel)
    return torch.cat([predicted.frames, expected], 3)


def as_array(values: Tensor) -> NDArray[np.float32]:
    """Scores as they are kept."""
    return values.cpu().numpy().astype(np.float32)


def true_features(measures: Mapping[str, Measure], clips: TrueClips, parts: Path) -> NDArray[Any]:
    """The features of the true clips, by metric."""

    def measured(index: int) -> Scores:
        unseen = clips(index).unseen
        return {name: as_array(measure(None, unseen)) for name, measure in measures.items()}

    return record_all(measured, clips.count, parts / "true features", list(measures), "look at the true clips")


def samplings(scores: Mapping[str, NDArray[Any]], metric: str) -> Mapping[str, NDArray[Any]]:
    """Every sampling rule's (clips, frames) of a metric; a distance of sets is of one future a clip."""
    values, facts = scores[metric], METRICS[metric]
    if facts.of == "set":
        return {"single": values}
    if facts.of == "pairs":
        return {} if np.isnan(values).all() else {"pairs": values[:, 0]}
    return by_sampling(values, facts.better, scores.get(f"{metric}/mean_frame"))


def as_set(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """(clips, ..., D) -> (N, D)."""
    return features.reshape(-1, features.shape[-1])


def write_all(scores: Mapping[str, Scores], path: Path) -> None:
    """Write every model's scores into one .npz, keys "model/metric"."""
    arrays = {f"{model}/{name}": values for model, found in scores.items() for name, values in found.items()}
    with written_whole(path) as whole, whole.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_all(path: Path) -> dict[str, Scores]:
    """What write_all wrote; InputError if it is damaged."""
    scores: dict[str, Scores] = {}
    try:
        with np.load(path) as arrays:
            for key in arrays.files:
                model, name = key.split("/", 1)
                scores.setdefault(model, {})[name] = arrays[key]
    except (FileNotFoundError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it to score again") from error
    return scores
