"""Properties of every learned model, by name."""

from dataclasses import replace

import pytest
import torch

from baselines import registry
from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from benchmark.training.loop import adam, checkpoint
from mmnist_av.system.errors import InputError
from narrow import narrow, thin

SMALL = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
SEEN, TOTAL = 3, 7
SIZES = {
    "m3so": ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10),
    "real": ClipShape((3, 64, 64), (93, 16), seen=5, train_frames=20, fps=10),
    "oneshot": ClipShape((1, 48, 48), (64, 1), seen=5, train_frames=20, fps=20),
    "real-96": ClipShape((3, 96, 96), (93, 16), seen=5, train_frames=20, fps=10),
}
LEARNED = [name for name, model in registry.MODELS.items() if model.predictor.players is not registry.Predictor.players]
AUDIO_VISUAL = [name for name in LEARNED if registry.MODELS[name].modality == "AV"]
VIDEO_ONLY = [name for name in LEARNED if registry.MODELS[name].modality == "V"]
AUDIO_ONLY = [name for name in LEARNED if registry.MODELS[name].modality == "A"]
ABLATIONS = [name for name in LEARNED if registry.MODELS[name].settings]


def build(name, shape=SMALL, seed=0):
    torch.manual_seed(seed)
    with narrow():
        return registry.build(name, shape, registry.configure(name, thin(name)))


