"""From futures to a finished run: scores, rows, examples, the report and the seal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from baselines import registry
from baselines.predictor import ClipShape, Predictor
from benchmark.compute import Compute
from benchmark.inputs import load_clips
from benchmark.metrics.resources import Practice, Setting
from benchmark.protocols import Protocol
from benchmark.report import write_report
from benchmark.runs.folder import read_json
from benchmark.runs.seal import seal
from benchmark.scoring import rows as results
from benchmark.scoring.examples import write_examples
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.samples import draw_futures, futures_of, seen_and_heard
from benchmark.scoring.scores import Contender, Scores, samplings, score_all
from mmnist_av.clips import StoredClips
from mmnist_av.m3so.family import spec_of
from mmnist_av.system.errors import InputError

NO_SHAPE = ClipShape((0, 0, 0), (0, 0), seen=5, train_frames=20, fps=10)  # floors fit every clip


def evaluate(
    contender: Contender,
    metrics: Sequence[str],
    clips: TrueClips,
    weights: Path | None,
    facts: Mapping[str, Any],
    made: Mapping[str, object],
    compute: Compute,
    folder: Path,
) -> pd.DataFrame:
    """Score a contender beside the floors; write scores, rows, examples and the report, and seal the folder."""
    contenders = [contender, *floors(clips, compute, besides=contender.name)]
    setting = Setting(
        compute.device, clips.count, spec_of(clips.dataset).digits_per_clip, weights, seed=facts["seed"] or 0
    )
    scores = score_all(contenders, metrics, clips, setting, folder)
    if not scores[contender.name]:
        raise InputError(f"none of {', '.join(metrics)} can be had of {contender.name}: ask for other --metrics")
    rows = tabulate(scores, clips.protocol, facts, made, read_json(folder / "environment.json"))
    results.write_rows(rows, folder / "results.csv")
    if not (folder / "examples.npz").exists():
        write_examples(contender, clips, folder / "examples.npz")
    write_report([folder], folder / "report")
    seal(folder)
    return rows


def floors(clips: TrueClips, compute: Compute, besides: str) -> Iterator[Contender]:
    """The floors, without the one called `besides`."""
    for name in registry.FLOORS:
        if name != besides:
            model, split = registry.build(name, NO_SHAPE, None), clips.dataset.split(clips.name)
            yield Contender(name, futures_of(model, split, clips.protocol, 1, 0, compute))


def tabulate(
    scores: Mapping[str, Scores],
    protocol: Protocol,
    facts: Mapping[str, Any],
    trained: Mapping[str, object],
    described: Mapping[str, object],
) -> pd.DataFrame:
    """The rows of every model, each with where it comes from; `trained` is of the one that facts name."""
    data = {name: facts[name] for name in ("dataset", "digits", "fingerprint")}
    origin = {name: described[name] for name in ("device", "precision", "code_version", "machine")}
    untrained = {"seed": facts["seed"], "steps": 0, "batch": 0, "settings": "", "trained": ""}
    tables = []
    for model, found in scores.items():
        names = [metric for metric in protocol.metrics if metric in found]
        tables.append(
            results.make_rows(
                {metric: samplings(found, metric) for metric in names},
                model=model,
                protocol=protocol.name,
                preset=facts["preset"],
                samples=facts["samples"],
                clips=facts["test_clips"],
                frames=range(protocol.seen + 1, protocol.test_frames + 1),
                report=(*protocol.reported, "mean"),
                provenance={**(trained if model == facts["model"] else untrained), **data, **origin},
            )
        )
    return pd.concat(tables, ignore_index=True)


def practice_of(model: Predictor, clips: StoredClips, protocol: Protocol, seed: int, compute: Compute) -> Practice:
    """One future of any of these training clips, for a judge to learn from."""

    def draw(indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        frames, audio = load_clips(clips, indices, protocol, compute.device)
        heard = audio if not protocol.mismatched else seen_and_heard(clips, indices, protocol, compute.device)[1]
        futures = draw_futures(model, frames, heard, protocol, 1, seed, indices, compute).frames[:, 0]
        return frames, audio, futures.clone()  # out of inference mode

    return Practice(len(clips), shape_of(clips, protocol), protocol.seen, draw)


def shape_of(clips: StoredClips, protocol: Protocol) -> ClipShape:
    """What one time step of the clips looks like under the protocol."""
    frames, audio = clips[0]["frames"], clips[0]["audio"]
    channels, height, width = frames.shape[1:]
    return ClipShape(
        frame=(channels, height, width),
        audio=protocol.audio.shape(audio.shape[1]),
        seen=protocol.seen,
        train_frames=protocol.train_frames,
        fps=clips.fps,
    )
