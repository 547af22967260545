"""A few clips of a run with some of their futures, so that reports need neither the model nor the dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.block import brightest_window
from benchmark.metrics.image import psnr
from benchmark.scoring.ground_truth import TrueClip, TrueClips, block
from benchmark.scoring.scores import Contender
from mmnist_av.system.files import written_whole

CLIPS, RANDOM = 6, 3  # clips that are kept, and futures of each beside the best and the mean


def write_examples(contender: Contender, clips: TrueClips, path: Path) -> None:
    """Write what a report shows of the first clips, an .npz of these arrays, E clips of T frames, P of them predicted:

    clips (E,) their numbers; seen, fps, sample_rate; truth (E, T, C, H, W), mean and best (E, P, C, H, W), random
    (E, R, P, C, H, W) uint8: the true frames, the K futures' pixelwise mean, the one with the best mean PSNR, the first
    R; audio (E, samples) int16: what the model heard. Where a model says what error it expects: variance (E, P)
    float32, the mean over its futures. Where the protocol has a block: block (E, 2) px, lower-left corner, -1 for none;
    block_side; windows (E, K, 2) row and column of the upper-left corner of the brightest such window of each future's
    last frame.
    """
    chosen = range(min(CLIPS, clips.count))
    examples = [example(clips(index), contender.futures(index)) for index in chosen]
    arrays = {name: np.stack([each[name] for each in examples]) for name in examples[0]}
    split, spec = clips.dataset.split(clips.name), clips(0).spec
    heard = [(clip + clips.protocol.mismatched) % len(split) for clip in chosen]
    arrays["audio"] = split.audio[heard, : clips.protocol.test_frames * spec.samples_per_frame]
    whole = {"clips": chosen, "seen": clips.protocol.seen, "fps": spec.fps, "sample_rate": spec.sample_rate}
    if spec.obstacle:
        whole["block_side"] = spec.block
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **whole, **arrays)  # type: ignore[arg-type]


def example(clip: TrueClip, predicted: Prediction) -> Mapping[str, NDArray[Any]]:
    """What is kept of one clip."""
    futures = predicted.frames[0]
    best = psnr(clip.unseen[0], futures).mean(-1).argmax()
    arrays: dict[str, NDArray[Any]] = {
        "truth": as_bytes(clip.frames[0]),
        "mean": as_bytes(futures.mean(0)),
        "best": as_bytes(futures[best]),
        "random": as_bytes(futures[:RANDOM]),
    }
    if predicted.variance is not None:
        arrays["variance"] = predicted.variance[0].mean(0).cpu().numpy()
    if clip.spec.obstacle:
        arrays["block"] = block(clip)[0].cpu().numpy()
        arrays["windows"] = brightest_window(futures[:, -1], clip.spec.block).cpu().numpy()
    return arrays


def as_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """Frames in [0, 1] as 0 .. 255."""
    return (frames * 255).round().byte().cpu().numpy()
