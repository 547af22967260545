"""Checkpoints: one safetensors file with everything that training needs to go on. Nothing is ever unpickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn
from torch.optim import Optimizer

from mmnist_av.system.errors import InputError
from mmnist_av.system.files import written_whole

METADATA = "training"  # one entry: safetensors writes several in no certain order
ZIP = b"PK"  # how the files that torch.save writes begin

Optimizers = Mapping[str, Optimizer]


def save(path: Path, run: str, step: int, model: nn.Module, optimizers: Optimizers) -> None:
    """Write the model, its optimizers' states and the number of steps taken, whole or not at all.

    run: what identifies the run that the checkpoint belongs to. Raises OSError where it cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for player, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer/{player}/{index}/{name}": value for name, value in state.items()})
    whole = {name: value.contiguous() for name, value in tensors.items()}
    content = serialised(whole, {METADATA: json.dumps({"run": run, "step": step})})
    with written_whole(path) as part:
        part.write_bytes(content)  # not by save_file, whose files nobody else may read


def load(path: Path, run: str, model: nn.Module, optimizers: Optimizers) -> int:
    """Put a checkpoint's tensors into the model and the optimizers; returns the steps taken.

    Raises InputError where the file is not a whole checkpoint of this very run.
    """
    metadata, tensors = read(path)
    if metadata["run"] != run:
        told = difference(metadata["run"], run)
        raise InputError(f"{path} belongs to another run ({told}): choose another --out, or delete {path.parent}")
    fill(path, model, weights(tensors))
    for player, optimizer in optimizers.items():
        restore(optimizer, f"optimizer/{player}/", tensors)
    return metadata["step"]


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's run and step, and its tensors by name; InputError if it is not whole, or something else."""
    way_out = f"delete {path.parent} to run again"
    try:
        with safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get(METADATA)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole checkpoint: {kind_of(path)} ({error}); {way_out}") from error
    try:
        metadata = json.loads(about or "")
        return {"run": str(metadata["run"]), "step": int(metadata["step"])}, tensors
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is a safetensors file, but says of no run that it is its checkpoint; {way_out}"
        ) from error


def weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's state among a checkpoint's tensors."""
    return {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}


def kind_of(path: Path) -> str:
    """What is there in a checkpoint's place, in words."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(ZIP))
    except OSError:
        return "nothing that can be read"
    if begins == ZIP:
        return "safetensors wanted, a pickle of torch.save found, which is never read"
    return "safetensors wanted, a cut or damaged file found"


def difference(found: str, wanted: str) -> str:
    """In what two runs' identities differ, in words: "model puq there, sound2sight asked"."""
    try:
        there, asked = json.loads(found), json.loads(wanted)
        names = [name for name in {**asked, **there} if asked.get(name) != there.get(name)]
    except (ValueError, TypeError, AttributeError):  # not of `identity`
        return f"{found} there, {wanted} asked"
    return ", ".join(f"{name} {there.get(name)} there, {asked.get(name)} asked" for name in names[:3])


def fill(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load `state` into the model; InputError if names or shapes differ."""
    wanted = model.state_dict()
    there, asked = ({name: tuple(value.shape) for name, value in each.items()} for each in (state, wanted))
    differ = [name for name in {**asked, **there} if asked.get(name) != there.get(name)]
    if differ:
        told = ", ".join(
            f"{name} {there.get(name, 'not')} there, {asked.get(name, 'not')} wanted" for name in differ[:3]
        )
        raise InputError(f"{path} holds another model's weights than {type(model).__name__}'s: {told}")
    model.load_state_dict(state)


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
