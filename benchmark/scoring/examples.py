"""A few clips of a run with some of their samples, so that reports need neither the model nor the dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.predictor import Prediction
from benchmark.metrics.block import BLOCK, brightest_window
from benchmark.metrics.image import psnr
from benchmark.networks.inference import levels
from benchmark.scoring.archives import RUN, check_run, check_whole, opened, write_archive
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from mmnist_av import families

CLIPS, RANDOM = 6, 3  # the first clips, and samples of each, that are kept beside the best and the mean


PARTS = tuple(f"example-{number}.npz" for number in range(CLIPS))  # files of the clips, until they are put together


class ExampleWriter:
    """Writes what a report shows of the first clips, while their samples are scored.

    Each clip lies in a file of its own in the folder `parts` until `write` puts them together; so an interrupted run
    keeps the clips that it had.
    """

    def __init__(self, clips: TargetClips, path: Path, parts: Path, run: str = "") -> None:
        """Begin with the first clip that is not kept yet; `run` identifies the run.

        Raises InputError where `path` is damaged or another run's: no seal has noticed it yet.
        """
        self._clips, self._path, self._parts, self._run = clips, path, parts, run
        self.count = 0 if path.exists() else min(CLIPS, clips.count)
        if path.exists():
            check_run(path, run)
            check_whole(path)
        self._has_block = "block" in families.find(clips.dataset.family).annotations(clips.dataset)

    @property
    def done(self) -> int:
        """Return the number of clips that are kept."""
        return next((number for number in range(self.count) if not self._part(number).exists()), self.count)

    def keep(self, clip: TargetClip, prediction: Prediction) -> None:
        """Keep the clip, its samples' mean, the best of them, and the first RANDOM."""
        self._parts.mkdir(exist_ok=True)
        write_archive(self._part(clip.index), self._example(clip, prediction), self._run)

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
            with opened(self._part(number)) as arrays:
                examples.append({name: arrays[name] for name in arrays.files if name != RUN})
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
        stacked = {name: np.stack([each[name] for each in examples]) for name in examples[0]}
        write_archive(self._path, whole | stacked, self._run)

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
