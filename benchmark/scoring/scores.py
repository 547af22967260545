"""Scores per (clip, sample, frame): one pass over the clips serves every entry, metric and sampling rule."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.catalogue import METRICS, ROUNDING, Metric
from benchmark.metrics import load
from benchmark.metrics.checks import described
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.resources import Measure, Resources, TrainingSamples, Unavailable
from benchmark.metrics.uncertainty import mean_variance
from benchmark.scoring.archives import RUN, check_run, opened, other_run, write_archive
from benchmark.scoring.examples import PARTS, ExampleWriter
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from benchmark.scoring.records import CHECKSUM, Recorder
from benchmark.scoring.statistics import by_sampling
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import is_leftover, remove_leftovers, written_whole
from mmnist_av.system.progress import track

log = logging.getLogger(__name__)

# metric -> (clips, samples, frames); "metric/mean_frame" -> (clips, frames); a distance of sets -> ()
Scores = dict[str, NDArray[np.floating]]
TARGET_FEATURES = "target features"  # the name under which the features of true clips are recorded
RECORDS_OF = "run of the records"  # the file beside records with what identifies their run; no model has this name


@dataclass(frozen=True)
class Entry:
    """What is scored under one name: a model, or another program's predictions."""

    name: str
    draw: Callable[[TargetClip], Iterable[Prediction]]  # a clip's K samples, window by window
    predicts: frozenset[str] = frozenset()  # what its predictions have beside frames: "flow", "variance"
    training_samples: TrainingSamples | None = None
    in_order: bool = False  # whether it must draw every clip from the first on, as its state carries over


def score_all(
    entries: Sequence[Entry],
    metrics: Sequence[Metric],
    clips: TargetClips,
    resources: Resources,
    folder: Path,
    examples: ExampleWriter | None = None,
    run: str = "",
) -> dict[str, Scores]:
    """Return the scores of every entry by its name, and keep them in scores.npz in `folder`.

    What scores.npz already holds is not computed again, and an interrupted call continues at the first clip without
    scores. Each clip is loaded once, each sample drawn once. A metric that cannot be computed is left out; a note says
    why. examples: keeps the first entry's samples of the first clips. run: identifies the run; InputError is raised
    where scores.npz, or the records of an interrupted call, are another's, or do not say whose.
    """
    path, parts = folder / "scores.npz", folder / "scores"
    scores = read_scores(path) if path.exists() else {}
    if scores:
        check_run(path, run)
    reported: set[str] = set()
    with ExitStack() as stack:
        scorers = []
        for number, entry in enumerate(entries):
            missing = [metric for metric in metrics if metric.name not in scores.setdefault(entry.name, {})]
            measures = load_measures(entry, missing, resources, reported)
            own = examples if number == 0 and examples is not None and examples.done < examples.count else None
            if measures or own is not None:
                take_records(parts, run)
                scorers.append(EntryScorer(entry, measures, parts / entry.name, clips.count, own))
                stack.enter_context(scorers[-1].recorder)
        if scorers:
            for name, added in one_pass(scorers, clips, parts).items():
                scores[name].update(added)
            write_scores(scores, path, run)
    if examples is not None:
        examples.write()
    remove_records(parts, [entry.name for entry in entries])
    return scores


def take_records(folder: Path, run: str) -> None:
    """Make the folder of records this run's, or raise InputError where it is another's."""
    whose = folder / RECORDS_OF
    if folder.is_file():
        raise InputError(f"{folder} is a file, and the scores of the clips go into a folder of that name: move it away")
    if folder.is_dir() and any(not is_leftover(path) for path in folder.iterdir()):
        found = whose.read_text(errors="replace") if whose.is_file() else None
        if found != run:
            raise InputError(f"{folder} {other_run(found, run)}: move it away to score again")
    else:
        folder.mkdir(exist_ok=True)
        with written_whole(whose) as part:
            part.write_text(run)


def remove_records(folder: Path, entries: Iterable[str]) -> None:
    """Delete the records of these entries, and the folder where nothing else is in it: a file of the user's stays."""
    for name in (*entries, TARGET_FEATURES, RECORDS_OF, *PARTS):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        remove_leftovers(folder)
        folder.rmdir()


