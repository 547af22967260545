"""The training loop: what a step does, and that a training that was killed ends as one in a single go."""

import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from baselines.predictor import ClipShape, Loss, OwnRate, Player, Predictor, Progress, Stage
from baselines.puq import PUQ, PUQConfig
from benchmark.catalogue import PROTOCOLS
from benchmark.compute import Compute
from benchmark.training import checkpoint
from benchmark.training import loop as training
from benchmark.training.batches import StoredBatches
from benchmark.training.loop import Diverged, Training, TrainingPlan, train
from benchmark.training.plan import CRITERION
from benchmark.training.updates import check_finite
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError

CPU = Compute(torch.device("cpu"), bfloat16=False)
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2, reported=(6, 15))


class TwoWeights(Predictor):
    """Two players that pull on each other's weight; records the weights that every loss saw."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
        self.noise, self.broken_at = [], None

    def players(self):
        return {"one": Player([self.one], 0.1), "two": Player([self.two], 0.1, clip_norm=1e-3)}

    def losses(self, batch, progress):
        self.noise.append(torch.rand(()).item())
        product = self.one * self.two
        total = product * float("nan") if progress.step == self.broken_at else product
        return {"one": Loss(total, {"mean": batch.frames.mean()}), "two": Loss(-product)}


@pytest.fixture
def clips(small_dataset):
    return StoredClips(small_dataset.split("train"), PROTOCOL.train_frames)


def train_on(clips, model, plan, folder):
    return train(Training(model, StoredBatches(clips, plan), PROTOCOL, plan, CPU, folder, run="run"))


def test_each_player_descends_its_own_loss_from_gradients_computed_before_any_update(clips, tmp_path):
    model = TwoWeights()
    assert train_on(clips, model, TrainingPlan(1, 2, 0), tmp_path) == 1
    assert model.one.item() == pytest.approx(1.0 - 0.1)
    assert model.two.item() == pytest.approx(2.0 + 0.1, abs=1e-4)
    assert model.two.grad.item() == pytest.approx(-1e-3)  # clipped
    assert model.one.grad.item() == pytest.approx(2.0)  # not changed by the other's loss


def test_rates_fall_over_the_annealed_part(clips, tmp_path):
    model = TwoWeights()
    train_on(clips, model, TrainingPlan(2, 2, 0, annealed=1.0), tmp_path)
    assert model.one.item() == pytest.approx(1.0 - 0.1 - 0.05, abs=1e-3)  # Adam's steps are its rate


def puq(shape=((1, 48, 48), (41, 21))):
    torch.manual_seed(0)
    return PUQ(
        ClipShape(*shape, seen=5, train_frames=20, fps=10),
        PUQConfig(hidden=16, transformer_width=16, feedforward=16, embedding=16),
    )


def test_a_killed_training_ends_with_the_weights_and_the_log_of_one_in_a_single_go(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    plan = TrainingPlan(steps=6, batch=4, seed=3, annealed=0.5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    train_on(clips, puq(), plan, whole)
    taken = training.differentiate

    def die_in_the_fourth_step(*arguments):
        if len((broken / "training.csv").read_text().splitlines()) == 4:  # steps 0 to 2 are logged
            raise KeyboardInterrupt
        return taken(*arguments)

    monkeypatch.setattr(training, "differentiate", die_in_the_fourth_step)
    with pytest.raises(KeyboardInterrupt):
        train_on(clips, puq(), plan, broken)
    monkeypatch.setattr(training, "differentiate", taken)
    with (broken / "training.csv").open("a") as log:
        log.write("3,0,1.0")  # torn by the kill
    train_on(clips, puq(), plan, broken)
    assert (whole / "checkpoint.safetensors").read_bytes() == (broken / "checkpoint.safetensors").read_bytes()
    rows = [
        [row.split(",")[:2] + row.split(",")[3:] for row in (folder / "training.csv").read_text().splitlines()]
        for folder in (whole, broken)
    ]
    assert rows[0] == rows[1]  # all but the seconds
    assert len(rows[0]) == 7


class TwoStages(Predictor):
    """Trains first one weight, then the other, towards the first; records the progress of every step."""

    def __init__(self):
        super().__init__()
        self.early, self.late = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
        self.norm = nn.BatchNorm1d(1)
        self.progress = []

    def players(self):
        return {"early": Player([self.early], 0.1), "late": Player([self.late], 0.1, schedule=half_way)}

    def stages(self):
        return Stage("first", ("early",), 0.75), Stage("second", ("late",), 0.25)

    def losses(self, batch, progress):
        self.progress.append((progress.step, progress.stage, progress.share))
        light = self.norm(batch.frames.mean((1, 2, 3, 4))[:, None]).square().mean()
        if progress.stage == "first":
            return {"early": Loss((self.early * light * torch.rand(())).square())}
        return {"late": Loss((self.late - self.early.detach()).square(), {"light": light})}


def half_way(progress: Progress):
    return 0.5 if progress.share >= 0.5 else 1.0


def test_a_stage_updates_its_players_only_and_rates_follow_schedule_and_stage(clips, tmp_path):
    model = TwoStages()
    train_on(clips, model, TrainingPlan(8, 2, 0), tmp_path)
    assert model.progress[5:] == [(5, "first", 5 / 6), (6, "second", 0.0), (7, "second", 0.5)]
    assert model.late.item() == pytest.approx(2.0 - 0.1 - 0.05, abs=1e-3)  # Adam's steps are its rate
    annealed = TwoStages()
    (tmp_path / "annealed").mkdir()
    train_on(clips, annealed, TrainingPlan(8, 2, 0, annealed=1.0), tmp_path / "annealed")
    assert annealed.late.item() == pytest.approx(2.0 - 0.1 - 0.5 * 0.05, abs=1e-3)  # falls anew in every stage


class TwoRates(Predictor):
    """One player whose second weight learns at half the first's rate, and at a quarter in the first step."""

    def __init__(self):
        super().__init__()
        self.usual, self.slow = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))

    def players(self):
        own = OwnRate([self.slow], factor=lambda progress: 0.5 if progress.step else 0.25)
        return {"only": Player([self.usual, self.slow], 0.1, schedule=half_way, own_rates=[own])}

    def losses(self, batch, progress):
        return {"only": Loss(self.usual + self.slow)}


