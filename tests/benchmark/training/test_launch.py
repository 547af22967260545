"""Training by two processes gives what one process gives, as far as that is possible."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import safetensors.torch
import torch

from baselines.predictor import Batch, Progress
from benchmark.catalogue import PROTOCOLS
from benchmark.training.launch import launch, run_process
from benchmark.training.loop import TrainingPlan
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from twins import build, learn, work_together

pytest.importorskip("lightning_fabric")
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2, reported=(6, 15))
PLANS = {
    name: TrainingPlan(steps, batch=8, seed=3)
    for name, steps in {"rivals": 6, "sound2sight": 1, "two-stage": 4}.items()
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"train": 8, "test": 1}, seed=1)


def job(name, dataset, folder):
    (folder / name).mkdir()
    return name, dataset.path, folder / name, PROTOCOL, PLANS[name]


@pytest.fixture(scope="module")
def together(dataset, tmp_path_factory):
    """The folder of the trainings by two processes, and the error that ended them."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.raises(InputError) as error:
        launch(work_together, [job(name, dataset, folder) for name in PLANS], "cpu", 2, 1)
    return folder, str(error.value)


def read_training(folder):
    return safetensors.torch.load_file(folder / "checkpoint.safetensors"), pd.read_csv(folder / "training.csv")


def test_two_processes_learn_what_one_learns_and_draw_their_own_noise(dataset, together, tmp_path):
    learn(job("rivals", dataset, tmp_path))
    (one, log), (two, other) = (read_training(folder / "rivals") for folder in (tmp_path, together[0]))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    for column in ("step", "epoch", "maker", "judge"):
        assert other[column].to_numpy() == pytest.approx(log[column].to_numpy(), rel=1e-5)
    assert (other["maker/noise"] - log["maker/noise"]).abs().min() > 1e-4  # the mean of rank 0's own and another


@pytest.mark.parametrize("name", ["sound2sight", "puq"])
def test_a_batchs_losses_are_the_means_of_its_halves_losses(name, monkeypatch):
    for draw in ("randn_like", "rand_like"):
        monkeypatch.setattr(torch, draw, lambda like, **_: torch.full_like(like, 0.5))
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.full(size, low))
    model = build(name).eval()  # batch norm's statistics and dropout would differ between halves
    frames, audio = torch.rand(4, 5, 1, 48, 48), torch.rand(4, 5, 41, 21)
    whole, *halves = (
        model.losses(Batch(frames[part], audio[part], 3), Progress(9, 2)) for part in (slice(4), slice(2), slice(2, 4))
    )
    for player, loss in whole.items():
        torch.testing.assert_close(loss.total, sum(half[player].total for half in halves) / 2)
        for term, value in loss.terms.items():
            torch.testing.assert_close(value, sum(half[player].terms[term] for half in halves) / 2)


def test_sound2sights_losses_are_those_of_the_whole_batch_up_to_noise_and_batch_norm(dataset, together, tmp_path):
    learn(job("sound2sight", dataset, tmp_path))
    (_, log), (weights, other) = (read_training(folder / "sound2sight") for folder in (tmp_path, together[0]))
    for column in ("generator", "discriminator", "generator/mse"):
        assert other[column][0] == pytest.approx(log[column][0], rel=0.05)
    assert all(value.isfinite().all() for value in weights.values())


def test_ranks_share_values_keep_frozen_modules_and_stop_at_a_difference_or_an_error_of_rank_0(together):
    folder, error = together[0] / "two-stage", together[1]
    assert error == "the disk is not there"
    assert not (folder / "failed in 1").exists()  # rank 0 alone acted
    assert (folder / "written").read_text() == "1"
    for rank in (0, 1):
        read = {name: (folder / f"{name} {rank}").read_text() for name in ("encoder", "rank", "difference", "error")}
        assert read["encoder"] == "kept as the first stage left it"
        assert read["rank"] == "7 both"
        assert read["difference"] == (
            "process 1 was started for another run than process 0: run 0 found, run 1 requested"
        )
        assert read["error"] == "the disk is not there"


def test_a_process_that_system_exit_ends_is_an_error_not_a_success():
    def leave(job, ranks):
        sys.exit()

    with pytest.raises(RuntimeError, match="SystemExit"):
        run_process(SimpleNamespace(global_rank=1, world_size=2, local_rank=1), leave, None)


def test_missing_devices_and_nodes_that_were_not_started_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="--devices 2: torch sees 1 CUDA devices here"):
        launch(learn, None, "cuda", 2, 1)
    with pytest.raises(InputError, match="--nodes 2: start this command on every node by torchrun or srun"):
        launch(learn, None, "cpu", 1, 2)
