"""One update of a player: its optimizer, its gradients, and which modules are frozen meanwhile."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from baselines.predictor import Loss, Player, Predictor, Progress
from benchmark.training.checkpoint import Optimizers
from benchmark.training.processes import ALONE, Ranks
from mmnist_av.system.errors import InputError


class Diverged(RuntimeError):
    """A loss or a gradient is infinite or NaN; the message says at which step, and which checkpoint is the last."""


def adam(player: Player) -> torch.optim.Adam:
    """Return the optimizer of a player; `set_rates` sets its learning rates."""
    own = {id(parameter) for group in player.own_rates for parameter in group.parameters}
    usual = [parameter for parameter in player.parameters if id(parameter) not in own]
    groups = [{"params": group} for group in (usual, *(each.parameters for each in player.own_rates))]
    return torch.optim.Adam(groups, lr=player.learning_rate, betas=player.betas, fused=True)


def set_rates(optimizer: Optimizer, player: Player, progress: Progress, factor: float = 1.0) -> None:
    """Set the learning rates of a player's optimizer for the step that `progress` says, all multiplied by `factor`."""
    rate = player.learning_rate * rate_of("schedule of a Player", player.schedule(progress)) * factor
    factors = (1.0, *(rate_of("factor of an OwnRate", each.factor(progress)) for each in player.own_rates))
    for group, own in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] = rate * own


def rate_of(what: str, value: object) -> float:
    """Return a factor of a learning rate. Raises InputError, which names `what` has returned it, for no such number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise InputError(f"the {what} must return a number from 0, not {value!r}")
    return float(value)


def differentiate(
    losses: Mapping[str, Loss],
    players: Mapping[str, Player],
    optimizers: Optimizers,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Compute every player's gradient of its own loss, and return the gradients' norms.

    Gradients that are not finite are set to 0 for players that say so. The norm is that before clipping; a player whose
    loss depends on none of its parameters has none. Between ranks the gradients are averaged here, not by torch's
    DistributedDataParallel, whose hooks expect one backward pass per forward pass: here every player has its own.
    """
    norms = {}
    remaining = len(losses)
    for name, loss in losses.items():
        remaining -= 1
        player = players[name]
        parameters = [parameter for parameter in player.parameters if parameter.requires_grad]  # not the frozen ones
        optimizers[name].zero_grad()
        if parameters:
            loss.total.backward(inputs=parameters, retain_graph=remaining > 0)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            continue
        ranks.average(gradients)
        if player.on_nonfinite == "zero":
            for gradient in gradients:
                gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        norms[name] = nn.utils.get_total_norm(gradients)
        if player.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, player.clip_norm, norms[name])
    return norms


def check_finite(model: Predictor, what: str, values: Mapping[str, Tensor], step: int, path: Path) -> None:
    """Raise Diverged where a value is infinite or NaN.

    values: the losses, or the norms of the gradients (`what` says which), by player; path: of the last checkpoint.
    """
    for player, value in values.items():
        if not torch.isfinite(value):
            saved = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint was written yet"
            raise Diverged(
                f"the training of {type(model).__name__} diverged at step {step}: the {what} of its player '{player}' "
                f"is {value.item()}; {saved}; {remedy(model)}"
            )


def remedy(model: Predictor) -> str:
    """Return what may help a training that diverges: another seed and, where it is a setting, a lower learning rate."""
    config = getattr(model, "Config", None)
    names = [each.name for each in fields(config)] if is_dataclass(config) else []
    rates = " or ".join(name for name in names if name.endswith("learning_rate"))
    return f"try another --seed, or --set a lower {rates}" if rates else "try another --seed"


@contextmanager
def frozen(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Keep the submodules called `names` as they are: without gradient and in eval mode, until the block ends."""
    modules = [model.get_submodule(name) for name in names]
    gradients = {parameter: parameter.requires_grad for module in modules for parameter in module.parameters()}
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.requires_grad_(False).eval()
    try:
        yield
    finally:
        for parameter, required in gradients.items():
            parameter.requires_grad_(required)
        set_modes(modes)


def set_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Put every module into training mode (True) or eval mode (False), without its submodules."""
    for module, training in modes.items():
        module.training = training


def learned_buffers(model: nn.Module, frozen_names: Sequence[str]) -> Iterator[Tensor]:
    """Yield the model's floating-point buffers, such as batch norms' statistics, except those of frozen submodules."""
    kept = {id(buffer) for name in frozen_names for buffer in model.get_submodule(name).buffers()}
    return (buffer for buffer in model.buffers() if buffer.is_floating_point() and id(buffer) not in kept)
