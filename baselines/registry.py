"""The models by name. An ablation is a name with fixed settings.

A third party adds a model without changing this file, by an entry point of the group "avbench.models": its name is the
model's name, its object is a Predictor class or a Model.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from baselines.audio_only import AudioOnly
from baselines.bayes import BayesAV, BayesV
from baselines.floors import Black, CopyLast, MeanSeen, Scatter
from baselines.names import names
from baselines.predictor import ClipShape, Predictor
from baselines.puq import PUQ
from baselines.settings import parse
from baselines.sound2sight import Sound2Sight
from baselines.svg_lp import SVGLP
from baselines.zigzag import Zigzag
from mmnist_av.system import plugins
from mmnist_av.system.errors import InputError, in_words, unknown_name

log = logging.getLogger(__name__)

MODALITIES = ("AV", "V", "A")  # what a model is given: frames (V), audio (A), or both


@dataclass(frozen=True)
class Model:
    """One model of the registry: a Predictor class, and the settings that the model's name fixes."""

    predictor: type[Predictor]
    settings: Mapping[str, Any] = field(default_factory=dict)  # fixed: --set cannot change them
    about: str = ""  # what an ablation changes, and the paper's table that has it
    modality: str = ""  # what the model is given (AV, V or A); empty: as its class says

    def __post_init__(self) -> None:
        object.__setattr__(self, "modality", self.modality or self.predictor.modality)


MODELS: dict[str, Model] = {  # their names are in names.py, too
    "black": Model(Black),
    "copy-last": Model(CopyLast),
    "mean-seen": Model(MeanSeen),
    "scatter": Model(Scatter, about="the digit seen last, at random places"),
    "zigzag": Model(Zigzag, about="the digit, which turns when the sound of a contact comes, at no particular place"),
    "bayes-v": Model(BayesV),
    "bayes-av": Model(BayesAV),
    "sound2sight": Model(Sound2Sight),
    "sound2sight-no-audio": Model(
        Sound2Sight,
        settings={"use_audio": False},
        about="without audio in the generator and the discriminator (Tables 1 and 2, Ours - No audio)",
        modality="V",
    ),
    "sound2sight-no-aa": Model(
        Sound2Sight,
        settings={"discriminator": "no-aa"},
        about="the discriminator does not judge audio alignment (Tables 1 and 2, Ours - No AA)",
    ),
    "sound2sight-no-aa-md": Model(
        Sound2Sight,
        settings={"discriminator": "no-aa-md"},
        about="the discriminator judges single frames only (Tables 1 and 2, Ours - No AA, MD)",
    ),
    "sound2sight-lstm": Model(
        Sound2Sight,
        settings={"encoder": "lstm"},
        about="LSTMs in place of the transformers (figure 5a)",
    ),
    "sound2sight-lstm-no-disc": Model(
        Sound2Sight,
        settings={"encoder": "lstm", "discriminator": "none"},
        about="LSTMs in place of the transformers, and no discriminator (figure 5a)",
    ),
    "sound2sight-only-l2": Model(
        Sound2Sight,
        settings={"posterior": False, "discriminator": "none"},
        about="neither posterior nor discriminator: eq. 5's error alone, z from the prior (Table 11)",
    ),
    "sound2sight-teacher-forcing": Model(
        Sound2Sight,
        settings={"feed_back_from": 100},
        about="half the batches are predicted from predictions after 100 epochs (section E.5, Table 11)",
    ),
    "puq": Model(PUQ),
    "puq-no-disc": Model(
        PUQ,
        settings={"discriminator": "none"},
        about="without Sound2Sight's discriminator (section 4 says that PUQ is better with it)",
    ),
    "svg-lp": Model(SVGLP),
    "audio-only": Model(AudioOnly),
}


def models() -> dict[str, Model]:
    """Return every model by name, third parties' included; a note names those that cannot be used."""
    others = {}
    for name in plugins.installed(plugins.MODELS):
        try:
            others[name] = load(name)
        except InputError as error:
            log.warning("%s", error)
    return {**others, **MODELS}


