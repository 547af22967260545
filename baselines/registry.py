"""Names of models.

A third party adds a model without touching this file: an entry point of group "avbench.models" whose name is the
model's and whose object is a Predictor class.
"""

import dataclasses
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from baselines.audio_only import AudioOnly
from baselines.bayes import BayesAV, BayesV
from baselines.floors import Black, CopyLast, MeanSeen
from baselines.predictor import ClipShape, Predictor
from baselines.puq import PUQ, PUQNoDiscriminator
from baselines.sound2sight import (
    NoAA,
    NoAAMD,
    NoAudio,
    OnlyL2,
    Sound2Sight,
    TeacherForcing,
    WithLSTM,
    WithLSTMNoDiscriminator,
)
from baselines.svg_lp import SVGLP
from mmnist_av.system.errors import InputError, unknown_name

MODELS: dict[str, type[Predictor]] = {
    "black": Black,
    "copy-last": CopyLast,
    "mean-seen": MeanSeen,
    "bayes-v": BayesV,
    "bayes-av": BayesAV,
    "sound2sight": Sound2Sight,
    "sound2sight-no-audio": NoAudio,
    "sound2sight-no-aa": NoAA,
    "sound2sight-no-aa-md": NoAAMD,
    "sound2sight-lstm": WithLSTM,
    "sound2sight-lstm-no-disc": WithLSTMNoDiscriminator,
    "sound2sight-only-l2": OnlyL2,
    "sound2sight-teacher-forcing": TeacherForcing,
    "puq": PUQ,
    "puq-no-disc": PUQNoDiscriminator,
    "svg-lp": SVGLP,
    "audio-only": AudioOnly,
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
        model = entry.load()
    except Exception as error:  # whatever that package does
        raise InputError(f"model '{entry.name}' ({entry.value}) cannot be loaded: {error!r}") from error
    if not (isinstance(model, type) and issubclass(model, Predictor)):
        raise InputError(f"model '{entry.name}' ({entry.value}) is no class that derives from Predictor")
    missing = [name for name in ("modality", "stochastic", "paper") if not hasattr(model, name)]
    if missing:
        raise InputError(f"model '{entry.name}' ({entry.value}) does not say its {', '.join(missing)}: see Predictor")
    return model


def names() -> set[str]:
    """The names of all models, third parties' included, loaded or not."""
    return {*MODELS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}


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

    Raises InputError for a field that the model does not have, one that its name decides, or a value that does not fit.
    """
    model = find(name)
    config_type = getattr(model, "Config", None)
    fields = {} if config_type is None else {field.name: field for field in dataclasses.fields(config_type)}
    values = {}
    for key, text in settings.items():
        if not fields:
            raise InputError(f"model '{name}' has no settings, so --set {key}={text} means nothing")
        if key not in fields:
            raise unknown_name(f"setting of {name}", key, fields)
        if key in model.ablated:
            fixed = str(model.ablated[key]).lower()
            raise InputError(f"--set {key}={text}: {name} is the model whose {key} is {fixed}: take another --model")
        kind = type(fields[key].default)
        if kind not in (bool, int, float, str):
            raise InputError(f"--set {key}={text}: {name}'s {key} is no number, word, true or false by default")
        values[key] = parse(key, text, kind)
    return None if config_type is None else config_type(**{**values, **model.ablated})


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


def is_trained(name: str) -> bool:
    """Whether the model has anything to learn."""
    return find(name).players is not Predictor.players


def build(name: str, shape: ClipShape, config: Any) -> Predictor:
    """The model called `name` for clips of `shape`, freshly initialised from torch's global generator."""
    model = find(name)
    return model(shape) if config is None else model(shape, config)
