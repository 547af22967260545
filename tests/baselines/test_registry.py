import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from baselines import registry
from baselines.floors import Black
from baselines.predictor import ClipShape
from mmnist_av.system.errors import InputError


def test_the_error_for_an_unknown_model_names_the_nearest():
    with pytest.raises(InputError, match="unknown model 'sound2sigt': did you mean sound2sight"):
        registry.find("sound2sigt")


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
        ("puq", {"beta": "nan"}, "beta must be finite, not nan"),
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


def test_third_parties_register_by_entry_point(monkeypatch):
    entry = EntryPoint("pitch-black", "baselines.floors:Black", "avbench.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "avbench.models" else [])
    assert registry.find("pitch-black") == registry.Model(Black)
    assert registry.models()["pitch-black"] == registry.Model(Black)
    assert registry.find("puq") is registry.MODELS["puq"]


def test_a_broken_third_party_model_leaves_the_others_usable(monkeypatch):
    entry = EntryPoint("broken", "no_such_module:Model", "avbench.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert registry.find("black").predictor is Black
    with pytest.raises(InputError, match=r"model 'broken' .*cannot be loaded: ModuleNotFoundError"):
        registry.find("broken")


def test_a_third_party_cannot_use_the_name_of_one_of_our_models(monkeypatch):
    entry = EntryPoint("puq", "baselines.floors:Black", "avbench.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(InputError, match="the name puq belongs to another model"):
        registry.models()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Model = 3", "is not a class that derives from Predictor"),
        (
            "from baselines.predictor import Predictor\nclass Model(Predictor): modality, paper = 'AV', ''",
            "does not define stochastic",
        ),
    ],
)
def test_incomplete_third_party_models_are_refused(source, message, tmp_path, monkeypatch):
    (tmp_path / "their_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_module", raising=False)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("theirs", "their_module:Model", group)])
    assert "theirs" in registry.names()
    with pytest.raises(InputError, match=message):
        registry.find("theirs")


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


def test_models_declare_what_they_need_and_predict():
    needs = {name: model.predictor.needs for name, model in registry.MODELS.items()}
    assert {name for name, each in needs.items() if not each} == {"black", "audio-only"}
    assert all(each <= {"seen"} for each in needs.values())
    predicts = {name: model.predictor.predicts for name, model in registry.MODELS.items() if model.predictor.predicts}
    assert predicts == {"copy-last": {"flow"}, "puq": {"variance"}, "puq-no-disc": {"variance"}}
