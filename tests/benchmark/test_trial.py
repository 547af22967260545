"""What an author's model does wrong is named in a line, before anything is trained; what is right passes."""

import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from baselines import registry
from baselines.predictor import Loss, Player, Prediction, Predictor
from benchmark import run as run_module
from benchmark.catalogue import PROTOCOLS
from benchmark.check import check_model
from benchmark.job import Job
from benchmark.run import run
from mmnist_av.system.errors import InputError
from plain_clips import make_plain
from toys import TOYS

VIDEO = replace(
    PROTOCOLS["m3so-nb"], name="video", family="plain", dataset="squares", world={}, train_predicted=2,
    test_predicted=3, reported=(6,),
)  # fmt: skip


class Fades(Predictor):
    """A right model: the last seen frame, a learned factor darker, with a little noise."""

    modality, stochastic, paper, needs = "V", True, "", frozenset({"seen"})

    def __init__(self, shape):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.9))

    def players(self):
        return {"fade": Player([self.factor], 1e-3)}

    def losses(self, batch, progress):
        last, rest = batch.frames[:, batch.seen - 1 : batch.seen], batch.frames[:, batch.seen :]
        return {"fade": Loss((self.factor * last - rest).square().mean())}

    def predict(self, context, samples, noise):
        frame = self.factor * context.frames[:, None, -1:] + 0.01 * self.noise(noise, context)[..., None, None]
        return Prediction(frame.clamp(0, 1).expand(-1, samples, context.predicted, -1, -1, -1))

    def noise(self, noise, context):
        return noise.normal(1, 1)


class BareLoss(Fades):
    def losses(self, batch, progress):
        return super().losses(batch, progress)["fade"].total


class VectorLoss(Fades):
    def losses(self, batch, progress):
        return {"fade": Loss((self.factor * batch.frames).mean((1, 2, 3, 4)))}


class WithUnused(Fades):
    def __init__(self, shape):
        super().__init__(shape)
        self.unused = nn.Parameter(torch.tensor(0.0))


class LossOfNothing(WithUnused):
    def losses(self, batch, progress):
        return {"fade": Loss(self.unused * 2)}


class BrokenLoss(Fades):
    def losses(self, batch, progress):
        return batch.frames @ torch.zeros(7, 7)


class EndsTheProgram(Fades):
    def losses(self, batch, progress):
        sys.exit()


class BarePrediction(Fades):
    def predict(self, context, samples, noise):
        return super().predict(context, samples, noise).frames


class NumpyPrediction(Fades):
    def predict(self, context, samples, noise):
        return Prediction(super().predict(context, samples, noise).frames.numpy())


class OneFrameShort(Fades):
    def predict(self, context, samples, noise):
        return Prediction(super().predict(context, samples, noise).frames[:, :, 1:])


class OwnGenerator(Fades):
    def noise(self, noise, context):
        return torch.randn_like(super().noise(noise, context))


class NumpyGenerator(Fades):
    def noise(self, noise, context):
        return torch.full_like(super().noise(noise, context), np.random.default_rng().normal())


class OwnFixedGenerator(Fades):
    def noise(self, noise, context):
        return torch.randn(len(context.frames), 2, 1, 1, generator=torch.Generator().manual_seed(0))


class NoNoise(Fades):
    def noise(self, noise, context):
        return torch.zeros(len(context.frames), 2, 1, 1)


class UnusedNoise(Fades):
    def noise(self, noise, context):
        return 0 * super().noise(noise, context)


class OneSampleForAll(Fades):
    def noise(self, noise, context):
        return super().noise(noise, context)[:, :1].expand(-1, 2, -1, -1)


class DrawsAlthoughDeterministic(Fades):
    stochastic = False


class KeepsTheFirst(Fades):
    kept, stochastic = None, False

    def noise(self, noise, context):
        return torch.zeros(len(context.frames), 1, 1, 1)

    def predict(self, context, samples, noise):
        if self.kept is None:
            self.kept = super().predict(context, samples, noise)
        return self.kept


class SeesNothing(Fades):
    stochastic = False

    def predict(self, context, samples, noise):
        _, channels, height, width = context.frames[0].shape
        return Prediction((self.factor / 2).expand(1, 1, context.predicted, channels, height, width))


