"""Validation: what a model in training makes of the val split's first clips. The test split is never looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from baselines.predictor import Predictor
from benchmark import results
from benchmark.metrics import METRICS
from benchmark.protocols import Protocol
from benchmark.sampling import futures_of
from benchmark.statistics import by_sampling
from benchmark.training import Compute, load_clips
from mmnist_av.clips import StoredClips
from mmnist_av.store import Split

CLIPS = 40  # of the val split, the first
SAMPLES = 5  # futures a clip
METRICS_VALIDATED = ("psnr", "ssim", "ssim_uniform")


@dataclass(frozen=True)
class Validation:
    """Scores of a model on clips that it is not trained on, as rows: learning curves (PUQ, figure 3)."""

    model: Predictor
    name: str  # of the model
    split: Split  # val
    protocol: Protocol
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
        by_metric = {
            name: by_sampling(scores[name], METRICS[name].better, scores[f"{name}/mean_frame"][:, 0])
            for name in METRICS_VALIDATED
        }
        return results.make_rows(
            by_metric,
            model=self.name,
            protocol=self.protocol.name,
            preset=self.preset,
            samples=self.samples,
            frames=range(self.protocol.seen + 1, self.protocol.test_frames + 1),
            report=(*self.protocol.reported, "mean"),
            provenance={"split": "val", "step": steps, "epoch": epoch, **self.provenance},
        )

    @property
    def samples(self) -> int:
        """Futures a clip: one where all would agree."""
        return SAMPLES if self.model.stochastic else 1

    def score(self) -> dict[str, np.ndarray]:
        """Every metric of the futures, (clips, samples, frames), and of their average, (clips, 1, frames)."""
        clips = StoredClips(self.split, self.protocol.test_frames)
        draw = futures_of(self.model, self.split, self.protocol, self.samples, self.seed, self.compute)
        scores: dict[str, list[np.ndarray]] = {}
        for index in range(min(CLIPS, len(self.split))):
            frames, _ = load_clips(clips, [index], self.protocol, self.compute.device)
            true, futures = frames[:, None, self.protocol.seen :], draw(index)
            for name in METRICS_VALIDATED:
                for key, made in ((name, futures), (f"{name}/mean_frame", futures.mean(1, keepdim=True))):
                    scores.setdefault(key, []).append(METRICS[name].compute(true, made)[0].cpu().numpy())
        return {name: np.stack(found) for name, found in scores.items()}


def restore(modes: Mapping[nn.Module, bool]) -> None:
    """Put every module back into training mode, or out of it; a stage may keep some of them in eval mode."""
    for module, training in modes.items():
        module.training = training
