"""TensorBoard shows the numbers of the CSV files over the number of steps taken, no step twice."""

import math
import sys
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import torch

from baselines.predictor import Loss
from benchmark.report.training_logs import read_training
from benchmark.training.logs import Logs, TrainingLog
from mmnist_av.system.errors import InputError


def rows(steps):
    named = {"metric": ["psnr"], "sampling": ["mean"], "frame": ["mean"], "value": [float(steps)], "step": [steps]}
    return pd.DataFrame(named)


def write(folder, first, last, scale):
    logs = Logs(folder, first, lambda steps: steps % 2 == 0, tensorboard=True)
    for step in range(first, last):
        logs.write(step, 0, {"generator": Loss(torch.tensor(scale * step), {"kl": torch.tensor(0.5)})})
        if step % 2:
            logs.write_validation(step + 1, rows(step + 1))
    logs.sync()
    logs.close()


def test_losses_terms_and_validations_are_logged_and_a_resumed_run_replaces_its_later_steps(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, 0, 6, 1.0)
    write(tmp_path, 2, 4, 10.0)  # after the checkpoint of 2 steps
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(board.Tags()["scalars"]) == {"generator", "generator/kl", "validation/psnr/mean/mean"}
    losses = [(each.step, each.value) for each in board.Scalars("generator")]
    assert losses == [(1, 0.0), (2, 1.0), (3, 20.0), (4, 30.0)]
    assert [(each.step, each.value) for each in board.Scalars("validation/psnr/mean/mean")] == [(2, 2.0), (4, 4.0)]
    assert list(pd.read_csv(tmp_path / "training.csv")["generator"]) == [0.0, 1.0, 20.0, 30.0]
    assert list(pd.read_csv(tmp_path / "validation.csv")["step"]) == [2, 4]


def test_a_loss_that_is_not_finite_is_a_gap_and_no_reason_against_a_report(tmp_path):
    with closing(TrainingLog(tmp_path / "training.csv", 0)) as log:
        for step, value in enumerate([1.0, math.nan, math.inf, 2.0]):
            log.write(step, 0, {"generator": Loss(torch.tensor(value), {"kl": torch.tensor(value)})})
    columns = read_training(tmp_path / "training.csv")
    for name in ("generator", "generator/kl"):
        np.testing.assert_array_equal(columns[name], [1, math.nan, math.nan, 2])


@pytest.mark.parametrize("lost", ["training.csv", "validation.csv"])
def test_a_training_whose_log_is_lost_continues_without_its_rows(tmp_path, caplog, lost):
    write(tmp_path, 0, 4, 1.0)
    (tmp_path / lost).unlink()
    write(tmp_path, 4, 6, 1.0)
    assert f"{lost} has no rows of the " in caplog.text
    write(tmp_path, 6, 8, 1.0)  # interrupted again
    steps = {"training.csv": list(range(8)), "validation.csv": [2, 4, 6, 8]}
    steps[lost] = {"training.csv": [4, 5, 6, 7], "validation.csv": [6, 8]}[lost]
    assert list(read_training(tmp_path / "training.csv")["step"]) == steps["training.csv"]
    assert list(pd.read_csv(tmp_path / "validation.csv")["step"]) == steps["validation.csv"]


@pytest.mark.parametrize("lost", ["training.csv", "validation.csv"])
@pytest.mark.parametrize("text", ["mine", "mine\n", "a,b\n1,2\n", "ste"])
def test_another_file_in_the_place_of_a_log_is_refused_and_stays(tmp_path, lost, text):
    write(tmp_path, 0, 4, 1.0)
    (tmp_path / lost).write_text(text)
    with pytest.raises(InputError, match=f"{lost} is damaged: restore it, or move it away"):
        write(tmp_path, 4, 6, 1.0)
    assert (tmp_path / lost).read_text() == text


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        Logs(tmp_path, 0, None, tensorboard=True)
