"""From an entry to a finished run: scores, rows, examples, the report and the seal."""

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baselines.predictor import Prediction, Predictor
from benchmark.catalogue import METRICS, Metric
from benchmark.compute import Compute
from benchmark.metrics.resources import Resources
from benchmark.options import Download
from benchmark.report.write import files_of, write_report
from benchmark.runs.differences import identity
from benchmark.runs.folder import CONFIG, ENVIRONMENT, RESULTS, read_json
from benchmark.runs.seal import seal
from benchmark.scoring.examples import ExampleWriter
from benchmark.scoring.floors import build_floors
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from benchmark.scoring.judges import cannot_tell
from benchmark.scoring.rows import COLUMNS, Result, make_rows, write_rows
from benchmark.scoring.samples import draw_samples
from benchmark.scoring.scores import Entry, Scores, samplings, score_all
from mmnist_av.system.errors import InputError

log = logging.getLogger(__name__)

DATA = ("dataset", "fingerprint")  # what rows say of the dataset
WHERE = ("device", "precision", "code_version", "machine")  # what rows say of where a result was computed


@dataclass(frozen=True)
class Evaluation:
    """What is scored, with what, and where the results go."""

    entry: Entry
    metrics: Sequence[Metric]
    clips: TargetClips
    weights: Path | Download | None  # published weights, for the metrics that need them
    training: Mapping[str, object]  # where the entry's model comes from: seed, steps, batch, settings, pretrained
    compute: Compute
    folder: Path  # the run's, which holds config.json and environment.json
    report: bool = True  # whether it is drawn


def evaluate(evaluation: Evaluation) -> pd.DataFrame:
    """Score an entry beside the floors; write scores, rows, examples and the report, seal the folder, return the rows.

    Raises InputError where none of the metrics can be computed for the entry.
    """
    entry, clips, folder = evaluation.entry, evaluation.clips, evaluation.folder
    refuse_foreign(folder / RESULTS)
    config = read_json(folder / CONFIG)
    entries = [entry, *floors(clips, evaluation.compute, besides=entry.name)]
    resources = Resources(
        device=evaluation.compute.device, clips=clips.count, weights=evaluation.weights, seed=config["seed"] or 0
    )
    examples = ExampleWriter(clips, folder / "examples.npz", folder / "scores", identity(config))
    scores = score_all(entries, evaluation.metrics, clips, resources, folder, examples, identity(config))
    note_undefined(entry.name, scores[entry.name])
    rows = tabulate(scores, evaluation, config)
    if entry.name in cannot_tell(rows):
        log.warning("the judge of fooling_rate cannot tell %s's samples from true frames, or is too weak", entry.name)
    if not (rows["model"] == entry.name).any():
        names = ", ".join(metric.name for metric in evaluation.metrics)
        raise InputError(f"none of {names} can be computed for {entry.name}: name other --metrics")
    write_rows(rows, folder / RESULTS)
    if evaluation.report:
        write_report([folder], folder / "report", ended=True)
    seal(folder, drawn=files_of(folder / "report") if evaluation.report else ())
    return rows


def refuse_foreign(results: Path) -> None:
    """Raise InputError where a file has the name of a run's results and is something else."""
    if not results.exists():
        return
    with results.open(encoding="utf-8", errors="replace") if results.is_file() else io.StringIO() as file:
        if not file.readline().startswith(",".join(COLUMNS)):
            raise InputError(f"{results} holds no results of a run: move it away, and give the same command again")


def note_undefined(model: str, scores: Scores) -> None:
    """Log which metrics have no value for any clip of the model, and where they have none, as far as the rows say."""
    names: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        if name in scores and np.isnan(scores[name]).all():
            windows = ["where a prediction comes in windows"] if metric.frames == "clip" else []
            reason = " or ".join([*windows, *([metric.undefined] if metric.undefined else [])])
            names.setdefault(f": there is none {reason}" if reason else "", []).append(name)
    for reason, those in names.items():
        log.warning("no clip of %s has a value of %s%s", model, ", ".join(those), reason)


def entry_of(name: str, model: Predictor, clips: TargetClips, samples: int, seed: int, compute: Compute) -> Entry:
    """Return a model as an entry, one sample per clip if it is deterministic.

    It draws one clip at a time, because the last bits of a convolution depend on how many clips it is given.
    """
    return Entry(
        name=name,
        draw=partial(_draw, model, clips, samples if model.stochastic else 1, seed, compute),
        predicts=model.predicts,
        in_order=model.carries_state,
    )


def _draw(
    model: Predictor, clips: TargetClips, samples: int, seed: int, compute: Compute, clip: TargetClip
) -> Iterable[Prediction]:
    if clip.index == 0 and model.carries_state:
        model.reset()
    context = clips.context(clip, flow="flow" in model.needs)
    return draw_samples(model, context, [clip.index], samples, seed, compute)


def floors(clips: TargetClips, compute: Compute, besides: str) -> list[Entry]:
    """Return the floors that the protocol allows, without the one called `besides`."""
    return [
        entry_of(name, floor, clips, samples=1, seed=0, compute=compute)
        for name, floor in build_floors(clips).items()
        if name != besides
    ]


def tabulate(scores: Mapping[str, Scores], evaluation: Evaluation, config: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the entry and of the floors, each with its provenance."""
    environment = read_json(evaluation.folder / ENVIRONMENT)
    shared = {name: config[name] for name in DATA} | {name: environment[name] for name in WHERE}
    untrained = {"seed": config["seed"], "steps": 0, "batch": 0, "checkpoint": "", "settings": "", "pretrained": ""}
    tables = []
    for model, own in scores.items():
        result = Result(
            model=model,
            protocol=evaluation.clips.protocol,
            preset=config["preset"],
            samples=config["samples"],
            clips=config["test_clips"],
            provenance={**(evaluation.training if model == config["model"] else untrained), **shared},
        )
        tables.append(make_rows({name: samplings(own, name) for name in METRICS if name in own}, result))
    return pd.concat(tables, ignore_index=True)
