"""Validation: what a model in training makes of the val split's first clips. The test split is never looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from baselines.predictor import Predictor
from benchmark.compute import Compute
from benchmark.metrics import METRICS
from benchmark.metrics.resources import Setting
from benchmark.protocols import Protocol
from benchmark.scoring import rows as results
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.samples import futures_of
from benchmark.scoring.scores import Scores, samplings, score_clip
from mmnist_av.m3so.family import spec_of

CLIPS = 40  # of the val split, the first
SAMPLES = 5  # futures a clip
METRICS_VALIDATED = ("psnr", "ssim", "ssim_uniform")


@dataclass(frozen=True)
class Validation:
    """Scores of a model on clips that it is not trained on, as rows: learning curves (PUQ, figure 3)."""

    model: Predictor
    name: str  # of the model
    clips: TrueClips  # of the val split
    preset: str
    seed: int
    compute: Compute
    provenance: Mapping[str, object]  # where the rows come from: a column each

    def __call__(self, steps: int, epoch: int) -> pd.DataFrame:
        """The rows after so many steps: results.make_rows' columns, then split, step and epoch, and the provenance.

        The horizon is the protocol's own at test. The noise of a future is keyed by (seed, clip, sample). The model is
        left as it was, each of its modules in the mode it was in.
        """
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        scores = self.score()
        restore(modes)
        return results.make_rows(
            {name: samplings(scores, name) for name in METRICS_VALIDATED},
            model=self.name,
            protocol=self.protocol.name,
            preset=self.preset,
            samples=self.samples,
            clips=self.clips.count,
            frames=range(self.protocol.seen + 1, self.protocol.test_frames + 1),
            report=(*self.protocol.reported, "mean"),
            provenance={"split": "val", "step": steps, "epoch": epoch, **self.provenance},
        )

    @property
    def protocol(self) -> Protocol:
        """What is predicted and reported."""
        return self.clips.protocol

    @property
    def samples(self) -> int:
        """Futures a clip: one where all would agree."""
        return SAMPLES if self.model.stochastic else 1

    def score(self) -> Scores:
        """Every metric of every clip, sample and frame, and of the clips' averaged futures."""
        setting = Setting(self.compute.device, self.clips.count, spec_of(self.clips.dataset).digits_per_clip)
        measures = {name: METRICS[name].get(setting) for name in METRICS_VALIDATED}
        split = self.clips.dataset.split(self.clips.name)
        draw = futures_of(self.model, split, self.protocol, self.samples, self.seed, self.compute)
        scored = [score_clip(measures, self.clips(index), draw(index)) for index in range(self.clips.count)]
        return {name: np.stack([clip[name] for clip in scored]) for name in scored[0]}


def restore(modes: Mapping[nn.Module, bool]) -> None:
    """Put every module back into training mode, or out of it; a stage may keep some of them in eval mode."""
    for module, training in modes.items():
        module.training = training