def test_some_of_a_players_weights_may_have_their_own_rate(clips, tmp_path):
    model = TwoRates()
    train_on(clips, model, TrainingPlan(4, 2, 0), tmp_path)
    assert model.usual.item() == pytest.approx(1 - 0.1 - 0.1 - 0.05 - 0.05, abs=1e-4)  # Adam's steps are its rate
    assert model.slow.item() == pytest.approx(1 - 0.1 / 4 - (0.1 + 0.05 + 0.05) / 2, abs=1e-4)
    again = TwoRates()  # from the checkpoint
    train_on(clips, again, TrainingPlan(4, 2, 0), tmp_path)
    assert (again.usual.item(), again.slow.item()) == (model.usual.item(), model.slow.item())


def test_a_training_killed_on_either_side_of_a_stages_end_gives_what_a_single_go_gives(clips, tmp_path, monkeypatch):
    plan = TrainingPlan(8, 2, 0, annealed=0.5)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    (tmp_path / "whole").mkdir()
    train_on(clips, TwoStages(), plan, tmp_path / "whole")
    rows = [row.split(",") for row in (tmp_path / "whole/training.csv").read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "seconds", "early", "late", "late/light"]
    assert [bool(row[3]) for row in rows[1:]] == [True] * 6 + [False] * 2
    assert [bool(row[4] and row[5]) for row in rows[1:]] == [False] * 6 + [True] * 2
    for steps in (5, 6, 7):
        folder = tmp_path / str(steps)
        folder.mkdir()
        model = TwoStages()
        step = model.losses

        def die(batch, progress, last=steps, step=step):
            if progress.step == last:
                raise KeyboardInterrupt
            return step(batch, progress)

        model.losses = die
        with pytest.raises(KeyboardInterrupt):
            train_on(clips, model, plan, folder)
        train_on(clips, TwoStages(), plan, folder)
        assert (folder / "checkpoint.safetensors").read_bytes() == (
            tmp_path / "whole/checkpoint.safetensors"
        ).read_bytes()
        again = [row.split(",") for row in (folder / "training.csv").read_text().splitlines()]
        assert [row[:2] + row[3:] for row in again] == [row[:2] + row[3:] for row in rows]


class Settling(TwoWeights):
    """Keeps the mean brightness of the clips that it settles on, and its weight by then."""

    settling = 3

    def __init__(self):
        super().__init__()
        self.register_buffer("settled", torch.zeros(0, 2))

    def settle(self, batches):
        mean = torch.stack([batch.frames.mean() for batch in batches]).mean()
        self.settled = torch.cat([self.settled, torch.stack([mean, self.one.detach()])[None]])


def test_a_model_settles_on_the_clips_of_its_last_steps_before_every_validation_and_at_the_end(clips, tmp_path):
    validated = []
    plan = TrainingPlan(7, 2, 0, eval_every=2)
    model, batches = Settling(), StoredBatches(clips, plan)

    def validate(steps, epoch):
        validated.append((steps, len(model.settled), model.settled[-1, 1].item() == model.one.item()))
        return pd.DataFrame([{"metric": "psnr", "sampling": "mean", "value": 1.0, "step": steps, CRITERION: 1.0}])

    train(Training(model, batches, PROTOCOL, plan, CPU, tmp_path, run="run", validate=validate))
    assert validated == [(2, 1, True), (4, 2, True), (6, 3, True), (7, 4, True)]
    means = [torch.stack([batches(step)[1]["frames"].float().mean() / 255 for step in (4, 5, 6)]).mean()]
    torch.testing.assert_close(model.settled[-1, 0], means[0])
    again = Settling()
    (tmp_path / "without").mkdir()
    train(Training(again, batches, PROTOCOL, replace(plan, eval_every=0), CPU, tmp_path / "without", run="run"))
    torch.testing.assert_close(again.settled, model.settled[-1:])