def find(name: str) -> Model:
    """Return the model called `name`; InputError with the nearest names if no model has that name."""
    if name in plugins.installed(plugins.MODELS):
        return load(name)
    if name not in MODELS:
        raise unknown_name("model", name, names())
    return MODELS[name]


def load(name: str) -> Model:
    """Return a third party's model; InputError if it cannot be loaded, or has the name of one of ours."""
    package = plugins.described(plugins.installed(plugins.MODELS)[name][0])
    if name in MODELS:
        raise InputError(
            f"the model '{name}' of {package} has the name of one of ours: uninstall it, or rename its entry point"
        )
    loaded = plugins.load(plugins.MODELS, "model", name)
    predictor = loaded.predictor if isinstance(loaded, Model) else loaded
    fault = fault_of(predictor)
    if isinstance(loaded, Model) and not isinstance(loaded.about, str):
        fault = fault or "must have about as text"
    if isinstance(loaded, Model) and loaded.modality not in MODALITIES:
        fault = fault or f"must have one of {', '.join(MODALITIES)} as modality, not {loaded.modality!r}"
    if fault:
        raise InputError(f"the model '{name}' of {package} {fault}: see Predictor")
    return loaded if isinstance(loaded, Model) else Model(predictor)


def fault_of(predictor: Any) -> str:
    """Return what is wrong with a third party's model, in words; "" for a class that has all that a model must have."""
    if not (isinstance(predictor, type) and issubclass(predictor, Predictor)):
        return "is not a class that derives from Predictor"
    missing = [name for name in ("modality", "stochastic", "paper") if not hasattr(predictor, name)]
    if predictor.predict is Predictor.predict and predictor.predict_windows is Predictor.predict_windows:
        missing.append("predict")
    if predictor.players is not Predictor.players and predictor.losses is Predictor.losses:
        missing.append("losses")
    if missing:
        return f"does not define {', '.join(missing)}"
    if predictor.modality not in MODALITIES:
        return f"must define modality as one of {', '.join(MODALITIES)}, not {predictor.modality!r}"
    for name, kind, expected in (
        ("paper", str, "text"),
        ("stochastic", bool, "True or False"),
    ):
        if not isinstance(getattr(predictor, name), kind):
            return f"must define {name} as {expected}, not {getattr(predictor, name)!r}"
    wrong = [name for name in ("needs", "predicts") if not isinstance(getattr(predictor, name), Set)]
    if wrong:
        return f"must define {wrong[0]} as a set of names"
    return "" if isinstance(predictor.world, Mapping) else "must define world as a dictionary"


def configure(name: str, settings: Mapping[str, str]) -> Any:
    """Return the model's config with `settings` (name -> text) in place of defaults; None for a model without config.

    Raises InputError for a setting that the model does not have, one that its name fixes, or a value that does not fit.
    """
    model = find(name)
    config_type = getattr(model.predictor, "Config", None)
    if config_type is None:
        for key, text in settings.items():
            raise InputError(f"--set {key}={text}: model '{name}' has no settings, so leave --set out")
        return None
    default = make_config(name, config_type, model.settings)
    values = {key: parse(key, text, type_of_setting(name, default, key, text)) for key, text in settings.items()}
    return make_config(name, config_type, {**model.settings, **values})


def make_config(name: str, config_type: Any, settings: Mapping[str, Any]) -> Any:
    """Return the config of the model called `name`; InputError where it cannot be made with these settings."""
    try:
        config = config_type(**settings)
    except InputError:
        raise
    except ValueError as error:  # of a third party's config, by pydantic or by hand
        raise InputError(f"settings of {name}: {' '.join(str(error).split())}") from error
    except TypeError as error:
        raise InputError(f"Config of {name} cannot be made ({error}): each of its fields needs a default") from error
    if not dataclasses.is_dataclass(config):
        raise InputError(f"Config of {name} must be a dataclass, not {config_type!r}")
    if as_text(name, config) != as_text(name, config_type(**settings)):
        raise InputError(f"Config of {name}: its defaults must be the same each time that it is made")
    return config


