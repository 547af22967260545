"""A finished run's model, scored under another protocol instead of being trained again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines.predictor import Predictor
from benchmark import checkpoint, protocols
from benchmark.folder import read_json
from benchmark.protocols import Protocol
from benchmark.seal import SEAL, check_seal
from mmnist_av.errors import InputError
from mmnist_av.files import sha256

SAME = ("model", "settings", "preset", "dataset", "fingerprint", "seed")  # what must be as asked
TAKEN = ("steps", "batch", "annealed", "eval_every", "ranks")  # what the finished run had decided


def facts_of_training(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the finished run in `folder` says of its training, for config.json: `asked` is what this run would do.

    Raises InputError where the folder holds no finished run, a damaged one, one of another model, settings, preset,
    dataset or seed, or one that a protocol with another training made.
    """
    if not (folder / SEAL).exists():
        raise InputError(f"--trained {folder}: no finished run there: it has no {SEAL}")
    check_seal(folder)
    found = read_json(folder / "config.json")
    for name in SAME:
        if found.get(name) != asked[name]:
            raise InputError(f"--trained {folder}: {name} is {found.get(name)} there, {asked[name]} here")
    if training_of(protocols.find(found["protocol"])) != training_of(protocols.find(asked["protocol"])):
        raise InputError(f"--trained {folder}: {found['protocol']} does not train as {asked['protocol']} does")
    origin = {"protocol": found["protocol"], "code_version": found["code_version"]}
    return {name: found[name] for name in TAKEN} | {
        "trained": {**origin, "checkpoint": sha256(folder / "checkpoint.safetensors")}
    }


def training_of(protocol: Protocol) -> tuple[object, ...]:
    """What a protocol fixes of the training."""
    return protocol.dataset, protocol.obstacle, protocol.seen, protocol.train_predicted, protocol.audio


def load_trained(folder: Path, model: Predictor) -> None:
    """Put the finished run's weights into the model; InputError where they are another model's."""
    path = folder / "checkpoint.safetensors"
    _, tensors = checkpoint.read(path)
    checkpoint.fill(path, model, checkpoint.weights(tensors))
