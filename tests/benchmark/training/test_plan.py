"""The plan: how steps are divided among stages, how rates fall, when validation is due and when it stops a stage."""

import math

import pandas as pd
import pytest

from baselines.predictor import Stage
from benchmark.training.plan import Position, TrainingPlan, metric_value, rate_factor, stage_lengths


def test_the_stages_share_all_steps():
    assert sum(stage_lengths([Stage(name, (), 1 / 3) for name in "abc"], 10)) == 10
    assert stage_lengths([Stage("a", (), 0.75), Stage("b", (), 0.25)], 8) == [6, 2]


def test_rates_fall_linearly_over_the_annealed_part_of_a_stage():
    assert [rate_factor(TrainingPlan(8, 2, 0), range(8), step) for step in range(8)] == [1.0] * 8
    annealed = TrainingPlan(12, 2, 0, annealed=0.5)
    factors = [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert [rate_factor(annealed, range(8), step) for step in range(8)] == factors
    assert [rate_factor(annealed, range(4, 12), step) for step in range(4, 12)] == factors


def test_validation_is_due_every_so_many_steps_and_at_the_end():
    plan = TrainingPlan(10, 2, 0, eval_every=4)
    assert [steps for steps in range(1, 8) if plan.validates(steps, end=7)] == [4, 7]
    assert not TrainingPlan(10, 2, 0).validates(10, end=10)


@pytest.mark.parametrize(
    ("better", "values"),
    [("higher", [1, 3, 2, 3, 4]), ("lower", [4, 2, 3, 2, 1]), ("nearer 1", [3, 0.5, 2, 1.5, 1.25])],
)
def test_only_a_strictly_better_value_ends_the_waiting(better, values):
    position, waited = Position(stage=1, first=7), []
    for value in values:
        position = position.validated(value, better)
        waited.append(position.waited)
    assert waited == [0, 0, 1, 2, 0]
    assert position == Position(stage=1, first=7, best=values[-1], waited=0)
    assert position.next_stage(30) == Position(stage=2, first=30)


def test_a_value_that_is_not_a_number_is_no_improvement():
    assert Position().validated(math.nan, "lower") == Position(waited=1)
    assert Position(best=1.0).validated(math.nan, "lower") == Position(best=1.0, waited=1)


def test_a_stages_metric_is_its_mean_over_samples_and_frames():
    rows = pd.DataFrame(
        {
            "metric": ["psnr", "psnr", "psnr", "ssim", "block_iou"],
            "sampling": ["mean", "best_frame", "mean", "mean", "single"],
            "frame": ["mean", "mean", "7", "mean", "25"],
            "value": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    assert metric_value(rows, "psnr") == 1.0
    assert metric_value(rows, "block_iou") == 5.0  # of the last frame only
    with pytest.raises(ValueError, match="must have one value of ssim_uniform under mean, not 0"):
        metric_value(rows, "ssim_uniform")
