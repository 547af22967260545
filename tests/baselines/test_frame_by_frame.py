"""Statistics of batch norm for predicted frames."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from baselines import registry
from baselines.layers.frame_by_frame import FrameByFrame
from baselines.layers.normalisation import GeneratedStatistics, norms_of
from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from narrow import narrow, thin

SHAPE = ClipShape((1, 16, 16), (11, 11), seen=3, train_frames=7, fps=10)
MODELS = ("sound2sight", "puq", "svg-lp")


def build(name, **settings):
    torch.manual_seed(0)
    with narrow():
        return registry.build(name, SHAPE, registry.configure(name, thin(name) | settings)).train()


def clips(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(count, SHAPE.train_frames, *SHAPE.frame, generator=generator)
    audio = torch.rand(count, SHAPE.train_frames, *SHAPE.audio, generator=generator)
    return Batch(frames, audio, SHAPE.seen)


def network_of(model):
    return next(each for each in model.modules() if isinstance(each, FrameByFrame))


def predict(model, given):
    with torch.inference_mode():
        context = Context(given.frames[:, : SHAPE.seen], given.audio)
        return model.eval().predict(context, 2, Noise(0, range(len(given.frames)), 2)).frames


def split(model):
    """Return a copy of the model's state: all but the statistics of predicted frames, and these."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    own = {name: value for name, value in state.items() if "generated_statistics" in name}
    return {name: value for name, value in state.items() if name not in own}, own


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@contextmanager
def recorded_inputs(norm):
    """Yield a list of the inputs of a batch norm in the block."""
    inputs = []
    handle = norm.register_forward_hook(lambda module, given, output: inputs.append(given[0].detach().clone()))
    yield inputs
    handle.remove()


@pytest.mark.parametrize("name", MODELS)
def test_learning_changes_the_statistics_of_predicted_frames_and_nothing_else(name):
    model, given = build(name), clips()
    network = network_of(model)
    network.frame_decoder.eval()  # as a stage may keep it
    modes = [module.training for module in model.modules()]
    rest, before = split(model)
    model.settle([given])
    kept, after = split(model)
    assert equal(rest, kept)
    assert not any(torch.equal(value, after[key]) for key, value in before.items())
    assert modes == [module.training for module in model.modules()]
    assert not any(parameter.grad is not None for parameter in model.parameters())
    model.settle([given])
    assert equal(after, split(model)[1])  # nothing is left of what was learned before


@pytest.mark.parametrize("name", MODELS)
def test_the_statistics_are_means_over_the_predicted_frames_that_are_encoded(name):
    model, given = build(name), clips()
    network = network_of(model)
    last = norms_of(network.frame_encoder)[-1]
    with recorded_inputs(last) as inputs:
        model.settle([given, clips(3, seed=1)])
    count = SHAPE.train_frames - SHAPE.seen - 1  # the last prediction is not encoded
    assert len(inputs) == 2 * (1 + count)
    encoded = [*inputs[1 : 1 + count], *inputs[2 + count :]]  # a batch's first inputs are its seen frames
    number = len(norms_of(network.frame_encoder)) - 1
    mean = torch.stack([each.mean((0, 2, 3)) for each in encoded]).mean(0)
    variance = torch.stack([each.var((0, 2, 3)) for each in encoded]).mean(0)
    torch.testing.assert_close(network.generated_statistics.get_buffer(f"mean{number}"), mean[None])
    torch.testing.assert_close(network.generated_statistics.get_buffer(f"variance{number}"), variance[None])


@pytest.mark.parametrize("name", MODELS)
def test_they_serve_predicted_frames_only(name):
    model, given = build(name), clips(2)
    statistics = network_of(model).generated_statistics
    assert torch.equal(predict(model, given), predict(build(name, generated_statistics="false"), given))  # none yet
    model.train().settle([given])
    before = predict(model, given)
    statistics.get_buffer("mean0").add_(1)
    after = predict(model, given)
    assert torch.equal(before[:, :, 0], after[:, :, 0])  # from true frames
    assert all(not torch.equal(before[:, :, t], after[:, :, t]) for t in range(1, before.shape[2]))


