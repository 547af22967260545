"""PUQ's objective against its equation 4, and its truncated normal against scipy and numerical integration."""

import math

import pytest
import torch
from scipy import integrate, stats

from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from baselines.puq import PUQ, PUQConfig, TruncatedNormal
from baselines.sound2sight import Sound2Sight, Sound2SightConfig
from narrow import narrow

SMALL = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
SIZES = {"hidden": 32, "transformer_width": 32}
SEEN, TOTAL = 3, 7
RATIOS = (0.5, 2.0, 5.0)


def model(**settings):
    torch.manual_seed(0)
    with narrow():
        return PUQ(SMALL, PUQConfig(**SIZES, **settings))


def with_varying_precision(network):
    """Return the network with a precision that depends on the variances of z; a new one is almost constant."""
    with torch.no_grad():
        for name, parameter in network.precision.named_parameters():
            if "weight" in name:
                parameter.mul_(12)
        network.precision.delta[-1].bias[0] = 6.0
    return network


def batch(clips=2):
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(clips, TOTAL, *SMALL.frame, generator=generator)
    return Batch(frames, torch.rand(clips, TOTAL, *SMALL.audio, generator=generator), SEEN)


def truncated(ratio, scale=0.7):
    double = torch.float64
    return TruncatedNormal(torch.tensor(ratio * scale, dtype=double), torch.tensor(scale, dtype=double))


@pytest.mark.parametrize("ratio", RATIOS)
def test_truncated_normal_draws_have_scipys_quantiles(ratio):
    ours = truncated(ratio)
    uniform = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    theirs = stats.truncnorm(-ratio, math.inf, loc=ratio * 0.7, scale=0.7)
    draws = ours.sample(uniform)
    assert (draws >= 0).all()
    torch.testing.assert_close(draws.flip(0), torch.from_numpy(theirs.ppf(uniform.numpy())), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("ratio", RATIOS)
def test_gradient_of_the_mean_draw_is_variance_over_squared_scale(ratio):
    location = torch.tensor(ratio * 0.7, dtype=torch.float64, requires_grad=True)
    uniform = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    mean = TruncatedNormal(location, torch.tensor(0.7, dtype=torch.float64)).sample(uniform).mean()
    (gradient,) = torch.autograd.grad(mean, location)
    theirs = stats.truncnorm(-ratio, math.inf, loc=ratio * 0.7, scale=0.7)
    assert mean.item() == pytest.approx(theirs.mean(), abs=1e-4)
    assert gradient.item() == pytest.approx(theirs.var() / 0.7**2, abs=1e-3)


@pytest.mark.parametrize("ratio", [0.0, *RATIOS])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 3.0)])
def test_kl_equals_numerical_integration(ratio, mean, scale):
    ours = truncated(ratio).kl_to_normal(torch.tensor(mean).double(), torch.tensor(scale).double())
    posterior = stats.truncnorm(-ratio, math.inf, loc=ratio * 0.7, scale=0.7)
    prior = stats.norm(mean, scale)
    centre, spread = posterior.mean(), posterior.std()
    expected, _ = integrate.quad(
        lambda s: posterior.pdf(s) * (posterior.logpdf(s) - prior.logpdf(s)), 0, centre + 15 * spread, limit=200
    )
    assert ours.item() == pytest.approx(expected, abs=1e-7)
    assert ours >= 0


def test_kl_of_agreeing_parameters_is_minus_log_of_the_kept_mass():
    for ratio in (0.0, *RATIOS):
        ours = truncated(ratio)
        expected = -stats.norm.logcdf(ratio)
        assert ours.kl_to_normal(ours.location, ours.scale).item() == pytest.approx(expected, abs=1e-12)


