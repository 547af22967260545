"""What is wrong with a third party's players, stages and losses is said in one line that names the model."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from baselines.predictor import EarlyStop, Loss, OwnRate, Player, Predictor, Stage, Turn
from benchmark.catalogue import PROTOCOLS
from benchmark.compute import Compute
from benchmark.training.batches import StoredBatches
from benchmark.training.loop import Training, TrainingPlan, train
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError

PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2, reported=(6, 15))


class Theirs(Predictor):
    """One player with one weight; the tests replace what its methods return."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        self.other = nn.Parameter(torch.ones(()))

    def players(self):
        return {"only": Player([self.layer.weight], 0.1)}

    def losses(self, batch, progress):
        return {"only": Loss(self.value())}

    def value(self):
        return self.layer.weight.square().sum()


def train_with(dataset, folder, **methods):
    """Take a step of Theirs, whose `methods` are replaced by functions of the model."""
    model, plan = Theirs(), TrainingPlan(1, 2, 0)
    for name, method in methods.items():
        setattr(model, name, lambda *inputs, method=method: method(model))
    batches = StoredBatches(StoredClips(dataset.split("train"), PROTOCOL.train_frames), plan)
    return train(Training(model, batches, PROTOCOL, plan, Compute(torch.device("cpu"), False), folder, run="run"))


def test_a_right_model_passes(small_dataset, tmp_path):
    assert train_with(small_dataset, tmp_path) == 1


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda model: model.value(), r"must return a dictionary, player -> Loss, not \(\) float32"),
        (lambda model: (model.value(), model.value()), "player -> Loss, not tuple of Tensor"),
        (lambda model: {"only": model.value()}, "player -> Loss, not dict of Tensor"),
        (lambda model: {"only": 0.5}, "player -> Loss, not dict of float"),
        (lambda model: None, "player -> Loss, not NoneType"),
        (lambda model: {"onyl": Loss(model.value())}, "the losses of the players only, not of onyl"),
        (lambda model: {}, "the losses of the players only, not of none"),
        (lambda model: {"only": Loss(0.5)}, "only's total must be a scalar tensor, not float"),
        (lambda model: {"only": Loss(model.layer.weight)}, r"total must be a scalar tensor, not \(1, 1\) float32"),
        (lambda model: {"only": Loss(model.value().detach())}, "only's total has no gradient"),
        (lambda model: {"only": Loss(model.value(), {"mse": 1.0})}, "only's mse must be a scalar tensor, not float"),
        (lambda model: {"only": Loss(model.value(), [])}, "only's terms must be a dictionary, not list"),
        (lambda model: {"only": Loss(model.value(), {"a,b": torch.ones(())})}, "the name of a term must have .*'a,b'"),
        (lambda model: {"only": Loss(model.value(), {3: torch.ones(())})}, "the name of a term must have .*: 3"),
        (lambda model: {"only": Loss(model.other * 2)}, "only's total depends on none of the parameters"),
    ],
)
def test_wrong_losses_are_refused(losses, message, small_dataset, tmp_path):
    with pytest.raises(InputError, match=rf"Theirs\.losses.*{message}"):
        train_with(small_dataset, tmp_path, losses=losses)


