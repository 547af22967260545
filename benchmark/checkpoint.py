"""Checkpoints: one safetensors file with everything that training needs to go on. Nothing is ever unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from mmnist_av.errors import InputError
from mmnist_av.files import written_whole

METADATA = "training"  # one entry: safetensors writes several in no certain order

Optimizers = Mapping[str, Optimizer]


def save(path: Path, run: str, step: int, model: nn.Module, optimizers: Optimizers) -> None:
    """Write the model, its optimizers' states and the number of steps taken, whole or not at all.

    run: what identifies the run that the checkpoint belongs to. Raises InputError where it cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for player, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer/{player}/{index}/{name}": value for name, value in state.items()})
    whole = {name: value.contiguous() for name, value in tensors.items()}
    try:
        with written_whole(path) as part:
            save_file(whole, part, {METADATA: json.dumps({"run": run, "step": step})})
    except SafetensorError as error:  # a full disk, for one
        raise InputError(f"{path} could not be written: {error}") from error


def load(path: Path, run: str, model: nn.Module, optimizers: Optimizers) -> int:
    """Put a checkpoint's tensors into the model and the optimizers; returns the steps taken.

    Raises InputError where the file is not a whole checkpoint of this very run.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole checkpoint ({error}): delete {path.parent} to run again") from error
    if metadata.get("run") != run:
        raise InputError(f"{path} belongs to another run: choose another --out, or delete {path.parent}")
    fill(path, model, {name.removeprefix("model/"): value for name, value in tensors.items() if name[:6] == "model/"})
    for player, optimizer in optimizers.items():
        restore(optimizer, f"optimizer/{player}/", tensors)
    return metadata["step"]


def fill(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load `state` into the model; InputError if names or shapes differ."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path} holds another model's weights: {str(error).splitlines()[0]}") from error


def restore(optimizer: Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Load the optimizer's state from the tensors whose names start with `prefix`, in its parameters' layouts."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split("/")
            like = parameters[int(index)]
            if value.shape == like.shape:
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def identity(facts: Mapping[str, object]) -> str:
    """The text that identifies a run: on one machine's CPU, runs with one identity give the same weights."""
    return json.dumps(facts, sort_keys=True)