class KeepsThePrevious(KeepsTheFirst):
    def predict(self, context, samples, noise):
        frames = Fades.predict(self, context, samples, noise).frames
        before, self.kept = frames if self.kept is None else self.kept, frames
        return Prediction((frames + before) / 2)


class StateInAnAttribute(Fades):
    def __init__(self, shape):
        super().__init__(shape)
        self.brightness = 0.0

    def losses(self, batch, progress):
        self.brightness = 0.9 * self.brightness + 0.1 * batch.frames.mean()
        return super().losses(batch, progress)

    def predict(self, context, samples, noise):
        return Prediction(super().predict(context, samples, noise).frames * (1 - self.brightness))


class BufferThatIsNotSaved(StateInAnAttribute):
    def __init__(self, shape):
        super().__init__(shape)
        del self.brightness
        self.register_buffer("brightness", torch.tensor(0.0), persistent=False)


class DefaultType(Fades):
    def losses(self, batch, progress):
        torch.set_default_dtype(torch.float64)
        return super().losses(batch, progress)


class InPlace(Fades):
    def predict(self, context, samples, noise):
        context.frames.mul_(0.5)
        return super().predict(context, samples, noise)


class TiedWeights(Fades):
    def __init__(self, shape):
        super().__init__(shape)
        self.one, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
        self.other.weight = self.one.weight


class StateLeftOut(WithUnused):
    def state_dict(self, *given, **named):
        return {name: value for name, value in super().state_dict(*given, **named).items() if name != "unused"}


class ExtraState(Fades):
    def get_extra_state(self):
        return {"version": 1}


class BufferThatGrows(Fades):
    def losses(self, batch, progress):
        self.register_buffer("seen_steps", torch.zeros(3))
        return super().losses(batch, progress)


class LazyLayer(Fades):
    def __init__(self, shape):
        super().__init__(shape)
        self.lazy = nn.LazyLinear(3)


@dataclass(frozen=True)
class NoDefault:
    width: int


class FieldWithoutDefault(Fades):
    Config = NoDefault


class PlayersInAList(Fades):
    def players(self):
        return list(super().players().values())


WRONG = {
    PlayersInAList: "PlayersInAList.players must return a dictionary, name -> Player, not list of Player",
    BareLoss: "BareLoss.losses must return a dictionary, player -> Loss",
    VectorLoss: "VectorLoss.losses: fade's total must be a scalar tensor",
    LossOfNothing: "fade's total depends on none of the parameters that the player 'fade' updates",
    BrokenLoss: r"BrokenLoss: losses failed with RuntimeError: .*\(test_trial\.py, line \d+\)",
    EndsTheProgram: r"EndsTheProgram: losses failed with SystemExit \(test_trial\.py, line \d+\)",
    BarePrediction: "Prediction",
    NumpyPrediction: "tensor",
    OneFrameShort: r"must return frames of the shape \(1, 2, 3, 3, 64, 64\), not \(1, 2, 2,|predicted 2 frames, 3 are",
    OwnGenerator: r"gives other frames when it is called again .*: all its randomness must come from noise\.normal",
    NumpyGenerator: r"gives other frames when it is called again .*: all its randomness must come from noise\.normal",
    OwnFixedGenerator: r"is stochastic, and its predict draws nothing from noise\.normal\(\.\.\.\)",
    NoNoise: "draws nothing from noise.*; a model whose samples .* are all equal declares stochastic = False",
    KeepsTheFirst: "once a checkpoint is loaded: .* nothing may be kept from call to call",
    KeepsThePrevious: "gives other frames when it is called again .* and it must keep nothing from call to call",
    StateInAnAttribute: "gives other frames once a checkpoint is loaded: .* or a persistent buffer",
    BufferThatIsNotSaved: "gives other frames once a checkpoint is loaded: .* or a persistent buffer",
    DefaultType: "DefaultType sets torch's default dtype",
    InPlace: "predict changes the context that it is given: work on a copy",
    DrawsAlthoughDeterministic: "predict draws from the noise: its samples differ, so stochastic = True",
    TiedWeights: "TiedWeights: its state_dict must have the same tensors .* no two in the same memory, .*other.weight",
    StateLeftOut: 'StateLeftOut: its state_dict must have .*"unused"',
    ExtraState: "ExtraState: its state_dict must have the same tensors before and after a step",
    BufferThatGrows: "BufferThatGrows: its state_dict must have the same tensors .* seen_steps",
    LazyLayer: r"'lazy\.weight' has no shape before the first clip: use layers that are not lazy",
    FieldWithoutDefault: "width",
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_plain(tmp_path_factory.mktemp("data") / "video", {"train": 2, "val": 0, "test": 2}).path


@pytest.fixture(autouse=True)
def protocol_row(monkeypatch):
    monkeypatch.setitem(PROTOCOLS, VIDEO.name, VIDEO)


@pytest.fixture(autouse=True)
def default_type():
    yield
    torch.set_default_dtype(torch.float32)


def check(predictor, video, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "mine", registry.Model(predictor))
    return list(check_model("mine", "video", video, device="cpu"))


@pytest.mark.parametrize("predictor", WRONG, ids=lambda predictor: predictor.__name__)
def test_a_mistake_in_a_model_is_named_in_a_line(predictor, video, monkeypatch):
    with pytest.raises(InputError, match=WRONG[predictor]) as error:
        check(predictor, video, monkeypatch)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("predictor", "equal"),
    [
        (Fades, []),
        (UnusedNoise, ["all samples of a clip", "another seed of the noise"]),
        (OneSampleForAll, ["all samples of a clip"]),
        (SeesNothing, ["another clip: does it keep the first one's?"]),
    ],
)
def test_predictions_that_should_differ_and_do_not_are_noted(predictor, equal, video, monkeypatch, caplog):
    check(predictor, video, monkeypatch)
    assert caplog.messages == [
        f"{predictor.__name__}.predict gives exactly the same frames for {each}" for each in equal
    ]


