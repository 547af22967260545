import itertools
import re
from dataclasses import dataclass, field, make_dataclass

import pytest
import torch

from baselines import registry
from baselines.floors import Black
from baselines.names import OURS
from baselines.predictor import ClipShape, Predictor
from mmnist_av.system.errors import InputError


def test_the_error_for_an_unknown_model_names_the_nearest():
    with pytest.raises(InputError, match="unknown model 'sound2sigt': did you mean sound2sight"):
        registry.find("sound2sigt")


def test_every_model_has_its_name_in_the_list_of_names():
    assert set(OURS) == set(registry.MODELS)


def test_settings_replace_the_defaults():
    config = registry.configure("puq", {"eta2": "0.5", "latent": "4", "score_seen": "true", "z_train": "prior"})
    assert (config.eta2, config.latent, config.score_seen, config.z_train) == (0.5, 4, True, "prior")
    assert (
        registry.build("puq", ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10), config).config
        == config
    )


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("sound2sight", {"betta": "1"}, "unknown setting of sound2sight 'betta': did you mean beta"),
        ("puq", {"latent": "2.5"}, "--set latent=2.5: must be a whole number"),
        ("puq", {"eta2": "much"}, "--set eta2=much: must be a number"),
        ("puq", {"score_seen": "perhaps"}, "--set score_seen=perhaps: must be true or false"),
        ("puq", {"z_train": "both"}, "unknown z_train 'both': choose one of: posterior, prior"),
        ("puq", {"heads": "0"}, "heads must be at least 1, not 0"),
        ("puq", {"gamma_epochs": "0"}, "gamma_epochs must be at least 1, not 0"),
        ("puq", {"position_dropout": "2"}, "position_dropout must be less than 1, not 2.0"),
        ("puq", {"beta": "1e-400"}, "--set beta=1e-400: too small for a number of 64 bits"),
        ("puq", {"beta": "nan"}, "--set beta=nan: must be a finite number"),
        ("puq", {"beta": "1e400"}, "--set beta=1e400: must be a finite number"),
        ("puq", {"beta": "-1"}, "beta must be at least 0, not -1.0"),
        ("puq", {"posterior": "false"}, "set posterior=true"),
        (
            "puq",
            {"transformer_width": "15", "heads": "3"},
            "must be a multiple of 2 x heads, 6, not 15",
        ),
        ("black", {"colour": "1"}, "--set colour=1: model 'black' has no settings"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, settings, message):
    with pytest.raises(InputError, match=message):
        registry.configure(model, settings)


@pytest.mark.parametrize("text", ["0", "0.0", "-0e5", "00.00E-400"])
def test_nought_may_be_written_in_any_way(text):
    assert registry.configure("puq", {"beta": text}).beta == 0


GROUP = "avbench.models"
FACTS = "modality, stochastic, paper = 'AV', False, ''"


def theirs(*lines):
    """Return the source of a third party's model, of which these are the lines."""
    return "\n    ".join(["from baselines.predictor import Predictor\nclass Model(Predictor):", *lines])


def test_third_parties_register_by_entry_point(install):
    install("their-package", GROUP, {"pitch-black": "baselines.floors:Black"})
    assert registry.find("pitch-black") == registry.Model(Black)
    assert registry.models()["pitch-black"] == registry.Model(Black)
    assert registry.find("puq") is registry.MODELS["puq"]


