"""The training loop: what a step does, and that a broken-off training ends as an unbroken one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmark.protocols import PROTOCOLS
from torch import nn

from baselines.predictor import Loss, Player, Predictor, Progress, Stage
from baselines.puq import PUQ, PUQConfig
from benchmark.compute import Compute
from benchmark.training import loop as training
from benchmark.training.loop import (
    Diverged,
    StoredBatches,
    StreamedBatches,
    TrainingPlan,
    batch_indices,
    rate_factor,
    train,
)
from benchmark.training.processes import Ranks
from mmnist_av.clips import StoredClips
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.stream import M3SOStream
from mmnist_av.system.errors import InputError

CPU = Compute(torch.device("cpu"), bfloat16=False)
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2)


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
    train(model, StoredBatches(clips, plan), PROTOCOL, plan, CPU, folder, "run")


def test_every_epoch_is_a_new_shuffle_of_the_clips():
    plan = TrainingPlan(steps=10, batch=4, seed=0)
    epochs = [batch_indices(13, plan, step) for step in range(6)]
    assert [epoch for epoch, _ in epochs] == [0, 0, 0, 1, 1, 1]
    first, second = ([clip for _, batch in part for clip in batch] for part in (epochs[:3], epochs[3:]))
    assert len(set(first)) == len(set(second)) == 12
    assert first != second
    assert batch_indices(13, replace(plan, seed=1), 0) != epochs[0]


def test_a_split_smaller_than_a_batch_is_one_batch():
    assert sorted(batch_indices(3, TrainingPlan(1, 8, 0), 5)[1]) == [0, 1, 2]


def test_each_player_descends_its_own_loss_from_gradients_taken_before_anyone_moved(clips, tmp_path):
    model = TwoWeights()
    train_on(clips, model, TrainingPlan(1, 2, 0), tmp_path)
    assert model.one.item() == pytest.approx(1.0 - 0.1)
    assert model.two.item() == pytest.approx(2.0 + 0.1, abs=1e-4)
    assert model.two.grad.item() == pytest.approx(-1e-3)  # clipped
    assert model.one.grad.item() == pytest.approx(2.0)  # not touched by the other's loss


def test_rates_fall_linearly_over_the_annealed_part_only(clips, tmp_path):
    assert [rate_factor(TrainingPlan(8, 2, 0), range(8), step) for step in range(8)] == [1.0] * 8
    factors = [rate_factor(TrainingPlan(8, 2, 0, annealed=0.5), range(8), step) for step in range(8)]
    assert factors == [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    model = TwoWeights()
    train_on(clips, model, TrainingPlan(2, 2, 0, annealed=1.0), tmp_path)
    assert model.one.item() == pytest.approx(1.0 - 0.1 - 0.05, abs=1e-3)  # Adam's steps are its rate


def test_an_epoch_of_a_stream_is_as_many_clips_as_the_dataset_has():
    stream = M3SOStream(Spec(), 0, batch=4, frames=3)
    batches = StreamedBatches(stream, epoch_clips=10)
    assert [batches(step)[0] for step in range(5)] == [0, 0, 1, 1, 2]
    assert batches(3)[1]["index"].tolist() == [12, 13, 14, 15]


def puq(shape=((1, 48, 48), (41, 21))):
    torch.manual_seed(0)
    from baselines.predictor import ClipShape

    return PUQ(
        ClipShape(*shape, seen=5, train_frames=20, fps=10),
        PUQConfig(hidden=16, transformer_width=16, feedforward=16, embedding=16),
    )


def test_a_killed_training_ends_with_the_weights_and_the_log_of_an_unbroken_one(clips, tmp_path, monkeypatch):
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
    """First one weight moves, then the other, towards the first; remembers where it stood."""

    def __init__(self):
        super().__init__()
        self.early, self.late = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
        self.norm = nn.BatchNorm1d(1)
        self.stood = []

    def players(self):
        return {"early": Player([self.early], 0.1), "late": Player([self.late], 0.1, schedule=half_way)}

    def stages(self):
        return Stage("first", ("early",), 0.75), Stage("second", ("late",), 0.25)

    def losses(self, batch, progress):
        self.stood.append((progress.step, progress.stage, progress.share))
        light = self.norm(batch.frames.mean((1, 2, 3, 4))[:, None]).square().mean()
        if progress.stage == "first":
            return {"early": Loss((self.early * light * torch.rand(())).square())}
        return {"late": Loss((self.late - self.early.detach()).square(), {"light": light})}


def half_way(progress: Progress):
    return 0.5 if progress.share >= 0.5 else 1.0


def test_a_stage_moves_its_players_only_and_rates_follow_schedule_and_stage(clips, tmp_path):
    model = TwoStages()
    train_on(clips, model, TrainingPlan(8, 2, 0), tmp_path)
    assert model.stood[5:] == [(5, "first", 5 / 6), (6, "second", 0.0), (7, "second", 0.5)]
    assert model.late.item() == pytest.approx(2.0 - 0.1 - 0.05, abs=1e-3)  # Adam's steps are its rate
    halfway = TwoStages()
    (tmp_path / "half").mkdir()
    train_on(clips, halfway, TrainingPlan(8, 2, 0, annealed=1.0), tmp_path / "half")
    assert halfway.late.item() == pytest.approx(2.0 - 0.1 - 0.5 * 0.05, abs=1e-3)  # falls anew in every stage


class TwoRates(Predictor):
    """One player whose second weight learns at half the first's rate."""

    def __init__(self):
        super().__init__()
        self.usual, self.slow = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))

    def players(self):
        return {"only": Player([self.usual, self.slow], 0.1, schedule=half_way, scaled={0.5: [self.slow]})}

    def losses(self, batch, progress):
        return {"only": Loss(self.usual + self.slow)}


