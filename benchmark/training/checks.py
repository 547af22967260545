"""Checks of what a model says of its training: its players, its stages, and the losses that it returns.

Each raises InputError, which names the model's class and method, and what they should return.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from baselines.predictor import Loss, Player, Predictor, Stage, Turn
from benchmark.catalogue import find_metric
from benchmark.metrics.checks import described
from mmnist_av.system.errors import InputError, unknown_name


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