def test_kl_far_from_the_cut_is_the_gaussians():
    ours = truncated(40.0)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(ours.location, ours.scale), normal(27.0, 2.0))
    assert ours.kl_to_normal(torch.tensor(27.0), torch.tensor(2.0)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_loss_is_equation_4_term_by_term():
    network, given = with_varying_precision(model(eta2=0.5)).eval(), batch()
    progress = Progress(10, 1)
    torch.manual_seed(3)
    losses = network.losses(given, progress)["generator"]
    torch.manual_seed(3)
    reconstruction = network.generator.reconstruct(given, SEEN)
    posterior = network.precision.posterior(reconstruction.posterior.log_variance)
    s = posterior.sample(torch.rand_like(posterior.location))
    m = network.precision.log_precision(s).exp()
    nested = posterior.kl_to_normal(*network.precision.prior(reconstruction.prior.log_variance))
    expected = torch.zeros(())
    for b in range(2):
        for t in range(TOTAL - SEEN):
            error = ((reconstruction.frames[b, t] - given.frames[b, t + SEEN]) ** 2).mean()
            kl = reconstruction.posterior.kl(reconstruction.prior)[b, t]
            expected = expected + 0.5 * (m[b, t] * error - m[b, t].log()) + 1e-3 * kl + 0.5 * nested[b, t].float()
    expected = expected / 2 + network.gamma(1) / 256 * losses.terms["adversarial"]
    torch.testing.assert_close(losses.total, expected, rtol=1e-4, atol=1e-6)


def test_with_precision_one_the_loss_is_half_the_error_and_the_kl():
    network, given = model(eta2=0.0).eval(), batch()
    with torch.no_grad():
        network.precision.tau[-1].weight.zero_()
        network.precision.tau[-1].bias.zero_()
    losses = network.losses(given, Progress(0, 0))["generator"]
    terms = losses.terms
    assert terms["log_precision"] == 0
    torch.testing.assert_close(losses.total, 0.5 * terms["mse"] + 1e-3 * terms["kl"])


def test_precision_is_initialised_to_its_setting_for_every_frame():
    network = model(initial_log_precision=2.0)
    log_precision, kl = network.infer_precision(network.generator.reconstruct(batch(), SEEN))
    torch.testing.assert_close(log_precision, torch.full_like(log_precision, 2.0), atol=0.01, rtol=0)
    assert kl.max() < 1


def test_training_decodes_the_posteriors_z():
    network, given = model().eval(), batch()
    with torch.no_grad():
        network.generator.posterior_lstm.mean.bias.add_(1.0)
    torch.manual_seed(0)
    moved = network.generator.reconstruct(given, SEEN).frames
    torch.manual_seed(0)
    assert not torch.equal(moved, model().eval().generator.reconstruct(given, SEEN).frames)
    with torch.no_grad():
        network.generator.prior_lstm.mean.bias.add_(1.0)
    torch.manual_seed(0)
    assert torch.equal(moved, network.generator.reconstruct(given, SEEN).frames)


def test_gradients_reach_zeta_and_tau_by_the_data_term_and_delta_by_its_kl_only():
    for eta2, reached in ((0.0, {"zeta", "tau"}), (1e-3, {"zeta", "tau", "delta"})):
        network = model(eta2=eta2)
        network.losses(batch(), Progress(1, 1))["generator"].total.backward()
        parts = {"zeta": network.precision.zeta, "tau": network.precision.tau, "delta": network.precision.delta}
        assert {
            name for name, part in parts.items() if any(p.grad.abs().sum() > 0 for p in part.parameters())
        } == reached


@pytest.mark.parametrize("detach", [False, True])
def test_the_nested_network_has_gradients_for_the_variances_of_z_unless_detached(detach):
    network = model(detach_sigma=detach)
    reconstruction = network.generator.reconstruct(batch(), SEEN)
    log_precision, kl = network.infer_precision(reconstruction)
    variances = reconstruction.posterior.log_variance, reconstruction.prior.log_variance
    for output, moved in ((log_precision, (True, False)), (kl, (True, True))):
        gradients = torch.autograd.grad(output.sum(), variances, retain_graph=True, allow_unused=True)
        found = tuple(gradient is not None and bool(gradient.abs().sum()) for gradient in gradients)
        assert found == ((False, False) if detach else moved)


def test_precision_is_positive_finite_and_one_a_frame():
    log_precision, kl = model().infer_precision(model().generator.reconstruct(batch(), SEEN))
    assert log_precision.shape == kl.shape == (2, TOTAL - SEEN)
    assert torch.isfinite(log_precision.exp()).all()
    assert (kl >= 0).all()


def test_samples_equal_those_of_sound2sight_with_the_same_generator():
    network, given = model().eval(), batch()
    with narrow():
        backbone = Sound2Sight(SMALL, Sound2SightConfig(**SIZES, z_train="posterior")).eval()
    backbone.generator.load_state_dict(network.generator.state_dict())
    predicted = [
        each.predict(Context(given.frames[:, :SEEN], given.audio), 2, Noise(0, [0, 1], 2)).frames
        for each in (network, backbone)
    ]
    assert torch.equal(*predicted)


def test_nested_network_has_the_expected_number_of_parameters():
    count = sum(parameter.numel() for parameter in model().precision.parameters())
    assert count == 2 * 4_994 + 97


def test_precision_learns_which_frames_are_predictable():
    """Frames whose variance in z is high get ten times the error: 1 / m must come to tell them apart."""
    network = model(eta2=1e-4)
    generator = torch.Generator().manual_seed(0)
    hard = torch.arange(64) % 2
    sigma = torch.randn(64, 10, generator=generator) * 0.1 + hard[:, None] * 2.0
    error = torch.where(hard == 1, 0.1, 0.01)
    optimizer = torch.optim.Adam(network.precision.parameters(), lr=1e-2)
    for _ in range(300):
        posterior = network.precision.posterior(sigma)
        s = posterior.sample(torch.rand(64, dtype=torch.float64, generator=generator))
        log_precision = network.precision.log_precision(s)
        loss = (0.5 * (log_precision.exp() * error - log_precision)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    uncertainty = (-log_precision).exp().detach()
    assert uncertainty[hard == 1].mean() > 3 * uncertainty[hard == 0].mean()


def test_the_predicted_variance_is_computed_from_the_prior():
    network, given = with_varying_precision(model()).eval(), batch()
    predicted = network.predict(Context(given.frames[:, :SEEN], given.audio), 3, Noise(0, [0, 1], 3))
    assert predicted.variance.shape == predicted.frames.shape[:3]
    assert ((predicted.variance > math.exp(-10.1)) & (predicted.variance < math.exp(10.1))).all()
    # the first predicted frame's prior depends on what was seen and audio alone, so all samples agree there
    assert torch.equal(predicted.variance[:, :1, 0].expand(-1, 3), predicted.variance[:, :, 0])
    assert predicted.variance.std() > 1e-3 * predicted.variance.mean()  # or the next lines could not tell
    audio = network.generator.encode_audio(given.audio)[:, 1:]
    for sample in range(3):
        before = torch.cat([given.frames[:, :SEEN], predicted.frames[:, sample, :-1]], 1)
        prior, _ = network.generator.infer_prior(network.generator.encode_frames(before)[0], audio)
        s = network.precision.delta(prior.log_variance[:, SEEN - 1 :])[..., 0].clamp(min=0)
        torch.testing.assert_close(predicted.variance[:, sample], 1 / network.precision.tau(s[..., None])[..., 0].exp())
