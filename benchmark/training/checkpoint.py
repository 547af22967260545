"""Checkpoints: one safetensors file with everything that training needs to continue. Nothing is ever unpickled."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmark.runs.differences import difference
from benchmark.runs.seal import RESTORE
from benchmark.training.plan import Best, Position
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import parse_json, regular, written_whole

DIGEST = "sha256"
METADATA = "training"  # one entry: safetensors writes several in no certain order
LAST, BEST = "model/", "best/"  # where the names of the last weights begin, and those of the best
ZIP = b"PK"  # the first bytes of the files that torch.save writes

Optimizers = Mapping[str, Optimizer]


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says about itself."""

    run: str  # identifies the run that it belongs to; see `differences.identity`
    step: int  # steps that were taken
    position: Position = field(default_factory=Position)  # among the model's stages
    complete: bool = False  # whether the training has reached its end
    best: Best | None = None  # whose weights it holds beside the last ones; None: none was validated yet


def save(
    path: Path, saved: Saved, model: nn.Module, optimizers: Optimizers, best: Mapping[str, Tensor] | None = None
) -> None:
    """Write the model, its optimizers' states and where training stands, whole or not at all; OSError if it cannot.

    best: the state dict of `saved.best`.
    """
    tensors = {f"{LAST}{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"{BEST}{name}": value for name, value in (best or {}).items()}
    for player, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer/{player}/{index}/{name}": value for name, value in state.items()})
    dense = {name: value.cpu().contiguous() for name, value in tensors.items()}
    content = serialize(dense, {METADATA: json.dumps({**asdict(saved), DIGEST: digest(dense)})})
    with written_whole(path) as part:
        part.write_bytes(content)  # save_file would write files that no other user may read


def load(path: Path, run: str, model: nn.Module, optimizers: Optimizers) -> tuple[Saved, dict[str, Tensor]]:
    """Load a checkpoint into the model and the optimizers; return where training stands, and the best weights.

    Raises InputError where the file is not a whole checkpoint of this very run.
    """
    saved, tensors = read(path)
    if saved.run != run:
        reason = difference(saved.run, run)
        raise InputError(f"{path} belongs to another run ({reason}): choose another --out")
    fill(path, model, weights(tensors, LAST))
    for player, optimizer in optimizers.items():
        restore(optimizer, f"optimizer/{player}/", tensors)
    return saved, weights(tensors, BEST)


def load_weights(path: Path, model: nn.Module, which: str) -> str:
    """Load the weights of the best validation (`which` is "best") or the last ones into the model; say which they are.

    The last ones are loaded where nothing was validated. Raises InputError as `read` and `fill` do.
    """
    saved, tensors = read(path)
    best = saved.best if which == "best" else None
    fill(path, model, weights(tensors, LAST if best is None else BEST))
    if best is None:
        return f"last: step {saved.step}"
    return f"best: step {best.step} (validation {best.criterion} {best.value:.6g})"


def read(path: Path) -> tuple[Saved, dict[str, Tensor]]:
    """Return what a checkpoint says about itself, and its tensors by name.

    Raises InputError where the file is cut, damaged or not a checkpoint.
    """
    with opened(path) as file:
        facts = read_metadata(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if facts.get(DIGEST, expected := digest(tensors)) != expected:  # checkpoints of older versions have none
        raise InputError(f"{path} is damaged: its tensors are not as they were written; {RESTORE}")
    return saved_of(facts), tensors


def read_saved(path: Path) -> Saved:
    """Return what a checkpoint says about itself; InputError for a damaged one. No tensor is read."""
    with opened(path) as file:
        return saved_of(read_metadata(path, file))


def is_complete(path: Path) -> bool:
    """Return whether there is a checkpoint of a training's end; InputError for a damaged one. No tensor is read."""
    return path.exists() and read_saved(path).complete


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; InputError where it is cut, damaged or another file."""
    try:
        with safe_open(regular(path), "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole checkpoint: {kind_of(path)} ({error}); {RESTORE}") from error


def read_metadata(path: Path, file: Any) -> dict[str, Any]:
    """Return the facts that an open file's metadata hold; InputError where they are not those of a checkpoint."""
    try:
        facts: dict[str, Any] = parse_json((file.metadata() or {}).get(METADATA) or "")
        saved_of(facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is a safetensors file without the facts of a checkpoint, the run and its steps; {RESTORE}"
        ) from error
    return facts


def saved_of(facts: Mapping[str, Any]) -> Saved:
    """Return what the facts of a checkpoint's metadata say about it."""
    return Saved(
        run=str(facts["run"]),
        step=int(facts["step"]),
        position=Position(**facts.get("position", {})),
        complete=bool(facts.get("complete", False)),
        best=Best(**facts["best"]) if facts.get("best") else None,
    )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors on the CPU with their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        content = tensors[name].reshape(-1).view(torch.uint8).numpy()
        total.update(content.data)
    return total.hexdigest()


def weights(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return a state dict of the model, the LAST or the BEST one, among a checkpoint's tensors."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def kind_of(path: Path) -> str:
    """Return what kind of file is at `path` instead of a checkpoint, in words."""
    try:
        with path.open("rb") as file:
            first_bytes = file.read(len(ZIP))
    except OSError:
        return "the file cannot be read"
    if first_bytes == ZIP:
        return "safetensors expected, a pickle of torch.save found, which is never read"
    return "safetensors expected, a cut or damaged file found"


def fill(path: Path, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load `state`, from the checkpoint at `path`, into the model; InputError where names or shapes differ.

    The buffers of a model that carries state may have another number of clips, their first dimension.
    """
    if getattr(model, "carries_state", False):
        resize_buffers(model, state)
    found, expected = (
        {name: tuple(value.shape) for name, value in each.items()} for each in (state, model.state_dict())
    )
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        reason = ", ".join(
            f"{name} {found.get(name, 'missing')} found, {expected.get(name, 'nothing')} expected" for name in wrong[:3]
        )
        raise InputError(f"{path} holds the weights of another model than {type(model).__name__}: {reason}")
    model.load_state_dict(state)


def resize_buffers(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the model's buffers the number of clips that they have in `state`."""
    for name, buffer in list(model.named_buffers()):
        value = state.get(name)
        if value is not None and value.shape != buffer.shape and value.shape[1:] == buffer.shape[1:]:
            set_buffer(model, name, buffer.new_empty(value.shape))


def set_buffer(model: nn.Module, name: str, value: Tensor) -> None:
    """Replace the buffer called `name`, "submodule.buffer" or "buffer", by a tensor of any shape."""
    module, _, own = name.rpartition(".")
    setattr(model.get_submodule(module), own, value)


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