def load_measures(
    entry: Entry, metrics: Iterable[Metric], resources: Resources, reported: set[str]
) -> dict[str, Measure]:
    """Return the function of every metric that can be computed for this entry, by the metric's name.

    A note says which metrics are left out for want of resources, and why. `reported` collects the reasons that were
    given, so that none is given twice.
    """
    own = replace(resources, training_samples=entry.training_samples)
    predicted = {f"predicted:{each}" for each in entry.predicts}
    measures: dict[str, Measure] = {}
    left_out: dict[str, list[str]] = {}
    for metric in metrics:
        if {need for need in metric.needs if need.startswith("predicted:")} <= predicted:
            try:
                measures[metric.name] = load(metric, own)
            except Unavailable as reason:
                left_out.setdefault(str(reason), []).append(metric.name)
    for why in left_out.keys() - reported:
        log.warning("%s left out for %s: %s", ", ".join(left_out[why]), entry.name, why)
    reported.update(left_out)
    return measures


class EntryScorer:
    """Draws an entry's samples of the clips that it has no scores of yet, and records their scores."""

    def __init__(
        self,
        entry: Entry,
        measures: Mapping[str, Measure],
        records: Path,
        clips: int,
        examples: ExampleWriter | None = None,
    ) -> None:
        self.entry, self.measures, self.clips, self.examples = entry, measures, clips, examples
        self.recorder = Recorder(records, list(measures), clips)

    @property
    def clips_left(self) -> range:
        """Return the clips to draw: from the first without scores or example on, or all for a model in order."""
        first, last = (self.recorder.done, self.clips) if self.measures else (self.clips, 0)
        if self.examples is not None:
            first, last = min(first, self.examples.done), max(last, self.examples.count)
        return range(0 if self.entry.in_order else first, last)

    def score(self, clip: TargetClip) -> None:
        """Draw the clip's samples, and record their scores and the example where they are not recorded yet."""
        shown = self.examples is not None and self.examples.done == clip.index < self.examples.count
        scored = bool(self.measures) and self.recorder.done == clip.index
        if not (shown or scored or self.entry.in_order):
            return
        windows: Iterable[Prediction] = self.entry.draw(clip)
        if shown and self.examples is not None:
            windows = [joined(windows)]
            self.examples.keep(clip, windows[0])
        scores = score_clip(self.measures if scored else {}, clip, windows)
        if scored:
            check_ranges(scores, self.entry.name, clip.index)
            self.recorder.append(scores)


def one_pass(scorers: Sequence[EntryScorer], clips: TargetClips, parts: Path) -> dict[str, Scores]:
    """Return the new scores of every entry after one pass over the clips that have none yet."""
    sets = {name: each for own in scorers for name, each in own.measures.items() if METRICS[name].score_of == "set"}
    with Recorder(parts / TARGET_FEATURES, list(sets), clips.count) as targets:
        spans = [each.clips_left for each in scorers] + ([range(targets.done, clips.count)] if sets else [])
        needed = range(min(span.start for span in spans), max(span.stop for span in spans))
        for index in track(needed, "score", needed.stop, needed.start):
            clip = clips(index)
            if sets and targets.done == index:
                targets.append({name: as_array(each(clip, Prediction(clip.unseen))) for name, each in sets.items()})
            for each in scorers:
                each.score(clip)
        features = targets.records() if sets else None
        return {each.entry.name: scores_of(each, features) for each in scorers if each.measures}


def scores_of(scorer: EntryScorer, target_features: NDArray[Any] | None) -> Scores:
    """Return the scores of an entry once all clips are scored: its records, and the distances between sets."""
    records = scorer.recorder.records()
    distances = [name for name in scorer.measures if METRICS[name].score_of == "set"]
    names = [name for name in records.dtype.names or () if name not in (CHECKSUM, *distances)]
    scores: Scores = {name: np.array(records[name]) for name in names}
    for name in distances:
        assert target_features is not None
        scores[name] = np.array(frechet_distance(as_set(target_features[name]), as_set(records[name])))
    return scores


def score_clip(measures: Mapping[str, Measure], clip: TargetClip, windows: Iterable[Prediction]) -> Scores:
    """Return the scores of one clip's prediction: "metric" -> (K, frames), and of the averaged samples.

    "metric/mean_frame" -> (frames,) are those of the K samples averaged pixel by pixel, where the metric has that
    sampling rule. A metric of the whole clip has no value (NaN) where the prediction comes in several windows. For a
    metric of sets: the first sample's features.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {}
    first = 0
    for prediction in windows:
        count = prediction.frames.shape[2]
        for name, measure in measures.items():
            for key, values in _score_window(METRICS[name], measure, clip.window(first, count), prediction).items():
                parts.setdefault(key, []).append(values)
        first += count
    return {key: _over_windows(METRICS[key.partition("/")[0]], values) for key, values in parts.items()}


def _score_window(metric: Metric, measure: Measure, clip: TargetClip, prediction: Prediction) -> Scores:
    if metric.score_of == "set":
        return {metric.name: as_array(measure(clip, first_samples(prediction, 1)))}
    scored = first_samples(prediction, metric.max_samples)
    scores = {metric.name: as_array(_checked(metric, measure(clip, scored), scored)[0])}
    if metric.score_of == "sample" and "mean_frame" in metric.samplings and prediction.frames.shape[1] > 1:
        mean = averaged(scored)
        scores[f"{metric.name}/mean_frame"] = as_array(_checked(metric, measure(clip, mean), mean)[0, 0])
    return scores


def _checked(metric: Metric, values: Tensor, prediction: Prediction) -> Tensor:
    """Return a metric's values of a clip. Raises InputError where they are not of the shape that its row says."""
    rows = 1 if metric.score_of == "pairs" else prediction.frames.shape[1]
    expected = (1, rows, prediction.frames.shape[2] if metric.frames == "all" else 1)
    if not isinstance(values, Tensor) or values.shape != expected:
        raise InputError(f"metric {metric.name} must return a tensor of the shape {expected}, not {described(values)}")
    return values


