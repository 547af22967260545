"""Validation: the scores of a model in training on the first clips of the val split. It never uses the test split."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines.predictor import Predictor
from benchmark.catalogue import Metric, Protocol, choose_metrics
from benchmark.compute import Compute
from benchmark.metrics import load
from benchmark.metrics.resources import Resources
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.rows import Result, make_rows
from benchmark.scoring.samples import draw_samples
from benchmark.scoring.scores import check_ranges, samplings, score_clip
from benchmark.training.checkpoint import set_buffer
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
        """Return the rows after `steps` steps: make_rows' columns, then split, step and epoch, and the provenance.

        The horizon is that of the protocol at test. The noise of a sample is keyed by (seed, clip, sample). The model
        is left as it was, in its modes and its state.
        """
        with undisturbed(self.model):
            self.model.eval()
            self.model.reset()
            scores = self.score()
        result = Result(
            model=self.name,
            protocol=self.protocol,
            preset=self.preset,
            samples=self.samples,
            clips=self.clips.count,
            provenance={"split": "val", "step": steps, "epoch": epoch, **self.provenance},
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

    def score(self) -> dict[str, NDArray[np.floating]]:
        """Return every metric of every clip, sample and frame, and of the clips' samples averaged pixel by pixel."""
        resources = Resources(device=self.compute.device, clips=self.clips.count)
        measures = {metric.name: load(metric, resources) for metric in self.metrics}
        scored = []
        for index in range(self.clips.count):
            clip = self.clips(index)
            context = self.clips.context(clip, flow="flow" in self.model.needs)
            windows = draw_samples(self.model, context, [index], self.samples, self.seed, self.compute)
            scored.append(score_clip(measures, clip, windows))
            check_ranges(scored[-1], self.name, index)
        return {name: np.stack([clip[name] for clip in scored]) for name in scored[0]}


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