@pytest.mark.parametrize(
    ("value", "source", "message"),
    [
        ("no_such_module:Model", "", "cannot be loaded: ModuleNotFoundError"),
        ("their_module:Model", "raise SystemExit(3)", r"cannot be loaded: SystemExit\(3\)"),
        ("their_module:Model", "Model = 3", "is not a class that derives from Predictor"),
        ("their_module:Model", theirs("modality, paper = 'AV', ''"), "does not define stochastic, predict"),
        ("their_module:Model", theirs(FACTS, "predict = None", "players = None"), "does not define losses"),
        ("their_module:Model", theirs(FACTS, "predict = None", "needs = 'seen'"), "must define needs as a set"),
        ("their_module:Model", theirs(FACTS, "predict = None", "world = 'bpm'"), "must define world as a dictionary"),
        ("their_module:Model", theirs(FACTS, "predict = None", "paper = 7"), "must define paper as text, not 7"),
        (
            "their_module:Model",
            theirs(FACTS, "predict = modality = None"),
            "must define modality as one of AV, V, A, not None",
        ),
        (
            "their_module:Model",
            theirs(FACTS, "predict = None", "stochastic = 1"),
            "must define stochastic as True or False",
        ),
        (
            "their_module:model",
            theirs(FACTS, "predict = None") + "\nfrom baselines.registry import Model as M\nmodel = M(Model, about=7)",
            "must have about as text",
        ),
        (
            "their_module:model",
            theirs(FACTS, "predict = None")
            + "\nfrom baselines.registry import Model as M\nmodel = M(Model, modality='audio')",
            "must have one of AV, V, A as modality, not 'audio'",
        ),
    ],
)
def test_a_broken_model_of_a_third_party_is_named_and_the_others_are_listed(value, source, message, install, caplog):
    install("their-package", GROUP, {"broken": value, "pitch-black": "baselines.floors:Black"}, their_module=source)
    whole = rf"the model 'broken' of their-package \({value}\) {message}"
    with pytest.raises(InputError, match=whole):
        registry.find("broken")
    assert set(registry.models()) == {"pitch-black", *registry.MODELS}
    (note,) = caplog.messages
    assert re.match(whole, note)
    assert "broken" in registry.names()


def test_a_third_party_cannot_use_the_name_of_one_of_our_models(install, caplog):
    install("their-package", GROUP, {"puq": "baselines.floors:Black"})
    with pytest.raises(InputError, match=r"the model 'puq' of their-package .* has the name of one of ours"):
        registry.find("puq")
    assert registry.models() == registry.MODELS
    assert len(caplog.messages) == 1


def test_a_name_that_two_packages_have_registered_names_both_where_it_is_used(install, caplog):
    install("package-a", GROUP, {"dark": "baselines.floors:Black"})
    install("package-b", GROUP, {"dark": "baselines.floors:CopyLast", "other": "baselines.floors:Black"})
    with pytest.raises(
        InputError,
        match=r"'dark' is registered by package-a \(.*Black\) and package-b \(.*CopyLast\): uninstall all but",
    ):
        registry.find("dark")
    assert set(registry.models()) == {"other", *registry.MODELS}
    assert len(caplog.messages) == 1
    assert registry.find("other") == registry.Model(Black)


@pytest.mark.parametrize("name", ["lab/mine", "../../evil", "-mine", ".mine"])
def test_names_of_third_parties_models_keep_the_rule_of_names(name, install, caplog):
    install("their-package", GROUP, {name: "baselines.floors:Black"})
    with pytest.raises(InputError, match=r"their-package .*: a name has letters, digits, .*; rename its entry point"):
        registry.find(name)
    assert registry.models() == registry.MODELS
    assert len(caplog.messages) == 1


def test_a_setting_without_a_simple_default_cannot_be_set(monkeypatch):
    @dataclass(frozen=True)
    class Config:
        size: int | None = None

    class Theirs(Black):
        pass

    Theirs.Config = Config
    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(Theirs))
    with pytest.raises(InputError, match="default of theirs's size is not a number, text, true or false"):
        registry.configure("theirs", {"size": "3"})


@pytest.mark.parametrize("text", ["1e400", "-inf", "nan"])
def test_a_setting_of_a_third_party_is_a_finite_number(text, monkeypatch):
    @dataclass(frozen=True)
    class Config:
        rate: float = 1e-3

    class Theirs(Black):
        pass

    Theirs.Config = Config
    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(Theirs))
    with pytest.raises(InputError, match=f"--set rate={text}: must be a finite number"):
        registry.configure("theirs", {"rate": text})


def test_errors_of_a_third_partys_config_are_one_line(monkeypatch):
    @dataclass(frozen=True)
    class Config:
        size: int = 3

        def __post_init__(self):
            if self.size > 9:
                raise ValueError("size is too\nlarge")

    class Theirs(Black):
        pass

    Theirs.Config = Config
    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(Theirs))
    assert registry.configure("theirs", {"size": "9"}) == Config(9)
    with pytest.raises(InputError, match="settings of theirs: size is too large"):
        registry.configure("theirs", {"size": "10"})
    with pytest.raises(InputError, match="--set size=much: must be a whole number"):
        registry.configure("theirs", {"size": "much"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (make_dataclass("Settings", [("size", int)]), "Config of theirs cannot be made .*'size'.*: each of its fields"),
        (dict, "Config of theirs must be a dataclass"),
        (3, "Config of theirs cannot be made"),
    ],
)
def test_a_config_that_cannot_be_made_without_settings_is_refused(config, message, monkeypatch):
    class Theirs(Black):
        Config = config

    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(Theirs))
    with pytest.raises(InputError, match=message):
        registry.configure("theirs", {})


