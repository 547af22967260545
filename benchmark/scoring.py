"""Futures to scores: every metric for every clip, sample and frame, streamed and resumable."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics import METRICS
from benchmark.protocols import Protocol
from benchmark.sampling import Futures
from mmnist_av.clips import StoredClips
from mmnist_av.errors import InputError
from mmnist_av.files import written_whole
from mmnist_av.progress import track
from mmnist_av.store import Split

PART = 20  # clips scored between two writes

Scores = dict[str, np.ndarray]  # metric -> (clips, samples, frames); "metric/mean_frame" -> (clips, frames)


@dataclass(frozen=True)
class ScoredClips:
    """What futures are scored against: the first clips of a test split, under a protocol."""

    split: Split
    protocol: Protocol
    count: int
    device: torch.device

    def frames(self, index: int) -> Tensor:
        """The frames of a clip, seen and to be predicted: (1, T, C, H, W) in [0, 1]."""
        clip = StoredClips(self.split, self.protocol.test_frames)[index]
        return clip["frames"][None].to(self.device).float() / 255


def score(futures: Futures, clips: ScoredClips, parts: Path, doing: str) -> Scores:
    """Score the futures of the clips; what an earlier, broken-off call left in `parts` is kept.

    One pass of K futures a clip serves every metric and every sampling rule.
    """
    parts.mkdir(parents=True, exist_ok=True)
    starts = range(0, clips.count, PART)
    done = []
    for start in track(starts, doing, len(starts)):
        path = parts / f"{start:06d}.npz"
        found = read_part(path)
        if found is None or any(len(values) != min(PART, clips.count - start) for values in found.values()):
            found = score_part(futures, clips, start)
            with written_whole(path) as whole:
                save(whole, found)
        done.append(found)
    return {name: np.concatenate([part[name] for part in done]) for name in done[0]}


def score_part(futures: Futures, clips: ScoredClips, start: int) -> Scores:
    """Scores of the PART clips from `start` on."""
    scored = [score_clip(futures(index), clips, index) for index in range(start, min(start + PART, clips.count))]
    return {name: np.stack([clip[name] for clip in scored]) for name in scored[0]}


def score_clip(futures: Tensor, clips: ScoredClips, index: int) -> Scores:
    """Score the futures (1, K, predicted, C, H, W) of one clip, each on its own and averaged pixel by pixel."""
    frames = clips.frames(index)
    average = futures.mean(1, keepdim=True)
    scores: Scores = {}
    for name in clips.protocol.metrics:
        target = target_of(name, frames, clips.split, clips.protocol, index)
        scores[name] = METRICS[name].compute(target, futures)[0].cpu().numpy().astype(np.float32)
        if futures.shape[1] > 1:
            scores[f"{name}/mean_frame"] = METRICS[name].compute(target, average)[0, 0].cpu().numpy().astype(np.float32)
    return scores


def target_of(metric: str, frames: Tensor, split: Split, protocol: Protocol, index: int) -> Tensor:
    """What the metric compares with: see Metric.target. A block that no predicted frame shows has no place: -1."""
    unseen = frames[:, None, protocol.seen :]
    kind = METRICS[metric].target
    if kind == "frames":
        return unseen
    first, place = (int(split.truth["block_first_frame"][index]), split.truth["block_place"][index].astype(int))
    shown = 0 <= first < protocol.test_frames
    if kind == "block":
        return torch.tensor([place if shown else [-1, -1]], device=frames.device)
    if not shown:
        return unseen
    without_block = unseen.clone()
    (x, y), side, height = place, int(split.truth["block_size"][index]), frames.shape[-2]
    without_block[..., max(0, first - protocol.seen) :, :, height - y - side : height - y, x : x + side] = torch.nan
    return without_block


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