def test_parameters_of_no_player_are_noted(video, monkeypatch, caplog):
    check(WithUnused, video, monkeypatch)
    assert caplog.messages == ["WithUnused: no player has unused: what no player has is never trained"]


def test_a_model_is_tried_on_a_dataset_of_one_test_clip(tmp_path, monkeypatch):
    clips = make_plain(tmp_path / "clips", {"train": 1, "val": 0, "test": 1})
    assert len(check(Fades, clips.path, monkeypatch)) == 4


def test_a_model_that_is_not_trained_is_built_before_check_says_so(video, monkeypatch):
    class Floor(Predictor):
        modality, stochastic, paper, needs = "V", False, "", frozenset({"seen"})

        def __init__(self, shape):
            self.shape = shape

    with pytest.raises(InputError, match=r"super\(\)\.__init__\(\)"):
        check(Floor, video, monkeypatch)
    with pytest.raises(InputError, match="mine is not trained: there is nothing more to check"):
        check(registry.find("copy-last").predictor, video, monkeypatch)


def test_a_right_model_passes_and_is_told_how_to_go_on(video, monkeypatch):
    lines = check(Fades, video, monkeypatch)
    assert lines[0] == "mine: 1 parameters; 5 seen frames, 3 to predict"
    assert lines[-1] == "avbench run --model mine --protocol video trains it"


@pytest.mark.parametrize("name", TOYS)
def test_models_with_stages_turns_state_and_flow_pass(name, tmp_path, monkeypatch):
    clips = make_plain(tmp_path / "clips", {"train": 2, "val": 0, "test": 2}, flow=name == "flow-user")
    assert len(check(TOYS[name], clips.path, monkeypatch)) == 4


def test_a_run_tries_the_model_before_it_trains_and_writes_nothing(video, tmp_path, monkeypatch, tried):
    monkeypatch.setitem(registry.MODELS, "mine", registry.Model(OneFrameShort))
    monkeypatch.setattr(run_module, "train", None)
    with pytest.raises(InputError, match="OneFrameShort"):
        run(Job("mine", protocol="video", data=video, out=tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()


def test_a_trial_leaves_the_trained_model_as_if_there_was_none(video, tmp_path, monkeypatch, tried):
    monkeypatch.setitem(registry.MODELS, "mine", registry.Model(TOYS["critic"]))
    job = Job("mine", protocol="video", data=video, out=tmp_path / "tried", device="cpu", steps=2, eval_every=0)
    run(job)
    monkeypatch.setattr(run_module, "try_model", lambda setup: None)
    run(replace(job, out=tmp_path / "untried"))
    weights = [(tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("tried", "untried")]
    assert weights[0] == weights[1]
