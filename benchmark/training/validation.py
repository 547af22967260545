"""Validation: the scores of a model in training on the first clips of the val split. It never uses the test split."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.predictor import Predictor
from benchmark.catalogue import Metric, Protocol, choose_metrics, find_metric
from benchmark.compute import Compute
from benchmark.metrics import load
from benchmark.metrics.resources import Resources
from benchmark.scoring.floors import build_floors
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.rows import Result, make_rows
from benchmark.scoring.samples import draw_samples
from benchmark.scoring.scores import Scores, check_ranges, samplings, score_clip
from benchmark.scoring.statistics import best_sequence
from benchmark.training.checkpoint import set_buffer
from benchmark.training.plan import CRITERION
from benchmark.training.updates import set_modes
from mmnist_av import families

CLIPS = 40  # the val split's first clips
SAMPLES = 5  # samples per clip
METRICS = ("psnr", "ssim", "ssim_uniform", "ink")


@dataclass(frozen=True)
class Validation:
    """Computes the scores of a model on clips that it is not trained on, as rows: learning curves (PUQ, figure 3)."""

    model: Predictor
    name: str  # of the model
    clips: TargetClips  # of the val split
    preset: str
    seed: int
    compute: Compute
    provenance: Mapping[str, object]  # where the rows come from: a column each

    def __call__(self, steps: int, epoch: int) -> pd.DataFrame:
        """Return the rows after `steps` steps: make_rows' columns, split, step, epoch, CRITERION, and the provenance.

        The horizon is that of the protocol at test. The noise of a sample is keyed by (seed, clip, sample). The model
        is left as it was, in its modes and its state.
        """
        with undisturbed(self.model):
            self.model.eval()
            self.model.reset()
            scores = self.score(self.model, self.samples, self.metrics)
        result = Result(
            model=self.name,
            protocol=self.protocol,
            preset=self.preset,
            samples=self.samples,
            clips=self.clips.count,
            provenance={
                "split": "val",
                "step": steps,
                "epoch": epoch,
                CRITERION: f"{self.above_floors(scores):.6g}",
                **self.provenance,
            },
        )
        return make_rows({metric.name: samplings(scores, metric.name) for metric in self.metrics}, result)

    @property
    def protocol(self) -> Protocol:
        """Return the protocol: what is predicted and reported."""
        return self.clips.protocol

    @property
    def samples(self) -> int:
        """Return the number of samples per clip: one where all would agree."""
        return SAMPLES if self.model.stochastic else 1

    @property
    def metrics(self) -> list[Metric]:
        """Return the metrics that are computed: the usual ones, and those that can stop one of the model's stages.

        Raises InputError where the dataset lacks what one of them needs.
        """
        stops = [stage.stop.metric for stage in self.model.stages() if stage.stop is not None]
        dataset = self.clips.dataset
        annotations = families.find(dataset.family).annotations(dataset)
        return choose_metrics(",".join((*METRICS, *stops)), annotations, self.protocol.seen)

    def above_floors(self, scores: Scores) -> float:
        """Return by how many dB the model's PSNR is above that of the best floor: a mean over all predicted frames.

        Each frame's PSNR is that of `best_sequence`, a mean over clips; a frame at which the model is below a floor
        counts as 0. Averaged as it is, PSNR would choose a model that fades or blurs at frames that it cannot predict,
        however much it loses where it can.
        """
        own = best_sequence(scores["psnr"], "higher").mean(0)
        return float(np.maximum(own - self.highest_floor, 0).mean())

    @cached_property
    def highest_floor(self) -> NDArray[np.floating]:
        """The PSNR of the best floor at every predicted frame, a mean over clips: (T,)."""
        scores = [self.score(floor, 1, [find_metric("psnr")])["psnr"] for floor in build_floors(self.clips).values()]
        return np.max([each.mean((0, 1), dtype=np.float64) for each in scores], axis=0)

    def score(self, model: Predictor, samples: int, metrics: Iterable[Metric]) -> Scores:
        """Return metrics of a model for every clip, sample and frame, and of the clips' samples averaged by pixel."""
        resources = Resources(device=self.compute.device, clips=self.clips.count)
        measures = {metric.name: load(metric, resources) for metric in metrics}
        name = self.name if model is self.model else type(model).__name__
        scored = []
        for index in range(self.clips.count):
            clip = self.clips(index)
            context = self.clips.context(clip, flow="flow" in model.needs)
            windows = draw_samples(model, context, [index], samples, self.seed, self.compute)
            scored.append(score_clip(measures, clip, windows))
            check_ranges(scored[-1], name, index)
        return {key: np.stack([clip[key] for clip in scored]) for key in scored[0]}


@contextmanager
def undisturbed(model: Predictor) -> Iterator[None]:
    """Give the model its modes and its buffers back when the block ends: a stage may keep some modules in eval mode."""
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()} if model.carries_state else {}
    try:
        yield
    finally:
        set_modes(modes)
        for name, buffer in buffers.items():
            set_buffer(model, name, buffer)