class NoConfig(Black):
    def __init__(self, shape, config):
        super().__init__(shape)


class OnlyShape(Black):
    Config = make_dataclass("Settings", [("size", int, 3)])

    def __init__(self, shape):
        super().__init__(shape)


class NoConstructor(Predictor):
    modality, stochastic, paper = "V", False, ""


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (NoConfig, r"theirs cannot be built by NoConfig\(shape\): .*'config'"),
        (OnlyShape, r"theirs cannot be built by OnlyShape\(shape, config\): .* takes 2 positional arguments but 3"),
        (NoConstructor, r"theirs cannot be built by NoConstructor\(shape\): "),
    ],
)
def test_a_constructor_of_another_signature_is_refused(predictor, message, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(predictor))
    with pytest.raises(InputError, match=message):
        registry.build("theirs", ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10))


@pytest.mark.parametrize(
    ("default", "message"),
    [
        (lambda: torch.zeros(2), r"its values must be finite numbers, .* \(Object of type Tensor is not JSON"),
        (lambda: float("nan"), "its values must be finite numbers"),
        (lambda: {1}, "its values must be finite numbers"),
        (object().__hash__, ""),
        (itertools.count().__next__, "its defaults must be the same each time that it is made"),
    ],
)
def test_a_config_that_config_json_cannot_hold_is_refused(default, message, monkeypatch):
    config = make_dataclass("Settings", [("size", object, field(default_factory=default))])
    monkeypatch.setitem(registry.MODELS, "theirs", registry.Model(type("Theirs", (Black,), {"Config": config})))
    if not message:
        assert registry.configure("theirs", {}) is not None
        return
    with pytest.raises(InputError, match=f"Config of theirs: {message}"):
        registry.configure("theirs", {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "raise ValueError('three channels are needed')",
            r"ValueError: three channels are needed \(theirs\.py, line 5\)",
        ),
        ("raise SystemExit", r"SystemExit \(theirs\.py, line 5\)"),
        ("import torch; torch.zeros(2) @ torch.zeros(3)", r"RuntimeError: .* \(theirs\.py, line 5\)"),
        (
            "import torch; self.layer = torch.nn.Linear(1, 1)",
            r"AttributeError: cannot assign .* \(theirs\.py, line 5\)",
        ),
    ],
)
def test_an_error_in_a_third_partys_constructor_is_named_with_its_line(line, message, install):
    source = theirs(FACTS, "predict = None", f"def __init__(self, shape): {line}")
    install("their-package", GROUP, {"theirs": "theirs:Model"}, theirs=source)
    with pytest.raises(InputError, match=f"theirs failed with {message}"):
        registry.build("theirs", ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10))


def test_a_constructor_that_does_not_call_the_one_above_is_refused(install):
    source = theirs(FACTS, "predict = None", "def __init__(self, shape): self.shape = shape")
    install("their-package", GROUP, {"theirs": "theirs:Model"}, theirs=source)
    with pytest.raises(InputError, match=r"theirs: Model\.__init__ must call super\(\)\.__init__\(\) first"):
        registry.build("theirs", ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10))


def test_an_error_that_our_own_code_raises_passes_as_it_is(install):
    source = theirs(FACTS, "predict = None", "def __init__(self, shape): super().__init__(); self.losses(None, None)")
    install("their-package", GROUP, {"theirs": "theirs:Model"}, theirs=source)
    with pytest.raises(NotImplementedError):
        registry.build("theirs", ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10))


def test_models_declare_what_they_need_and_predict():
    needs = {name: model.predictor.needs for name, model in registry.MODELS.items()}
    assert {name for name, each in needs.items() if not each} == {"black", "audio-only"}
    assert all(each <= {"seen"} for each in needs.values())
    predicts = {name: model.predictor.predicts for name, model in registry.MODELS.items() if model.predictor.predicts}
    assert predicts == {"copy-last": {"flow"}, "puq": {"variance"}, "puq-no-disc": {"variance"}}


def test_settings_that_no_memory_can_hold_are_refused():
    shape = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
    with pytest.raises(InputError, match="svg-lp of these settings does not fit into memory: choose smaller ones"):
        registry.build("svg-lp", shape, registry.configure("svg-lp", {"hidden": str(10**12)}))