@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same_with_and_without_them(name):
    states = []
    for setting in ("true", "false"):
        model, given = build(name, generated_statistics=setting), clips()
        players = model.players()
        optimizers = {player: torch.optim.Adam(each.parameters, each.learning_rate) for player, each in players.items()}
        for step in range(2):
            torch.manual_seed(step)
            model.settle([given])
            losses = model.losses(given, Progress(step, 1))
            for player, loss in losses.items():
                optimizers[player].zero_grad()
                loss.total.backward(inputs=players[player].parameters, retain_graph=True)
            for optimizer in optimizers.values():
                optimizer.step()
        states.append(split(model))
    assert equal(states[0][0], states[1][0])
    assert states[0][1]
    assert not states[1][1]


def test_nothing_is_learned_from_a_single_clip():
    model = build("svg-lp")
    before = split(model)[1]
    model.settle([clips(1)])
    assert equal(before, split(model)[1])


def test_the_networks_own_statistics_are_back_after_an_error():
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3)).eval()
    statistics = GeneratedStatistics(network)
    statistics.learning = True
    before = network[0].running_mean
    with pytest.raises(ValueError, match="expected 4D"), statistics.used_by(network, 0):
        network(torch.zeros(2))
    assert network[0].running_mean is before
    assert (network[0].momentum, network[0].training, statistics.batches) == (0.3, False, [0])


@pytest.mark.parametrize("part", ["frame_encoder", "frame_decoder"])
def test_every_step_has_a_batchs_statistics_where_svg_lp_is_scored_as_released(part):
    model, given = build("svg-lp", batch_statistics="true"), clips()
    statistics = model.generated_statistics if part == "frame_encoder" else model.decoder_statistics
    last = norms_of(model.get_submodule(part))[-1]
    with recorded_inputs(last) as inputs:
        model.settle([given])
    generated = inputs[1:] if part == "frame_encoder" else inputs  # the encoder's first are the seen frames
    number = len(norms_of(model.get_submodule(part))) - 1
    assert len(generated) == SHAPE.train_frames - SHAPE.seen - (part == "frame_encoder")
    for step, each in enumerate(generated):
        torch.testing.assert_close(statistics.get_buffer(f"mean{number}")[step], each.mean((0, 2, 3)))
        torch.testing.assert_close(statistics.get_buffer(f"variance{number}")[step], each.var((0, 2, 3)))
    assert [*statistics.batches][: len(generated)] == [1] * len(generated)


def test_a_prediction_by_batch_statistics_is_that_of_networks_in_training_mode():
    model, given = build("svg-lp", batch_statistics="true"), clips()
    model.settle([given])
    context = Context(given.frames[:, : SHAPE.seen], given.audio)
    with torch.no_grad():
        found = model.eval().predict(context, 1, Noise(0, range(4), 1)).frames  # the noise that settle uses
        reference = build("svg-lp", generated_statistics="false")
        own = {name: value for name, value in model.state_dict().items() if "_statistics" not in name}
        reference.load_state_dict(own)
        seen = reference.eval().encode_frames(context.frames)
        reference.encode_frames = lambda frames: seen  # true frames have running statistics
        reference.frame_encoder.train()
        reference.frame_decoder.train()
        expected = reference.predict(context, 1, Noise(0, range(4), 1)).frames
    spread = (expected - expected.mean((0, 2), keepdim=True)).abs().mean()
    # running variances are n / (n - 1) of a batch's, n = 4 for embeddings
    assert (found[:, :, 0] - expected[:, :, 0]).abs().mean() < 0.1 * spread
    assert (found - expected).abs().mean() < 0.3 * spread
