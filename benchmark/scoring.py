"""Futures to scores: every metric for every clip, sample and frame, streamed and resumable."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.predictor import Predictor
from benchmark.metrics import METRICS
from benchmark.protocols import Protocol
from benchmark.sampling import draw_futures
from benchmark.training import Compute, load_clips
from mmnist_av.clips import StoredClips
from mmnist_av.errors import InputError
from mmnist_av.files import written_whole
from mmnist_av.progress import track
from mmnist_av.store import Split

PART = 20  # clips scored between two writes

Scores = dict[str, np.ndarray]  # metric -> (clips, samples, frames); "metric/mean_frame" -> (clips, frames)


@dataclass(frozen=True)
class ScoringPlan:
    """How much is scored."""

    clips: int  # the first so many of the test split
    samples: int  # K: futures a clip
    seed: int  # of the futures' noise


def score(
    model: Predictor, split: Split, protocol: Protocol, plan: ScoringPlan, compute: Compute, parts: Path, doing: str
) -> Scores:
    """Score the model's futures of the plan's clips; what an earlier, broken-off call left in `parts` is kept.

    One pass of K futures a clip serves every metric and every sampling rule.
    """
    parts.mkdir(parents=True, exist_ok=True)
    clips = StoredClips(split, protocol.test_frames)
    starts = range(0, plan.clips, PART)
    done = []
    for start in track(starts, doing, len(starts)):
        path = parts / f"{start:06d}.npz"
        found = read_part(path)
        if found is None or any(len(values) != min(PART, plan.clips - start) for values in found.values()):
            found = score_part(model, clips, split, protocol, plan, compute, start)
            with written_whole(path) as whole:
                save(whole, found)
        done.append(found)
    return {name: np.concatenate([part[name] for part in done]) for name in done[0]}


def score_part(
    model: Predictor,
    clips: StoredClips,
    split: Split,
    protocol: Protocol,
    plan: ScoringPlan,
    compute: Compute,
    start: int,
) -> Scores:
    """Scores of the PART clips from `start` on."""
    indices = range(start, min(start + PART, plan.clips))
    scored = [score_clip(model, clips, split, protocol, plan, compute, index) for index in indices]
    return {name: np.stack([clip[name] for clip in scored]) for name in scored[0]}


def score_clip(
    model: Predictor,
    clips: StoredClips,
    split: Split,
    protocol: Protocol,
    plan: ScoringPlan,
    compute: Compute,
    index: int,
) -> Scores:
    """Draw the futures of one clip and score them, each on its own and averaged pixel by pixel.

    One clip at a time, because a convolution's last bits depend on how many clips it is handed.
    """
    frames, audio = load_clips(clips, [index], protocol, compute.device)
    futures = draw_futures(model, frames, audio, protocol, plan.samples, plan.seed, [index], compute)
    average = futures.mean(1, keepdim=True)
    scores: Scores = {}
    for name in protocol.metrics:
        target = target_of(name, frames, split, protocol, index)
        scores[name] = METRICS[name].compute(target, futures)[0].cpu().numpy().astype(np.float32)
        if plan.samples > 1:
            scores[f"{name}/mean_frame"] = METRICS[name].compute(target, average)[0, 0].cpu().numpy().astype(np.float32)
    return scores


def target_of(metric: str, frames: Tensor, split: Split, protocol: Protocol, index: int) -> Tensor:
    """What the metric compares with: the true frames (1, 1, predicted, C, H, W), or the block's place (1, 2) in px.

    A block that is not there yet in the last predicted frame has no place: -1.
    """
    if METRICS[metric].target == "block":
        there = split.truth["block_first_frame"][[index]] < protocol.test_frames
        place = np.where(there[:, None], split.truth["block_place"][[index]], -1)
        return torch.from_numpy(place).to(frames.device)
    return frames[:, None, protocol.seen :]


def save(path: Path, scores: Scores) -> None:
    """Write scores as an .npz."""
    with path.open("wb") as file:
        np.savez(file, **scores)  # type: ignore[arg-type]


def read_part(path: Path) -> Scores | None:
    """The scores of a part, or None if it is not there or not whole."""
    try:
        with np.load(path) as part:
            return {name: part[name] for name in part.files}
    except (FileNotFoundError, zipfile.BadZipFile, EOFError, ValueError):
        return None


def write_all(scores: dict[str, Scores], path: Path, parts: Path) -> None:
    """Write every model's scores into one .npz, keys "model/metric", and drop the parts."""
    with written_whole(path) as whole:
        save(whole, {f"{model}/{name}": values for model, found in scores.items() for name, values in found.items()})
    shutil.rmtree(parts, ignore_errors=True)


def read_all(path: Path) -> dict[str, Scores]:
    """What write_all wrote; InputError if it is damaged."""
    found = read_part(path)
    if found is None:
        raise InputError(f"{path} is damaged: delete it to score again")
    scores: dict[str, Scores] = {}
    for key, values in found.items():
        model, name = key.split("/", 1)
        scores.setdefault(model, {})[name] = values
    return scores
