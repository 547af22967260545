"""Checks of what a model says of its training: its players, its stages, and the losses that it returns.

Each raises InputError, which names the model's class and method, and what they should return.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from baselines.predictor import Loss, Player, Predictor, Stage, Turn
from benchmark.catalogue import find_metric
from benchmark.metrics.checks import described
from mmnist_av.system.errors import InputError, unknown_name

LOGGED = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # a name that can be a column of training.csv
IN_WORDS = "letters, digits, - and _, and begin with a letter"
COLUMNS = ("step", "epoch", "seconds")  # which it has beside the players' losses and terms


def check_players(model: Predictor) -> None:
    """Raise InputError where the model's players are not Players by name with parameters of the model.

    Only the model's own parameters are written into checkpoints: others would be trained, and lost. Layers in a list,
    a tuple or a dictionary of Python's are not among them, and are refused unless all their parameters are frozen.
    """
    method, players = f"{type(model).__name__}.players", model.players()
    own = {id(parameter) for parameter in model.parameters()}
    if not isinstance(players, Mapping) or not all(isinstance(each, Player) for each in players.values()):
        raise InputError(f"{method} must return a dictionary, name -> Player, not {described(players)}")
    for name, player in players.items():
        if not is_logged(name) or name in COLUMNS:
            raise InputError(
                f"{method}: a player's name must have {IN_WORDS}, and not be step, epoch or seconds: {name!r}"
            )
        check_player(f"{method}: player '{name}'", player)
        parameters = player.parameters
        if not isinstance(parameters, Sequence) or not all(isinstance(each, nn.Parameter) for each in parameters):
            raise InputError(f"{method}: player '{name}' must have a list of parameters, not {described(parameters)}")
        if not parameters:
            raise InputError(f"{method}: player '{name}' has no parameters: leave it out")
        if not all(id(parameter) in own for parameter in parameters):
            raise InputError(
                f"{method}: a parameter of player '{name}' is not among the model's parameters: put its layers into an "
                "nn.ModuleList, single parameters into an nn.ParameterList"
            )
        with_own_rate = [id(each) for own_rate in player.own_rates for each in own_rate.parameters]
        if len(set(with_own_rate)) < len(with_own_rate) or not set(with_own_rate) <= set(map(id, parameters)):
            raise InputError(
                f"{method}: the parameters with an OwnRate must be among those of their player '{name}', each once"
            )
    lost = lost_layers(model)
    if lost:
        raise InputError(
            f"{lost} holds layers that are not among the model's, so that they are neither trained nor saved: put them "
            "into an nn.ModuleList or nn.ModuleDict, single parameters into an nn.ParameterList"
        )


def is_logged(name: object) -> bool:
    """Return whether a player or a term of its loss can have this name, which is part of a column of training.csv."""
    return isinstance(name, str) and LOGGED.fullmatch(name) is not None


def check_player(where: str, player: Player) -> None:
    """Raise InputError where a player has a value that no optimizer can use."""
    if not is_number(player.learning_rate) or player.learning_rate < 0:
        raise InputError(f"{where}: learning_rate must be a number from 0, not {player.learning_rate!r}")
    if player.clip_norm is not None and not (is_number(player.clip_norm) and player.clip_norm > 0):
        raise InputError(f"{where}: clip_norm must be a number above 0 or None, not {player.clip_norm!r}")
    if player.on_nonfinite not in ("stop", "zero"):
        raise InputError(f"{where}: on_nonfinite must be 'stop' or 'zero', not {player.on_nonfinite!r}")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def lost_layers(model: nn.Module) -> str:
    """Return the first list, tuple or dictionary with parameters that the model lacks, "Model.blocks"; "" for none."""
    own = {id(parameter) for parameter in model.parameters()}
    for module in model.modules():
        for name, value in vars(module).items():
            to_train = {id(parameter) for parameter in parameters_in(value) if parameter.requires_grad}
            if not to_train <= own:
                return f"{type(module).__name__}.{name}"
    return ""


def parameters_in(value: object) -> Iterator[nn.Parameter]:
    """Yield the parameters of the layers in a list, a tuple or a dictionary, and those that lie in it themselves."""
    if isinstance(value, Mapping):
        value = list(value.values())
    for each in value if isinstance(value, list | tuple) else ():
        if isinstance(each, nn.Module):
            yield from each.parameters()
        elif isinstance(each, nn.Parameter):
            yield each


def check_stages(model: Predictor) -> None:
    """Raise InputError where the model's stages are not Stages of its players and submodules, or not a whole."""
    method, stages = f"{type(model).__name__}.stages", model.stages()
    if not isinstance(stages, Sequence) or not all(isinstance(each, Stage) for each in stages):
        raise InputError(f"{method} must return a tuple of Stages, not {described(stages)}")
    for stage in stages:
        check_stage(f"{method}, stage '{stage.name}'", stage)
    total = sum(stage.share for stage in stages)
    if not np.isclose(total, 1):
        raise InputError(f"{method}: the shares of the stages add up to {total:g}, not 1")
    players, modules = model.players(), dict(model.named_modules())
    for stage in stages:
        where = f"of {method}, stage '{stage.name}'"
        for name in stage.players:
            if name not in players:
                raise unknown_name(f"player {where}", name, players)
        for name in (name for turn in stage.turns for name in turn.players):
            if name not in stage.players:
                raise unknown_name(f"player of a turn {where}", name, stage.players)
        for name in stage.frozen:
            if name not in modules:
                raise unknown_name(f"frozen module {where}", name, modules)
        if stage.stop is not None and find_metric(stage.stop.metric).score_of != "sample":
            raise InputError(f"{method}: {stage.stop.metric} cannot stop stage '{stage.name}': it scores no samples")