def test_ctrl_c_ends_the_training_after_the_step_and_loses_none(clips, tmp_path):
    plan = TrainingPlan(4, 2, 0)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir(), stopped.mkdir()
    train_on(clips, TwoStages(), plan, whole)
    model = TwoStages()
    compute = model.losses

    def press_ctrl_c(batch, progress):
        if progress.step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return compute(batch, progress)

    model.losses = press_ctrl_c
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"after step 2 of 4, and .*checkpoint\.safetensors keeps all of them"):
        train_on(clips, model, plan, stopped)
    assert signal.getsignal(signal.SIGINT) is usual
    assert len((stopped / "training.csv").read_text().splitlines()) == 3
    again = TwoStages()
    train_on(clips, again, plan, stopped)
    assert [step for step, *_ in again.progress] == [2, 3]
    assert (whole / "checkpoint.safetensors").read_bytes() == (stopped / "checkpoint.safetensors").read_bytes()


def test_slow_steps_are_kept_by_the_clock(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    model = TwoStages()
    compute = model.losses

    def die(batch, progress):
        if progress.step == 2:
            raise RuntimeError("power cut")
        return compute(batch, progress)

    model.losses = die
    with pytest.raises(RuntimeError, match="power cut"):
        train_on(clips, model, TrainingPlan(4, 2, 0), tmp_path)
    again = TwoStages()
    train_on(clips, again, TrainingPlan(4, 2, 0), tmp_path)
    assert [step for step, *_ in again.progress] == [2, 3]


def test_a_trained_model_is_not_trained_again(clips, tmp_path):
    plan = TrainingPlan(2, 2, 0)
    train_on(clips, TwoWeights(), plan, tmp_path)
    again = TwoWeights()
    assert train_on(clips, again, plan, tmp_path) == 2
    assert again.noise == []
    assert again.one.item() != 1.0


def test_a_training_of_no_steps_keeps_the_weights_as_they_were_drawn(clips, tmp_path):
    model = TwoWeights()
    assert train_on(clips, model, TrainingPlan(steps=0, batch=2, seed=0, eval_every=1), tmp_path) == 0
    saved, tensors = checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert saved.complete
    assert tensors["model/one"] == 1.0


def test_divergence_stops_with_step_player_and_last_good_checkpoint(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    model = TwoWeights()
    model.broken_at = 3
    with pytest.raises(Diverged, match=r"step 3: the loss of its player 'one' is nan; the last good .*safetensors"):
        train_on(clips, model, TrainingPlan(6, 2, 0), tmp_path)


def test_a_gradient_that_is_not_finite_changes_no_weight(clips, tmp_path):
    class Steep(TwoWeights):
        def losses(self, batch, progress):
            return {"one": Loss((self.one - 1.0).sqrt()), "two": Loss(self.two * 1.0)}

    model = Steep()
    with pytest.raises(
        Diverged,
        match=r"step 0: the gradient of its player 'one' is inf; no checkpoint was written yet; try another",
    ):
        train_on(clips, model, TrainingPlan(1, 2, 0), tmp_path)
    assert (model.one.item(), model.two.item()) == (1.0, 2.0)


def test_a_log_that_lacks_steps_is_refused(clips, tmp_path):
    plan = TrainingPlan(2, 2, 0)
    train_on(clips, TwoWeights(), plan, tmp_path)
    log = tmp_path / "training.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(
        InputError, match=r"training\.csv lacks steps before 2: restore it, or move it away to continue "
    ):
        train_on(clips, TwoWeights(), plan, tmp_path)
    log.write_bytes(log.read_bytes() + b"\xff\xfe")
    with pytest.raises(InputError, match=r"training\.csv is damaged"):
        train_on(clips, TwoWeights(), plan, tmp_path)


def test_a_step_draws_the_same_random_numbers_whenever_it_is_taken(clips, tmp_path):
    noises = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        model = TwoWeights()
        torch.manual_seed(np.random.randint(1000))  # noqa: NPY002
        train_on(clips, model, TrainingPlan(3, 2, 0), tmp_path / name)
        noises.append(model.noise)
    assert noises[0] == noises[1]
    assert len(set(noises[0])) == 3


def test_rank_0_draws_the_numbers_of_a_single_process_and_the_others_draw_others():
    alone = int(np.random.SeedSequence([3, 7]).generate_state(1, np.uint32)[0])
    assert training.step_seed(3, 7) == training.step_seed(3, 7, 0) == alone
    assert len({training.step_seed(3, 7, rank) for rank in range(100)}) == 100


def test_what_helps_a_training_that_diverges_names_settings_of_the_model_alone(tmp_path):
    values, path = {"only": torch.tensor(torch.nan)}, tmp_path / "none"
    with pytest.raises(Diverged, match=r"try another --seed, or --set a lower learning_rate or disc_learning_rate$"):
        check_finite(puq(), "loss", values, 0, path)
    with pytest.raises(Diverged, match=r"try another --seed$"):
        check_finite(TwoWeights(), "loss", values, 0, path)
