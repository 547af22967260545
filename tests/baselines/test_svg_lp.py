"""SVG-LP against its formula, and that nothing depends on later frames."""

from dataclasses import replace

import pytest
import torch

from baselines.layers.recurrent import Gaussian
from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from baselines.svg_lp import SVGLP, SVGLPConfig
from mmnist_av.system.errors import InputError
from narrow import narrow

SMALL = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
SEEN, TOTAL = 3, 7


def model(**settings):
    torch.manual_seed(0)
    with narrow():
        return SVGLP(SMALL, SVGLPConfig(hidden=32, **settings))


def batch(clips=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(clips, TOTAL, *SMALL.frame, generator=generator), torch.zeros(clips, TOTAL, 11, 11), SEEN)


def test_loss_is_the_sum_over_steps_of_error_and_kl(lively):
    network, given = lively(model()).eval(), batch()
    torch.manual_seed(5)
    loss = network.losses(given, Progress(0, 0))["generator"]
    torch.manual_seed(5)
    noise = torch.randn(2, TOTAL - 1, 10)
    encoded = [network.frame_encoder(given.frames[:, t]) for t in range(TOTAL)]
    prior_state = posterior_state = state = None
    error = kl = torch.zeros(())
    for t in range(1, TOTAL):
        posterior, posterior_state = network.posterior(encoded[t][0][:, None], posterior_state)
        prior, prior_state = network.prior(encoded[t - 1][0][:, None], prior_state)
        z = posterior.mean + (posterior.log_variance / 2).exp() * noise[:, t - 1 : t]
        hidden, state = network.predictor(torch.cat([encoded[t - 1][0][:, None], z], -1), state)
        halves = network.frame_decoder.convolve_skips(encoded[min(t, SEEN) - 1][1])  # of the frame before, if seen
        decoded = network.frame_decoder(torch.tanh(network.leave_predictor(hidden[:, 0])), halves)
        for b in range(2):
            error = error + ((decoded[b] - given.frames[b, t]) ** 2).sum() / 256 / 2
        normals = [torch.distributions.Normal(each.mean, (each.log_variance / 2).exp()) for each in (posterior, prior)]
        kl = kl + torch.distributions.kl_divergence(*normals).sum() / 2
    torch.testing.assert_close(loss.terms["mse"], error, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.terms["kl"], kl, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.total, error + 1e-4 * kl, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changed", range(1, TOTAL))
def test_the_prior_of_a_frame_does_not_depend_on_it(changed, lively):
    network, given, other = lively(model()).eval(), batch(), batch(seed=1)
    frames = given.frames.clone()
    frames[:, changed:] = other.frames[:, changed:]
    found = []
    for each in (given.frames, frames):
        embeddings, _ = network.encode_frames(each)
        found.append((network.prior(embeddings[:, :-1])[0].mean, network.posterior(embeddings[:, 1:])[0].mean))
    (prior, posterior), (other_prior, other_posterior) = found
    assert torch.equal(prior[:, :changed], other_prior[:, :changed])  # steps up to frame `changed`
    assert torch.equal(posterior[:, : changed - 1], other_posterior[:, : changed - 1])
    assert not torch.equal(posterior[:, changed - 1], other_posterior[:, changed - 1])


def test_samples_are_decodings_from_posteriors_of_seen_frames_and_priors_of_unseen_ones(lively):
    network, given = lively(model()).eval(), batch(clips=1)
    predicted = network.predict(Context(given.frames[:, :SEEN], given.audio), 2, Noise(5, [3], 2)).frames
    spread = (predicted[:, 0] - predicted[:, 1]).abs().mean()
    assert spread > 1e-4
    for k in range(2):
        noise = Noise(5, [3], 2).normal(TOTAL - 1, 10)[:, k]
        frames = given.frames[:, :SEEN]
        for t in range(SEEN, TOTAL):
            embeddings, skips = network.encode_frames(frames)
            halves = network.frame_decoder.convolve_skips([skip[:, SEEN - 1] for skip in skips])
            posterior, _ = network.posterior(embeddings[:, 1:SEEN])
            prior, _ = network.prior(embeddings)
            z = Gaussian.cat([posterior, prior[:, SEEN - 1 :]]).sample(noise[:, :t])
            hidden, _ = network.predictor(torch.cat([embeddings, z], -1))
            frames = torch.cat([frames, network.decode(hidden[:, -1:], halves)], 1)
        assert (predicted[:, k] - frames[:, SEEN:]).abs().mean() < 1e-2 * spread


@pytest.mark.parametrize("seen", [1, SEEN])
@pytest.mark.parametrize(("skips", "back"), [("last", 1), ("released", 2)])
def test_unseen_frames_have_the_skips_of_one_seen_frame(skips, back, seen):
    network, given = model(skips=skips).eval(), batch()
    calls = []
    original = network.frame_decoder.convolve_skips
    network.frame_decoder.convolve_skips = lambda skips: calls.append(skips) or original(skips)
    network.predict(Context(given.frames[:, :seen], given.audio), 1, Noise(0, [0, 1], 1))
    expected = network.frame_encoder(given.frames[:, max(seen - back, 0)])[1]
    assert len(calls) == 1
    for skip, wanted in zip(calls[0], expected, strict=True):
        torch.testing.assert_close(skip, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changed", range(1, TOTAL))
def test_no_prediction_in_training_depends_on_a_later_frame(changed, lively):
    network, given, other = lively(model()).eval(), batch(), batch(seed=1)
    frames = given.frames.clone()
    frames[:, changed:] = other.frames[:, changed:]
    decodings = []
    for each in (given.frames, frames):
        network.decode = lambda *parts: decodings.append(SVGLP.decode(network, *parts)) or decodings[-1]
        torch.manual_seed(5)
        network.losses(replace(given, frames=each), Progress(0, 0))
    before, after = decodings
    assert before.shape == (2, TOTAL - 1, *SMALL.frame)
    assert torch.equal(before[:, : changed - 1], after[:, : changed - 1])  # predictions of frames 1 .. changed - 1
    assert not torch.equal(before[:, changed - 1], after[:, changed - 1])  # its own posterior has seen it


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skips": "first"}, "unknown skips 'first': choose one of: last, released"),
        ({"latent": 0}, "latent must be at least 1, not 0"),
        ({"beta": float("nan")}, "beta must be finite, not nan"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SVGLPConfig(**settings)


def test_the_error_on_eight_clips_halves_in_60_steps():
    network, given = model(), batch(clips=8)
    (player,) = network.players().values()
    optimizer = torch.optim.Adam(player.parameters, lr=player.learning_rate)
    errors = []
    for step in range(60):
        loss = network.losses(given, Progress(step, 0))["generator"]
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        errors.append(loss.terms["mse"].item())
    assert errors[-1] < errors[0] / 2