def test_some_of_a_players_weights_may_learn_at_a_rate_of_their_own(clips, tmp_path):
    model = TwoRates()
    train_on(clips, model, TrainingPlan(4, 2, 0), tmp_path)
    assert model.usual.item() == pytest.approx(1 - 0.1 - 0.1 - 0.05 - 0.05, abs=1e-4)  # Adam's steps are its rate
    assert model.slow.item() == pytest.approx(1 - (0.1 + 0.1 + 0.05 + 0.05) / 2, abs=1e-4)
    again = TwoRates()  # from the checkpoint
    train_on(clips, again, TrainingPlan(4, 2, 0), tmp_path)
    assert (again.usual.item(), again.slow.item()) == (model.usual.item(), model.slow.item())


def test_a_training_killed_on_either_side_of_a_stages_border_ends_as_an_unbroken_one(clips, tmp_path, monkeypatch):
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


def test_stages_that_do_not_add_up_and_losses_of_other_players_are_refused(clips, tmp_path):
    with pytest.raises(ValueError, match=r"add up to 0\.75"):
        training.spans_of([Stage("a", (), 0.5), Stage("b", (), 0.25)], 8)
    spans = training.spans_of([Stage("a", (), 1 / 3), Stage("b", (), 1 / 3), Stage("c", (), 1 / 3)], 10)
    assert [step for _, span in spans for step in span] == list(range(10))
    model = TwoStages()
    model.stages = lambda: (Stage("first", ("early", "late")),)
    with pytest.raises(ValueError, match="stage 'first' has the players"):
        train_on(clips, model, TrainingPlan(1, 2, 0), tmp_path)


def test_a_trained_model_is_not_trained_again(clips, tmp_path):
    plan = TrainingPlan(2, 2, 0)
    train_on(clips, TwoWeights(), plan, tmp_path)
    again = TwoWeights()
    train_on(clips, again, plan, tmp_path)
    assert again.noise == []
    assert again.one.item() != 1.0


def test_divergence_stops_with_step_player_and_last_good_checkpoint(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    model = TwoWeights()
    model.broken_at = 3
    with pytest.raises(Diverged, match=r"step 3: the one's loss is nan; the last good checkpoint is .*safetensors"):
        train_on(clips, model, TrainingPlan(6, 2, 0), tmp_path)


def test_a_gradient_that_is_not_finite_moves_no_weight(clips, tmp_path):
    class Steep(TwoWeights):
        def losses(self, batch, progress):
            return {"one": Loss((self.one - 1.0).sqrt()), "two": Loss(self.two * 1.0)}

    model = Steep()
    with pytest.raises(
        Diverged, match=r"step 0: the one's gradient is inf; no checkpoint was written yet; try another"
    ):
        train_on(clips, model, TrainingPlan(1, 2, 0), tmp_path)
    assert (model.one.item(), model.two.item()) == (1.0, 2.0)


def test_a_log_that_lacks_steps_is_refused(clips, tmp_path):
    plan = TrainingPlan(2, 2, 0)
    train_on(clips, TwoWeights(), plan, tmp_path)
    log = tmp_path / "training.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match=r"training\.csv lacks steps before 2"):
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


def test_rank_0_draws_the_numbers_of_a_process_alone_and_the_others_draw_others():
    alone = int(np.random.SeedSequence([3, 7]).generate_state(1, np.uint32)[0])
    assert training.step_seed(3, 7) == training.step_seed(3, 7, 0) == alone
    assert len({training.step_seed(3, 7, rank) for rank in range(100)}) == 100


def test_the_ranks_shares_make_up_the_batch(clips):
    plan = TrainingPlan(4, 4, 0)
    whole = StoredBatches(clips, plan)(0)[1]["index"].tolist()
    shares = [StoredBatches(clips, plan, Ranks(rank, 2))(0)[1]["index"].tolist() for rank in (0, 1)]
    assert shares[0] + shares[1] == whole
    with pytest.raises(InputError, match="4 clips cannot be shared evenly among 3 processes"):
        StoredBatches(clips, plan, Ranks(0, 3))(0)
