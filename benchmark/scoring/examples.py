"""A few clips of a run with some of their samples, so that reports need neither the model nor the dataset."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from baselines.predictor import Prediction
from benchmark.metrics.block import BLOCK, brightest_window
from benchmark.metrics.image import psnr
from benchmark.networks.inference import levels
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from mmnist_av import families
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import regular, written_whole

CLIPS, RANDOM = 6, 3  # the first clips, and samples of each, that are kept beside the best and the mean


PARTS = tuple(f"example-{number}.npz" for number in range(CLIPS))  # files of the clips, until they are put together


class ExampleWriter:
    """Writes what a report shows of the first clips, while their samples are scored.

    Each clip lies in a file of its own in the folder `parts` until `write` puts them together; so an interrupted run
    keeps the clips that it had.
    """

    def __init__(self, clips: TargetClips, path: Path, parts: Path) -> None:
        self._clips, self._path, self._parts = clips, path, parts
        self.count = 0 if is_kept(path) else min(CLIPS, clips.count)
        self._has_block = "block" in families.find(clips.dataset.family).annotations(clips.dataset)

    @property
    def done(self) -> int:
        """Return the number of clips that are kept."""
        return next((number for number in range(self.count) if not self._part(number).exists()), self.count)

    def keep(self, clip: TargetClip, prediction: Prediction) -> None:
        """Keep the clip, its samples' mean, the best of them, and the first RANDOM."""
        self._parts.mkdir(exist_ok=True)
        _save(self._part(clip.index), self._example(clip, prediction))

    def write(self) -> None:
        """Write examples.npz, with E clips of T frames, P of them predicted, where it is not there yet.

        clips (E,) their numbers; seen, fps, sample_rate; target (E, T, C, H, W), mean and best (E, P, C, H, W), random
        (E, R, P, C, H, W) uint8: the true frames, the K samples' pixelwise mean, the sample with the best mean PSNR,
        the first R samples; audio (E, samples) int16: what the model was given. Where the model predicts variance:
        variance (E, P) float32, the mean over its samples. Where the dataset has a block: block (E, 2) px, lower-left
        corner, -1 for none; block_side; windows (E, K, 2) row and column of the upper-left corner of the brightest such
        window of each sample's last frame.
        """
        if not self.count:
            return
        examples = []
        for number in range(self.count):
            with np.load(self._part(number)) as arrays:
                examples.append(dict(arrays))
        clips, form = self._clips, self._clips.dataset.format
        split, shown = clips.dataset.split(clips.split), range(self.count)
        given = [(clip + clips.protocol.mismatched) % len(split) for clip in shown]
        whole: dict[str, Any] = {
            "clips": shown,
            "seen": clips.protocol.seen,
            "fps": form.fps,
            "sample_rate": form.sample_rate,
            "audio": split.audio[given, : clips.protocol.test_frames * form.samples_per_frame],
        }
        if self._has_block:
            whole["block_side"] = BLOCK
        _save(self._path, whole | {name: np.stack([each[name] for each in examples]) for name in examples[0]})

    def _part(self, number: int) -> Path:
        return self._parts / PARTS[number]

    def _example(self, clip: TargetClip, prediction: Prediction) -> Mapping[str, NDArray[Any]]:
        samples = prediction.frames[0]
        best = psnr(clip.unseen[0], samples).mean(-1).argmax()
        frames = {"target": clip.frames[0], "mean": samples.mean(0), "best": samples[best], "random": samples[:RANDOM]}
        arrays: dict[str, NDArray[Any]] = {name: levels(each).cpu().numpy() for name, each in frames.items()}
        if prediction.variance is not None:
            arrays["variance"] = prediction.variance[0].mean(0).cpu().numpy()
        if self._has_block:
            arrays["block"] = clip.annotation("block")[0].cpu().numpy()
            arrays["windows"] = brightest_window(samples[:, -1], BLOCK).cpu().numpy()
        return arrays


def is_kept(path: Path) -> bool:
    """Return whether examples.npz is there. Raises InputError where it is damaged, which no seal has noticed yet."""
    if not path.exists():
        return False
    try:
        with ZipFile(regular(path)) as archive:
            whole = archive.testzip() is None
    except (OSError, BadZipFile, zlib.error, RuntimeError, EOFError):
        whole = False
    if not whole:
        raise InputError(f"{path} is damaged: move it away to have it made again")
    return True


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
