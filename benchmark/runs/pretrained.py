"""A finished run's model, scored under another protocol instead of being trained again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines.predictor import Predictor
from benchmark import protocols
from benchmark.protocols import Protocol
from benchmark.runs.folder import read_facts, read_json
from benchmark.runs.seal import SEAL, check_seal
from benchmark.training import checkpoint
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256

CHECKPOINT = "checkpoint.safetensors"
SAME = ("model", "preset", "dataset", "fingerprint", "seed")  # what must be as asked, as must the settings
TAKEN = ("steps", "batch", "annealed", "ranks")  # what the finished run had decided
WHERE = ("code_version", "machine", "device", "precision")


def facts_of_training(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the finished run in `folder` says of its training, for config.json.

    asked: what this run would do, or as much of it as is known by then. Raises InputError where the folder holds no
    finished run, a damaged one, one without a training of its own, one of another model, settings, preset, dataset or
    seed, or one that a protocol with another training made.
    """
    if not (folder / SEAL).exists():
        remedy = "name the folder of a finished `avbench run`; one that was broken off is ended by its own command"
        raise InputError(f"--trained {folder}: no finished run there, it has no {SEAL}: {remedy}")
    check_seal(folder)
    if not (folder / CHECKPOINT).exists():
        raise InputError(f"--trained {folder}: nothing was trained there: it has no {CHECKPOINT}")
    found, wanted = read_facts(folder), json.loads(json.dumps(asked))
    pairs = [(name, found.get(name), wanted[name]) for name in SAME if name in wanted]
    pairs += [(f"the setting {name}", found["settings"].get(name), value) for name, value in wanted["settings"].items()]
    for name, there, here in pairs:
        if there != here:
            raise InputError(f"--trained {folder}: {name} is {there} there, {here} here")
    if training_of(protocols.find(found["protocol"])) != training_of(protocols.find(asked["protocol"])):
        raise InputError(f"--trained {folder}: {found['protocol']} does not train as {asked['protocol']} does")
    place = read_json(folder / "environment.json")
    origin = {"protocol": found["protocol"], **{name: place[name] for name in WHERE}}
    origin["checkpoint"] = sha256(folder / CHECKPOINT)
    return {name: found[name] for name in TAKEN} | {"eval_every": 0, "trained": origin}


def told_of(facts: Mapping[str, Any]) -> str:
    """Where the model was trained, for the rows: "" where the run trained it itself, and the rows say where."""
    origin = facts.get("trained")
    if origin is None:
        return ""
    where = ", ".join(origin[name] for name in WHERE)
    return f"{origin['protocol']}, {where}, checkpoint {origin['checkpoint'][:12]}"


def training_of(protocol: Protocol) -> tuple[object, ...]:
    """What a protocol fixes of the training."""
    return protocol.dataset, protocol.obstacle, protocol.seen, protocol.train_predicted, protocol.audio


def load_trained(folder: Path, model: Predictor) -> None:
    """Put the finished run's weights into the model; InputError where they are another model's."""
    path = folder / CHECKPOINT
    _, tensors = checkpoint.read(path)
    checkpoint.fill(path, model, checkpoint.weights(tensors))