@pytest.mark.parametrize(
    ("players", "message"),
    [
        (lambda model: [Player([model.other], 0.1)], "must return a dictionary, name -> Player, not list of Player"),
        (lambda model: {"only": model.other}, "name -> Player, not dict of Parameter"),
        (lambda model: {"only": Player(model.parameters(), 0.1)}, "must have a list of parameters, not generator"),
        (lambda model: {"only": Player([torch.ones(())], 0.1)}, "must have a list of parameters, not list of Tensor"),
        (lambda model: {"only": Player([], 0.1)}, "player 'only' has no parameters"),
        (lambda model: {"a/b": Player([model.other], 0.1)}, "a player's name must have letters, .*: 'a/b'"),
        (lambda model: {"": Player([model.other], 0.1)}, "a player's name must have letters, .*: ''"),
        (lambda model: {0: Player([model.other], 0.1)}, "a player's name must have letters, .*: 0"),
        (lambda model: {"step": Player([model.other], 0.1)}, "not be step, epoch or seconds: 'step'"),
        (lambda model: {"only": Player([model.other], -1.0)}, "learning_rate must be a number from 0, not -1.0"),
        (lambda model: {"only": Player([model.other], "fast")}, "learning_rate must be a number from 0, not 'fast'"),
        (
            lambda model: {"only": Player([model.other], 0.1, clip_norm=-1)},
            "clip_norm must be a number above 0 or None",
        ),
        (
            lambda model: {"only": Player([model.other], 0.1, on_nonfinite="skip")},
            "on_nonfinite must be 'stop' or 'zer",
        ),
        (
            lambda model: {"only": Player([model.other, *nn.Linear(1, 1).parameters()], 0.1)},
            "a parameter of player 'only' is not among the model's parameters: put its layers into an nn.ModuleList",
        ),
        (
            lambda model: {
                "only": Player([model.layer.weight], 0.1, own_rates=[OwnRate([model.other], lambda p: 1.0)])
            },
            "the parameters with an OwnRate must be among those of their player 'only', each once",
        ),
        (
            lambda model: {"only": Player([model.other], 0.1, own_rates=[OwnRate([model.other] * 2, lambda p: 1.0)])},
            "the parameters with an OwnRate must be among those of their player 'only', each once",
        ),
    ],
)
def test_wrong_players_are_refused(players, message, small_dataset, tmp_path):
    with pytest.raises(InputError, match=rf"Theirs\.players.*{message}"):
        train_with(small_dataset, tmp_path, players=players)


@pytest.mark.parametrize("value", [None, float("nan"), -1.0, torch.tensor(1.0)])
def test_a_rate_that_is_no_number_is_refused(value, small_dataset, tmp_path):
    def by_schedule(model):
        return {"only": Player([model.layer.weight], 0.1, schedule=lambda progress: value)}

    def by_own_rate(model):
        own = OwnRate([model.layer.weight], lambda progress: value)
        return {"only": Player([model.layer.weight], 0.1, own_rates=[own])}

    for players, what in ((by_schedule, "schedule of a Player"), (by_own_rate, "factor of an OwnRate")):
        with pytest.raises(InputError, match=f"the {what} must return a number from 0, not "):
            train_with(small_dataset, tmp_path, players=players)


@pytest.mark.parametrize(
    "held",
    [
        [nn.Linear(1, 1)],
        ("a name", nn.Linear(1, 1)),
        {"block": nn.Linear(1, 1)},
        [nn.Parameter(torch.ones(()))],
    ],
)
def test_layers_that_are_neither_trained_nor_saved_are_refused(held, small_dataset, tmp_path):
    def players(model):
        model.blocks = held
        return {"only": Player([model.layer.weight], 0.1)}

    with pytest.raises(InputError, match=r"Theirs\.blocks holds layers .* neither trained nor saved: .*nn\.ModuleList"):
        train_with(small_dataset, tmp_path, players=players)


def test_frozen_layers_and_layers_of_the_model_may_be_in_a_list(small_dataset, tmp_path):
    def players(model):
        model.blocks = [model.layer, nn.Linear(1, 1).requires_grad_(False), 3]
        return {"only": Player([model.layer.weight], 0.1)}

    assert train_with(small_dataset, tmp_path, players=players) == 1


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (Stage("a", ("only",)), "must return a tuple of Stages, not Stage"),
        ((Stage("a", ("only",), 0.5),), r"the shares of the stages add up to 0\.5, not 1"),
        ((), "the shares of the stages add up to 0, not 1"),
        (
            (Stage("a", ("only",), 1.5), Stage("b", ("only",), -0.5)),
            "stage 'b': share must be a number above 0, not -0.5",
        ),
        (
            (Stage("a", ("only",), turns=(Turn(("only",), every=0),)),),
            "every of a turn must be a whole number from 1, no",
        ),
        ((Stage("a", ("only",), stop=EarlyStop("psnr", 0)),), "patience must be a whole number from 1, not 0"),
        ((Stage("a", ("onyl",)),), "unknown player of .*, stage 'a' 'onyl': did you mean only"),
        ((Stage("a", ("only",), turns=(Turn(("late",)),)),), "unknown player of a turn of .*, stage 'a' 'late'"),
        ((Stage("a", ("only",), frozen=("layre",)),), "unknown frozen module of .*, stage 'a' 'layre': did you"),
        ((Stage("a", ("only",), frozen=("layer",)),), "losses.* has no gradient|depends on none"),
    ],
)
def test_wrong_stages_are_refused(stages, message, small_dataset, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        train_with(small_dataset, tmp_path, stages=lambda model: stages)
    assert "Theirs." in str(caught.value)