def _over_windows(metric: Metric, values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    if metric.score_of == "set":
        return np.concatenate(values)
    if metric.frames == "all":
        return np.concatenate(values, -1)
    return values[-1] if metric.frames == "last" or len(values) == 1 else np.full_like(values[-1], np.nan)


def check_ranges(scores: Scores, model: str, clip: int) -> None:
    """Raise InputError where a clip's score is outside the range that its metric's row states; NaN is no score."""
    for key, values in scores.items():
        metric = METRICS[key.partition("/")[0]]
        wrong = values[is_impossible(values, metric)]
        if wrong.size and metric.score_of != "set":
            raise InputError(
                f"metric {metric.name} of {model}, clip {clip}: {wrong[0]:g} is not within {metric.lowest:g} and "
                f"{metric.highest:g}, as its row states: correct its function or its row"
            )


def is_impossible(values: NDArray[np.floating], metric: Metric) -> NDArray[np.bool_]:
    """Return where scores are infinite or outside the range that the metric's row states; NaN is no score."""
    below, above = values < metric.lowest - ROUNDING, values > metric.highest + ROUNDING
    impossible: NDArray[np.bool_] = below | above | np.isinf(values)
    return impossible


def first_samples(prediction: Prediction, count: int | None) -> Prediction:
    """Return the prediction's first `count` samples (None: all)."""
    flow, variance = (None if each is None else each[:, :count] for each in (prediction.flow, prediction.variance))
    return Prediction(prediction.frames[:, :count], flow, variance)


def averaged(prediction: Prediction) -> Prediction:
    """Return the K samples averaged pixel by pixel, as one sample."""
    flow, variance = prediction.flow, prediction.variance
    return Prediction(
        prediction.frames.mean(1, keepdim=True),
        None if flow is None else flow.mean(1, keepdim=True),
        None if variance is None else mean_variance(variance),
    )


def joined(windows: Iterable[Prediction]) -> Prediction:
    """Return the windows of one prediction as one."""
    parts = list(windows)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((part.frames, part.flow, part.variance) for part in parts), strict=True)
    frames, flow, variance = (None if None in column else torch.cat(column, 2) for column in map(list, columns))
    assert frames is not None
    return Prediction(frames, flow, variance)


def as_array(values: Tensor) -> NDArray[np.float32]:
    """Return scores as they are kept."""
    return values.cpu().numpy().astype(np.float32)


def samplings(scores: Mapping[str, NDArray[Any]], metric: str) -> Mapping[str, NDArray[Any]]:
    """Return a metric's (clips, frames) under each of its sampling rules; distances of sets have a single sample."""
    values, facts = scores[metric], METRICS[metric]
    if facts.score_of == "set":
        return {"single": values}
    if facts.score_of == "pairs":
        return {} if np.isnan(values).all() else {"pairs": values[:, 0]}
    return by_sampling(values, facts.samplings, facts.better, scores.get(f"{metric}/mean_frame"))


def as_set(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the features of all clips as one set: (clips, ..., D) -> (N, D)."""
    return features.reshape(-1, features.shape[-1])


def write_scores(scores: Mapping[str, Scores], path: Path, run: str) -> None:
    """Write every entry's scores into one .npz, with keys "entry/metric", and under RUN what identifies their run."""
    arrays = {f"{entry}/{name}": values for entry, own in scores.items() for name, values in own.items()}
    write_archive(path, arrays, run)


def read_scores(path: Path) -> dict[str, Scores]:
    """Return what `write_scores` wrote; InputError for a damaged file."""
    scores: dict[str, Scores] = {}
    with opened(path) as arrays:
        for key in arrays.files:
            if key != RUN:
                entry, name = key.split("/", 1)
                scores.setdefault(entry, {})[name] = arrays[key]
    return scores
