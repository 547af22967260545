"""Reuse of a finished run's model: it is scored under another protocol instead of being trained again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.catalogue import find_protocol
from benchmark.runs.differences import difference, identity
from benchmark.runs.folder import CHECKPOINT, UNKNOWN, environment_of, is_run, read_config
from benchmark.runs.seal import check_seal, is_sealed
from benchmark.training import checkpoint
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import sha256

SAME = ("model", "preset", "dataset", "fingerprint", "seed")  # what must be as requested, as must the settings
TAKEN = ("steps", "batch", "annealed", "ranks")  # what the pretrained run decides
WHERE = ("code_version", "machine", "device", "precision")


def pretrained_config(folder: Path, requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of its finished training, for config.json; the run itself need not be finished.

    requested: the config of this run, or as much of it as is known by then. Raises InputError where the folder holds no
    finished training, a damaged run, another run's checkpoint, no training of its own, one of another model, settings,
    preset, dataset or seed, or one of a protocol that trains differently.
    """
    check_seal(folder)
    if not is_sealed(folder) and not (is_run(folder) and checkpoint.is_complete(folder / CHECKPOINT)):
        remedy = "name the folder of an `avbench run`; an interrupted one is finished by its own command"
        raise InputError(f"--trained {folder}: no finished training there: {remedy}")
    if not (folder / CHECKPOINT).exists():
        raise InputError(f"--trained {folder}: nothing was trained there: it has no {CHECKPOINT}")
    existing, wanted = read_config(folder), json.loads(json.dumps(requested))
    trained = checkpoint.read_saved(folder / CHECKPOINT).run
    if trained != identity(existing):
        reason = difference(trained, identity(existing))
        raise InputError(f"--trained {folder}: its {CHECKPOINT} is another run's ({reason}): restore the run's own")
    pairs = [(name, existing.get(name), wanted[name]) for name in SAME if name in wanted]
    settings = existing["settings"]
    pairs += [(f"the setting {name}", settings.get(name), value) for name, value in wanted["settings"].items()]
    for name, there, here in pairs:
        if there != here:
            raise InputError(f"--trained {folder}: {name} is {there} there, {here} here")
    if find_protocol(existing["protocol"]).training_key != find_protocol(requested["protocol"]).training_key:
        raise InputError(f"--trained {folder}: {existing['protocol']} does not train as {requested['protocol']} does")
    environment = environment_of(folder, WHERE)
    provenance = {"protocol": existing["protocol"], **{name: environment.get(name, UNKNOWN) for name in WHERE}}
    provenance["checkpoint"] = sha256(folder / CHECKPOINT)
    return {name: existing[name] for name in TAKEN} | {"eval_every": 0, "pretrained": provenance}


def pretrained_in_words(config: Mapping[str, Any]) -> str:
    """Return where the model was trained, for the rows; "" for a run that trained it itself."""
    provenance = config.get("pretrained")
    if provenance is None:
        return ""
    where = ", ".join(provenance[name] for name in WHERE)
    return f"{provenance['protocol']}, {where}, checkpoint {provenance['checkpoint'][:12]}"