def check_stage(where: str, stage: Stage) -> None:
    """Raise InputError where a stage has a number that no training can follow."""
    if not is_number(stage.share) or stage.share <= 0:
        raise InputError(f"{where}: share must be a number above 0, not {stage.share!r}")
    for turn in stage.turns:
        if not isinstance(turn.every, int) or turn.every < 1:
            raise InputError(f"{where}: every of a turn must be a whole number from 1, not {turn.every!r}")
    if stage.stop is not None and (not isinstance(stage.stop.patience, int) or stage.stop.patience < 1):
        raise InputError(f"{where}: patience must be a whole number from 1, not {stage.stop.patience!r}")


def check_losses(model: Predictor, losses: object, turn: Turn) -> dict[str, Loss]:
    """Return what `model.losses` has returned for a turn; InputError unless it is the Losses of the turn's players."""
    method = f"{type(model).__name__}.losses"
    if not isinstance(losses, dict) or not all(isinstance(loss, Loss) for loss in losses.values()):
        raise InputError(f"{method} must return a dictionary, player -> Loss, not {described(losses)}")
    expected = set(turn.players)
    if not (losses.keys() <= expected if turn.may_skip else losses.keys() == expected):
        found = ", ".join(map(str, losses)) or "none"
        raise InputError(f"{method} must return the losses of the players {', '.join(turn.players)}, not of {found}")
    for player, loss in losses.items():
        if not isinstance(loss.terms, Mapping):
            raise InputError(f"{method}: {player}'s terms must be a dictionary, not {described(loss.terms)}")
        for name in loss.terms:
            if not is_logged(name):
                raise InputError(f"{method}: the name of a term must have {IN_WORDS}: {name!r}")
        for name, value in {"total": loss.total, **loss.terms}.items():
            if not isinstance(value, Tensor) or value.ndim:
                raise InputError(f"{method}: {player}'s {name} must be a scalar tensor, not {described(value)}")
        if not loss.total.requires_grad:
            raise InputError(f"{method}: {player}'s total has no gradient: compute it from the model's parameters")
    return losses


def check_gradients(model: Predictor, losses: Mapping[str, Loss], norms: Mapping[str, Tensor]) -> None:
    """Raise InputError where a player's loss has no gradient in any of the parameters that the player updates."""
    for player in losses:
        if player not in norms:
            raise InputError(
                f"{type(model).__name__}.losses: {player}'s total depends on none of the parameters that the player "
                f"'{player}' updates: check its Player and the stage's frozen modules"
            )