def as_text(name: str, config: Any) -> str:
    """Return the values of a config as config.json holds them; InputError for a value that it cannot hold."""
    try:
        return json.dumps(dataclasses.asdict(config), allow_nan=False)
    except (TypeError, ValueError) as error:
        expected = "finite numbers, texts, truth values or lists of them, for config.json"
        raise InputError(f"Config of {name}: its values must be {expected} ({error})") from error


def type_of_setting(name: str, default: Any, key: str, text: str) -> type:
    """Return the type (bool, int, float or str) of the setting `key` of the model `name`, whose config is `default`.

    Raises InputError for a setting that does not exist, or that `--set key=text` cannot change.
    """
    fields = [field.name for field in dataclasses.fields(default)]
    if key not in fields:
        raise unknown_name(f"setting of {name}", key, fields)
    if key in find(name).settings:
        fixed = str(getattr(default, key)).lower()
        raise InputError(f"--set {key}={text}: {name} is the model whose {key} is {fixed}, so choose another --model")
    kind = type(getattr(default, key))
    if kind not in (bool, int, float, str):
        raise InputError(
            f"--set {key}={text}: the default of {name}'s {key} is not a number, text, true or false, "
            "so only Python code can change it"
        )
    return kind


def is_trained(name: str) -> bool:
    """Return whether the model is trained."""
    return find(name).predictor.players is not Predictor.players


def build(
    name: str, shape: ClipShape, config: Any = None, weights: Mapping[str, Mapping[str, Tensor]] | None = None
) -> Predictor:
    """Return the model called `name` for clips of `shape`, initialised from torch's global generator.

    config: as `configure` returns it; None: the defaults.
    weights: the state dicts of the published weights that the model needs, by name. Raises InputError for a model that
    takes no such arguments or whose constructor fails, and for settings of more weights than fit into memory.
    """
    predictor = find(name).predictor
    config = configure(name, {}) if config is None else config
    arguments = [shape] if config is None else [shape, config]
    states = {each: (weights or {})[each] for each in weights_needed(name)}
    keywords = {"weights": states} if states else {}
    try:
        with errors_in_one_line(name):
            model = predictor(*arguments, **keywords)
    except TypeError as error:
        call = ", ".join([*("shape", "config")[: len(arguments)], *keywords])
        raise InputError(f"{name} cannot be built by {predictor.__name__}({call}): {error}") from error
    except (MemoryError, RuntimeError) as error:
        if "allocate" not in str(error) and not isinstance(error, MemoryError):
            raise
        raise InputError(f"{name} of these settings does not fit into memory: choose smaller ones") from error
    if "_modules" not in vars(model):
        raise InputError(f"{name}: {predictor.__name__}.__init__ must call super().__init__() first")
    lazy = [parameter for parameter, value in model.named_parameters() if is_lazy(value)]
    if lazy:
        raise InputError(f"{name}: '{lazy[0]}' has no shape before the first clip: use layers that are not lazy")
    return model


@contextmanager
def errors_in_one_line(name: str) -> Iterator[None]:
    """Turn an error in a third party's code of the model called `name` into an InputError that says in which line.

    SystemExit is such an error, too: a command that it ends would have exit code 0 and no results. Errors that our own
    code raises pass as they are.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        line = plugins.line_of(error, find(name).predictor)
        if not line:
            raise
        raise InputError(f"{name} failed with {in_words(error)} ({line})") from error


def weights_needed(name: str) -> list[str]:
    """Return the names of the published weights that the model called `name` needs."""
    kind = "weights:"
    return sorted(need.removeprefix(kind) for need in find(name).predictor.needs if need.startswith(kind))
