"""Device placement, tested without a GPU: on the "meta" device, a tensor that was left on the CPU is an error."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from baselines import registry
from baselines.layers.precision import without_autocast
from baselines.predictor import Batch, ClipShape, Context, Noise, Predictor, Progress, Turn
from narrow import narrow, thin

META = torch.device("meta")
SHAPE = ClipShape((1, 16, 16), (11, 11), seen=2, train_frames=4, fps=10)  # operations on meta are slow
IN_NUMPY = ("bayes-v", "bayes-av", "zigzag")  # these work on the CPU
NAMES = [name for name in registry.MODELS if name not in IN_NUMPY]
LEARNED = [name for name in NAMES if registry.is_trained(name)]


def on_meta(name: str) -> Predictor:
    with narrow():
        return registry.build(name, SHAPE, registry.configure(name, thin(name))).to(META)


def meta_batch() -> Batch:
    frames = torch.zeros(2, SHAPE.train_frames, *SHAPE.frame, device=META)
    return Batch(frames, torch.zeros(2, SHAPE.train_frames, *SHAPE.audio, device=META), SHAPE.seen)


def turns(model: Predictor) -> Iterator[Progress]:
    """Yield every stage and turn, before and after the ablations' start epochs, with both outcomes of their coins."""
    coins = getattr(getattr(model, "config", None), "feed_back_from", 0)
    for stage in model.stages():
        for turn in stage.turns or (Turn(stage.players),):
            for epoch in (0, 100):
                for step in range(4 if coins and epoch else 1):
                    yield Progress(step, epoch, stage.name, 0.5, turn.players)


def test_a_tensor_on_the_cpu_is_an_error_here():
    with pytest.raises(RuntimeError):
        torch.zeros(2, device=META) + torch.zeros(2)


@pytest.mark.parametrize("name", LEARNED)
def test_losses_and_gradients_are_computed_on_the_models_device(name):
    model, batch = on_meta(name), meta_batch()
    for progress in turns(model):
        losses = model.losses(batch, progress)
        assert losses.keys() == set(progress.players)
        for player, loss in losses.items():
            assert loss.total.device == META
            parameters = model.players()[player].parameters
            gradients = torch.autograd.grad(loss.total, parameters, retain_graph=True, allow_unused=True)
            assert all(gradient.device == META for gradient in gradients if gradient is not None)
            assert any(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("name", LEARNED)
def test_backward_leaves_gradients_on_the_models_device(name):
    model = on_meta(name)
    total = sum(loss.total for loss in model.losses(meta_batch(), Progress(0, 100)).values())
    total.backward()
    assert all(each.grad.device == META for each in model.parameters() if each.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_made_on_the_models_device(name):
    model, batch = on_meta(name).eval(), meta_batch()
    context = Context(batch.frames[:, : SHAPE.seen], batch.audio)
    with torch.inference_mode():
        prediction = model.predict(context, 3, Noise(0, [0, 1], 3, device="meta"))
    assert prediction.frames.device == META
    assert prediction.frames.shape == (2, 3, SHAPE.train_frames - SHAPE.seen, *SHAPE.frame)
    for name_of_extra in model.predicts:
        assert getattr(prediction, name_of_extra).device == META


@pytest.mark.parametrize("name", ["sound2sight", "puq", "svg-lp"])
@pytest.mark.parametrize("settings", [{"init": "released"}, {"init": "released", "score_seen": True}])
def test_other_settings_stay_on_the_models_device_too(name, settings):
    config = registry.configure(name, thin(name))
    known = {key: value for key, value in settings.items() if hasattr(config, key)}
    with narrow():
        model = registry.find(name).predictor(SHAPE, replace(config, **known)).to(META)
    assert all(loss.total.device == META for loss in model.losses(meta_batch(), Progress(1, 1)).values())


def test_autocast_is_turned_off_where_the_device_has_it():
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        with without_autocast(torch.device("cpu")):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with without_autocast(META):
        assert (torch.ones(2, 2, device=META) @ torch.ones(2, 2, device=META)).dtype == torch.float32
