"""What the harness gives to a model, and what it accepts from it."""

import numpy as np
import pytest
import torch

from baselines import registry
from baselines.predictor import ClipShape, Context, Prediction, Predictor
from benchmark.compute import Compute
from benchmark.scoring.samples import draw_samples
from benchmark.scoring.scores import joined
from mmnist_av.system.errors import InputError
from narrow import narrow, thin

SEEN = 3
CPU = Compute(torch.device("cpu"), bfloat16=False)
FRAMES = torch.zeros(3, 2, 4, 1, 48, 48)
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
TRAINED = [name for name, model in registry.MODELS.items() if model.predictor.stochastic and registry.is_trained(name)]


def clips(seed=0, count=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 7, *SHAPE.frame, generator=generator), torch.rand(
        count, 7, *SHAPE.audio, generator=generator
    )


def draw(model, frames, audio, samples, seed, indices):
    """Draw samples of clips whose first SEEN frames are given."""
    context = Context(frames[:, :SEEN].clone(), audio)
    return joined(draw_samples(model, context, indices, samples, seed, CPU))


def network(name, settings=None):
    torch.manual_seed(0)
    settings = thin(name) if settings is None else settings
    return registry.build(name, SHAPE, registry.configure(name, settings)).eval()


@pytest.mark.parametrize("name", registry.MODELS)
def test_changing_future_frames_changes_no_prediction_and_the_last_seen_frame_does(name):
    model, (frames, audio) = network(name), clips()
    future, last = frames.clone(), frames.clone()
    future[:, 3:] = torch.rand_like(future[:, 3:])
    last[:, 2] = 1 - last[:, 2]
    drawn = [draw(model, given, audio, 2, 0, [0, 1, 2]).frames for given in (frames, future, last)]
    assert drawn[0].shape == (3, 2, 4, *SHAPE.frame)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2]) == (name in ("black", "audio-only"))


@pytest.mark.parametrize("shape", [(3, 1, 4, 1, 48, 48), (2, 3, 4, 1, 48, 48), (3, 2, 4, 48, 48), (3, 2, 5, 1, 48, 48)])
def test_frames_of_another_shape_are_refused(shape):
    class Careless(Predictor):
        def predict(self, context, samples, noise):
            return Prediction(context.frames.new_zeros(shape))

    with pytest.raises(InputError, match=r"Careless.predict must return frames of the shape \(3, 2, 4, 1, 48, 48\)"):
        draw(Careless(), *clips(), 2, 0, [0, 1, 2])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(3, 2, 4, 1, 48, 48), r"predict must return a Prediction, not \(3, 2, 4, 1, 48, 48\) float32"),
        (None, "predict must return a Prediction, not NoneType"),
        (Prediction(np.zeros((3, 2, 4, 1, 48, 48), np.float32)), "predict must return frames as a tensor, not ndarray"),
        (Prediction(FRAMES, variance=np.zeros((3, 2, 4))), "predict must return variance as a tensor, not ndarray"),
        (Prediction(FRAMES, variance=torch.zeros(3, 2)), r"variance of the shape \(3, 2, 4\), not \(3, 2\)"),
        (Prediction(FRAMES, variance=torch.full((3, 2, 4), torch.nan)), "predicted variance from frame 1 on: finite"),
    ],
)
def test_what_is_no_prediction_is_refused(returned, message):
    class Careless(Predictor):
        def predict(self, context, samples, noise):
            return returned

    with pytest.raises(InputError, match=f"Careless.*{message}"):
        draw(Careless(), *clips(), 2, 0, [0, 1, 2])


def test_windows_must_be_yielded():
    class Careless(Predictor):
        def predict_windows(self, context, samples, noise):
            return Prediction(FRAMES)

    with pytest.raises(InputError, match=r"Careless\.predict_windows must yield Predictions, not return Prediction"):
        draw(Careless(), *clips(), 2, 0, [0, 1, 2])


def test_too_few_frames_are_refused():
    class Short(Predictor):
        def predict(self, context, samples, noise):
            return Prediction(context.frames.new_zeros(3, 2, 3, 1, 48, 48))

    with pytest.raises(InputError, match="Short predicted 3 frames, 4 are requested"):
        draw(Short(), *clips(), 2, 0, [0, 1, 2])


@pytest.mark.parametrize("value", [1.01, -0.01, float("nan")])
def test_values_outside_the_unit_range_are_refused(value):
    class Bright(Predictor):
        def predict(self, context, samples, noise):
            return Prediction(context.frames.new_full((3, 2, 4, 1, 48, 48), value))

    with pytest.raises(InputError, match=r"Bright's predicted frames from 1 on: values in \[0, 1\] expected"):
        draw(Bright(), *clips(), 2, 0, [0, 1, 2])


def test_a_model_predicts_what_it_declares():
    class Silent(Predictor):
        predicts = frozenset({"flow"})

        def predict(self, context, samples, noise):
            return Prediction(context.frames.new_zeros(3, 2, 4, 1, 48, 48))

    with pytest.raises(InputError, match="Silent declares that it predicts flow, but its prediction has none"):
        draw(Silent(), *clips(), 2, 0, [0, 1, 2])


def test_a_prediction_in_windows_is_the_same_as_in_one():
    class Windowed(Predictor):
        def predict_windows(self, context, samples, noise):
            whole = noise.normal(context.predicted, *context.frames.shape[2:]).sigmoid()
            for first in range(0, context.predicted, 3):
                yield Prediction(whole[:, :, first : first + 3])

    frames, audio = clips()
    windows = list(draw_samples(Windowed(), Context(frames[:, :SEEN], audio), [0, 1, 2], 2, 0, CPU))
    assert [window.frames.shape[2] for window in windows] == [3, 1]
    assert torch.equal(joined(windows).frames, draw(Windowed(), frames, audio, 2, 0, [0, 1, 2]).frames)


@pytest.mark.parametrize("name", TRAINED)
def test_samples_of_a_clip_do_not_depend_on_its_neighbours_or_their_order(name, lively):
    with narrow(part=1):
        model, (frames, audio) = lively(network(name, settings={})), clips()
    together = draw(model, frames, audio, 2, 0, [5, 6, 7]).frames
    shuffled = draw(model, frames[[2, 0]], audio[[2, 0]], 2, 0, [7, 5]).frames
    spread = (together[:, 0] - together[:, 1]).abs().mean()
    assert spread > 1e-4
    assert (together[[2, 0]] - shuffled).abs().mean() < 1e-2 * spread


@pytest.mark.parametrize("name", TRAINED)
def test_samples_repeat_with_the_seed_and_differ_without(name):
    model, (frames, audio) = network(name), clips(count=1)
    first, again, other = (draw(model, frames, audio, 2, seed, [0]).frames for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:, 0], first[:, 1])
