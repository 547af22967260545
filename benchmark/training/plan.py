"""How long a model is trained: the plan, its division into stages, and where training stands in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from baselines.predictor import Stage
from benchmark.catalogue import Better, find_metric, merit

# The column of a validation's rows by which the best weights are chosen; see Validation.above_floors. Sound2Sight's
# release chooses by the least squared error among 20 samples, but on test clips.
CRITERION = "above_floors"


@dataclass(frozen=True)
class TrainingPlan:
    """How many steps a model is trained, and on how many clips each."""

    steps: int
    batch: int  # clips per step, of all ranks together
    seed: int
    annealed: float = 0.0  # the last part of every stage's steps, 0 to 1, over which the learning rates fall to 0
    eval_every: int = 0  # steps between two validations; the last step is followed by one, too; 0: no validation

    def validates(self, steps: int, end: int) -> bool:
        """Return whether the model is validated after `steps` steps of a training that has `end` steps."""
        return self.eval_every > 0 and (steps % self.eval_every == 0 or steps == end)


@dataclass(frozen=True)
class Position:
    """Where training stands among a model's stages; kept in the checkpoint."""

    stage: int = 0  # index of the stage
    first: int = 0  # steps that were taken before the stage began
    best: float | None = None  # the best value so far of the metric that can stop the stage
    waited: int = 0  # validations since that value

    def next_stage(self, steps: int) -> "Position":
        """Return the beginning of the next stage, after `steps` steps in all."""
        return Position(stage=self.stage + 1, first=steps)

    def validated(self, value: float, better: Better) -> "Position":
        """Return the position after a validation that gave `value`; `better` is that of its metric."""
        if is_better(value, self.best, better):
            return replace(self, best=value, waited=0)
        return replace(self, waited=self.waited + 1)


def is_better(value: float, best: float | None, better: Better) -> bool:
    """Return whether `value` is better than the best one so far, by a metric's `better`. NaN never is."""
    if np.isnan(value) or best is None:
        return best is None and not np.isnan(value)
    return bool(merit(value, better) > merit(best, better))


@dataclass(frozen=True)
class Best:
    """The validation of the model's last stage that gave the highest score."""

    step: int  # steps that were taken by then
    value: float
    criterion: str = "psnr best_sequence"  # what the score is; checkpoints of older versions do not say it


def stage_lengths(stages: Sequence[Stage], steps: int) -> list[int]:
    """Return the number of steps of each stage, by their shares, which add up to 1."""
    ends = np.cumsum([stage.share for stage in stages])
    borders = [0, *(round(float(end) * steps) for end in ends)]
    return [last - first for first, last in pairwise(borders)]


def rate_factor(plan: TrainingPlan, stage: range, step: int) -> float:
    """Return the factor of the learning rates at a step of `stage`: 1, then falling linearly towards 0 at its end."""
    falling = plan.annealed * len(stage)
    return min(1.0, (stage.stop - step) / falling) if falling else 1.0


def metric_value(rows: pd.DataFrame, metric: str, sampling: str = "mean") -> float:
    """Return a metric's mean over predicted frames and clips under a sampling rule, from the rows of a validation.

    A deterministic model has its single sample's.
    """
    own = rows[(rows["metric"] == metric) & rows["sampling"].isin((sampling, "single"))]
    if find_metric(metric).frames == "all":
        own = own[own["frame"] == "mean"]
    if len(own) != 1:
        raise ValueError(f"a validation must have one value of {metric} under {sampling}, not {len(own)}")
    return float(own["value"].iloc[0])
