"""Training by two processes: what one process learns, as far as that can be."""

from dataclasses import replace

import pandas as pd
import pytest
import safetensors.torch
import torch

from baselines.predictor import Batch, Progress
from benchmark.protocols import PROTOCOLS
from benchmark.training.launch import launch
from benchmark.training.loop import TrainingPlan
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from twins import built, find_what_rank_0_made, learn

pytest.importorskip("lightning_fabric")
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"train": 8, "test": 1}, seed=1)


def learnt(dataset, tmp_path, name, plan):
    """Weights, and log, by one process and by two."""
    found = []
    for ranks in (1, 2):
        folder = tmp_path / f"{name}{ranks}"
        folder.mkdir()
        job = (name, dataset.path, folder, PROTOCOL, plan)
        learn(job) if ranks == 1 else launch(learn, job, "cpu", ranks, 1)
        weights = safetensors.torch.load_file(folder / "checkpoint.safetensors")
        found.append((weights, pd.read_csv(folder / "training.csv")))
    return found


def test_two_processes_learn_what_one_learns_and_draw_noise_of_their_own(dataset, tmp_path):
    (one, log), (two, other) = learnt(dataset, tmp_path, "rivals", TrainingPlan(steps=6, batch=8, seed=3))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    for column in ("step", "epoch", "maker", "judge"):
        assert other[column].to_numpy() == pytest.approx(log[column].to_numpy(), rel=1e-5)
    assert (other["maker/noise"] - log["maker/noise"]).abs().min() > 1e-4  # the mean of rank 0's own and another


@pytest.mark.parametrize("name", ["sound2sight", "puq"])
def test_a_batchs_losses_are_the_means_of_its_halves_losses(name, monkeypatch):
    for drawn in ("randn_like", "rand_like"):
        monkeypatch.setattr(torch, drawn, lambda like, **_: torch.full_like(like, 0.5))
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: torch.full(size, low))
    model = built(name).eval()  # batch norm's statistics, and dropout, are of no half
    given = torch.rand(4, 5, 1, 48, 48), torch.rand(4, 5, 41, 21)
    whole, *halves = (
        model.losses(Batch(*(each[part] for each in given), 3), Progress(9, 2))
        for part in (slice(4), slice(2), slice(2, 4))
    )
    for player, loss in whole.items():
        torch.testing.assert_close(loss.total, sum(half[player].total for half in halves) / 2)
        for term, value in loss.terms.items():
            torch.testing.assert_close(value, sum(half[player].terms[term] for half in halves) / 2)


def test_sound2sights_losses_are_those_of_the_whole_batch_up_to_noise_and_batch_norm(dataset, tmp_path):
    (_, log), (weights, other) = learnt(dataset, tmp_path, "sound2sight", TrainingPlan(steps=1, batch=8, seed=3))
    for column in ("generator", "discriminator", "generator/mse"):
        assert other[column][0] == pytest.approx(log[column][0], rel=0.05)
    assert all(value.isfinite().all() for value in weights.values())


def test_what_stops_rank_0_stops_all_and_is_told_as_by_one_process(tmp_path):
    with pytest.raises(InputError, match=r"^the disk is not there$"):
        launch(find_what_rank_0_made, tmp_path, "cpu", 2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "stopped by 0", "told 0", "told 1"]
    assert (tmp_path / "told 1").read_text() == "the disk is not there"


def test_devices_that_are_not_there_and_nodes_that_nobody_started_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="--devices 2: torch sees 1 CUDA devices here"):
        launch(learn, None, "cuda", 2, 1)
    with pytest.raises(InputError, match="--nodes 2: start this command on every node by torchrun or srun"):
        launch(learn, None, "cpu", 1, 2)
