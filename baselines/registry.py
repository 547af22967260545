"""Names of models.

A third party adds a model without touching this file: an entry point of group "avbench.models" whose name is the
model's and whose object is a Predictor class.
"""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from baselines.bayes import BayesAV, BayesV
from baselines.floors import Black, CopyLast, MeanSeen
from baselines.predictor import ClipShape, Predictor
from baselines.puq import PUQ
from baselines.sound2sight import Sound2Sight
from mmnist_av.errors import InputError, unknown_name

MODELS: dict[str, type[Predictor]] = {
    "black": Black,
    "copy-last": CopyLast,
    "mean-seen": MeanSeen,
    "bayes-v": BayesV,
    "bayes-av": BayesAV,
    "sound2sight": Sound2Sight,
    "puq": PUQ,
}

ENTRY_POINTS = "avbench.models"
FLOORS = ("black", "copy-last", "mean-seen")


def models() -> dict[str, type[Predictor]]:
    """Every model by name, third parties' included; InputError for a third party's that cannot be loaded."""
    others = {entry.name: load(entry) for entry in entry_points(group=ENTRY_POINTS)}
    return {**others, **MODELS}


def load(entry: EntryPoint) -> type[Predictor]:
    """A third party's model; InputError if it cannot be loaded or has a name that is taken."""
    if entry.name in MODELS:
        raise InputError(f"the package that offers '{entry.value}' calls it {entry.name}, a name that is taken")
    try:
        return entry.load()
    except Exception as error:  # whatever that package does
        raise InputError(f"model '{entry.name}' ({entry.value}) cannot be loaded: {error!r}") from error


def find(name: str) -> type[Predictor]:
    """The model called `name`; InputError with the nearest names if there is none."""
    if name in MODELS:
        return MODELS[name]
    offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        raise unknown_name("model", name, {**offered, **MODELS})
    return load(offered[name])


def configure(name: str, settings: Mapping[str, str]) -> Any:
    """The model's config with `settings` (field -> text) in place of its defaults; None for a model without config.

    Raises InputError for a field that the model does not have or a value that does not fit it.
    """
    config_type = getattr(find(name), "Config", None)
    fields = {} if config_type is None else {field.name: field for field in dataclasses.fields(config_type)}
    values = {}
    for key, text in settings.items():
        if not fields:
            raise InputError(f"model '{name}' has no settings, so --set {key}={text} means nothing")
        if key not in fields:
            raise unknown_name(f"setting of {name}", key, fields)
        values[key] = parse(key, text, type(fields[key].default))
    return None if config_type is None else config_type(**values)


def parse(key: str, text: str, kind: type) -> Any:
    """`text` as a value of `kind` (bool, int, float or str)."""
    if kind is bool:
        truth = {"true": True, "false": False}
        if text.lower() not in truth:
            raise InputError(f"--set {key}={text}: must be true or false")
        return truth[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"--set {key}={text}: must be {'a whole' if kind is int else 'a'} number") from error


def build(name: str, shape: ClipShape, config: Any) -> Predictor:
    """The model called `name` for clips of `shape`, freshly initialised from torch's global generator."""
    model = find(name)
    return model(shape) if config is None else model(shape, config)