def batch(clips=2, shape=SMALL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(clips, TOTAL, *shape.frame, generator=generator)
    return Batch(frames, torch.rand(clips, TOTAL, *shape.audio, generator=generator), SEEN)


def predict(network, given, samples=2, seed=0):
    clips = list(range(len(given.frames)))
    with torch.inference_mode():
        return network.predict(
            Context(given.frames[:, :SEEN], given.audio), samples, Noise(seed, clips, samples)
        ).frames


def test_the_registry_has_models_of_every_modality():
    assert len(AUDIO_VISUAL) >= 9
    assert set(VIDEO_ONLY) >= {"svg-lp", "sound2sight-no-audio"}
    assert AUDIO_ONLY == ["audio-only"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LEARNED)
def test_samples_have_the_shape_and_range_of_frames_at_every_size(name, size):
    given = batch(1, SIZES[size])
    predicted = predict(build(name, SIZES[size]).eval(), given)
    assert predicted.shape == (1, 2, TOTAL - SEEN, *SIZES[size].frame)
    assert ((predicted >= 0) & (predicted <= 1)).all()


@pytest.mark.parametrize("name", LEARNED)
def test_a_step_on_colour_video_changes_weights_and_the_model_then_predicts(name):
    shape = ClipShape((3, 64, 64), (93, 16), seen=15, train_frames=18, fps=30)
    network = build(name, shape)
    clips = Batch(torch.rand(2, 18, *shape.frame), torch.rand(2, 18, *shape.audio), shape.seen)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizers = {player: adam(each) for player, each in network.players().items()}
    for player, loss in network.losses(clips, Progress(0, 1)).items():
        loss.total.backward(inputs=network.players()[player].parameters, retain_graph=True)
    for optimizer in optimizers.values():
        optimizer.step()
    assert any(not torch.equal(*each) for each in zip(before, network.parameters(), strict=True))
    context = Context(clips.frames[:, : shape.seen], clips.audio)
    with torch.inference_mode():
        predicted = network.eval().predict(context, 2, Noise(0, [0, 1], 2)).frames
    assert predicted.shape == (2, 2, 3, *shape.frame)
    assert ((predicted >= 0) & (predicted <= 1)).all()


@pytest.mark.parametrize("name", LEARNED)
def test_every_players_loss_is_finite_and_has_a_gradient_for_all_its_weights(name):
    network = build(name)
    losses = network.losses(batch(), Progress(1, 1))
    players = network.players()
    assert losses.keys() == players.keys()
    for player, loss in losses.items():
        assert torch.isfinite(loss.total)
        own = players[player].parameters
        gradients = torch.autograd.grad(loss.total, own, retain_graph=True, allow_unused=True)
        names = {id(p): n for n, p in network.named_parameters()}
        still = [
            names[id(p)] for p, g in zip(own, gradients, strict=True) if g is None or not g.any()
        ]  # biases before a norm have no effect
        assert not [weight for weight in still if "bias" not in weight]


@pytest.mark.parametrize("name", LEARNED)
def test_every_weight_belongs_to_one_player(name):
    network = build(name)
    owned = [id(p) for player in network.players().values() for p in player.parameters]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("name", LEARNED)
def test_samples_differ_only_in_stochastic_models_and_repeat_with_the_seed(name, lively):
    network, given = lively(build(name)).eval(), batch()
    predicted = predict(network, given, seed=3)
    assert torch.equal(predicted, predict(network, given, seed=3))
    assert torch.equal(predicted[:, 0], predicted[:, 1]) != network.stochastic
    assert torch.equal(predicted, predict(network, given, seed=4)) != network.stochastic


@pytest.mark.parametrize("name", LEARNED)
def test_a_saved_model_predicts_the_same(name, tmp_path, lively):
    network, given, path = lively(build(name)), batch(), tmp_path / "checkpoint.safetensors"
    network.losses(given, Progress(0, 0))  # moves batch norm's statistics, which are saved, too
    optimizers = {player: adam(each) for player, each in network.players().items()}
    checkpoint.save(path, checkpoint.Saved("run", 3), network, optimizers)
    other = build(name, seed=1)
    assert not torch.equal(predict(network.eval(), given), predict(other.eval(), given))
    fresh = {player: adam(each) for player, each in other.players().items()}
    assert checkpoint.load(path, "run", other, fresh)[0].step == 3
    assert torch.equal(predict(network, given), predict(other.eval(), given))


@pytest.mark.parametrize("changed", range(TOTAL))
@pytest.mark.parametrize("name", AUDIO_VISUAL)
def test_audio_changes_the_predictions_of_its_own_and_later_frames_only(name, changed, lively):
    network, given = lively(build(name)).eval(), batch()
    audio = given.audio.clone()
    audio[:, changed] += 3
    before, after = predict(network, given), predict(network, replace(given, audio=audio))
    first = max(changed - SEEN, 0)
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert not torch.equal(before[:, :, first], after[:, :, first])


@pytest.mark.parametrize("name", VIDEO_ONLY)
def test_video_only_models_do_not_depend_on_audio(name, lively):
    network, given = lively(build(name)), batch()
    other = replace(given, audio=batch(seed=1).audio)
    losses = []
    for each in (given, other):
        torch.manual_seed(2)
        losses.append({player: loss.total for player, loss in network.losses(each, Progress(1, 1)).items()})
    assert losses[0] == losses[1]
    network.eval()
    assert torch.equal(predict(network, given), predict(network, other))


@pytest.mark.parametrize("name", AUDIO_ONLY)
def test_audio_only_models_do_not_depend_on_frames(name, lively):
    network, given = lively(build(name)).eval(), batch()
    other = replace(given, frames=batch(seed=1).frames)
    assert torch.equal(predict(network, given), predict(network, other))
    assert not torch.equal(predict(network, given), predict(network, replace(given, audio=batch(seed=1).audio)))


@pytest.mark.parametrize("seen", range(SEEN))
@pytest.mark.parametrize("name", AUDIO_VISUAL + VIDEO_ONLY)
def test_predictions_depend_on_every_seen_frame(name, seen, lively):
    network, given = lively(build(name)).eval(), batch()
    frames = given.frames.clone()
    frames[:, seen] = 1 - frames[:, seen]
    assert not torch.equal(predict(network, given), predict(network, replace(given, frames=frames)))


@pytest.mark.parametrize("name", ABLATIONS)
def test_settings_that_an_ablation_fixes_cannot_be_changed(name):
    for setting, value in registry.MODELS[name].settings.items():
        text = str(value).lower()
        with pytest.raises(InputError, match=f"--set {setting}={text}: {name} is the model whose {setting} is {text}"):
            registry.configure(name, {setting: text})


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_its_model_in_its_fixed_settings_only(name):
    whole = "puq" if name.startswith("puq") else "sound2sight"
    own, others = (vars(registry.configure(each, {})) for each in (name, whole))
    assert {key for key in own if own[key] != others[key]} == set(registry.MODELS[name].settings)
    assert isinstance(build(name), registry.MODELS[whole].predictor)


# ------------------------------------------------------------------------------------------- parameter counts


def linear(inputs, outputs):
    return inputs * outputs + outputs


def conv(kernel, inputs, outputs):
    return kernel[0] * kernel[1] * inputs * outputs + outputs


def normed(kernel, inputs, outputs):
    return conv(kernel, inputs, outputs) + 2 * outputs


def lstm(inputs, hidden):
    return 4 * (inputs * hidden + hidden * hidden + 2 * hidden)


AUDIO_ENCODER = sum(normed((4, 4), a, b) for a, b in [(1, 64), (64, 128), (128, 256), (256, 512)]) + normed(
    (2, 2), 512, 128
)  # both of the released audio encoders
TRANSFORMER = linear(128, 256) + linear(256, 768) + linear(256, 256) + linear(256, 128) * 2 + linear(128, 256) + 2 * 512
RELEASED = {  # shape -> generator, discriminator: the fact sheet's
    ClipShape((1, 48, 48), (23, 21), seen=5, train_frames=20, fps=10): (10_854_249, 5_449_604),
    ClipShape((3, 64, 64), (45, 17), seen=5, train_frames=20, fps=10): (16_892_779, 7_419_268),
}
LATENT = linear(256, 256) + lstm(256, 256) + 2 * linear(256, 10)
CHANGES = {  # to generator and discriminator, by hand
    "sound2sight": (0, 0),
    "sound2sight-no-audio": (-AUDIO_ENCODER - TRANSFORMER - 2 * 128 * 256, -AUDIO_ENCODER - 128 * 256),
    "sound2sight-no-aa": (0, 0),
    "sound2sight-no-aa-md": (0, -AUDIO_ENCODER - linear(256, 256) - lstm(256, 256) - linear(256, 2)),
    "sound2sight-lstm": (3 * (lstm(128, 128) - TRANSFORMER), 0),
    "sound2sight-lstm-no-disc": (3 * (lstm(128, 128) - TRANSFORMER), None),
    "sound2sight-only-l2": (-TRANSFORMER - LATENT, None),
    "sound2sight-teacher-forcing": (0, 0),
    "puq": (10_085, 0),
    "puq-no-disc": (10_085, None),
}


def whole(name, shape):
    """The model with all its channels, but no memory for its weights."""
    with torch.device("meta"):
        return registry.build(name, shape, registry.configure(name, {}))


@pytest.mark.parametrize("shape", RELEASED)
@pytest.mark.parametrize("name", CHANGES)
def test_parameters_at_the_papers_sizes_are_the_released_models_with_what_the_ablation_changes(name, shape):
    players = whole(name, shape).players()
    counts = {player: sum(p.numel() for p in each.parameters) for player, each in players.items()}
    expected = {
        player: released + change
        for player, released, change in zip(("generator", "discriminator"), RELEASED[shape], CHANGES[name], strict=True)
        if change is not None
    }
    assert counts == expected


@pytest.mark.parametrize(
    ("frame", "audio", "count"), [((1, 48, 48), (23, 21), 6_581_673), ((3, 64, 64), (45, 17), 12_620_203)]
)
def test_svg_lp_has_the_released_parameters(frame, audio, count):
    model = whole("svg-lp", ClipShape(frame, audio, seen=5, train_frames=20, fps=10))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
