"""Sound2Sight against its paper's equations, its fact sheet's counts, and that nothing depends on later frames."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from baselines.layers.convolutions import HalvingConv2d, UnfoldingConvTranspose2d, WholeConv2d
from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.recurrent import Gaussian
from baselines.predictor import Batch, ClipShape, Context, Noise, Progress
from baselines.sound2sight import (
    Discriminator,
    DiscriminatorLogits,
    Sound2Sight,
    Sound2SightConfig,
    adversarial_loss,
    discriminator_loss,
)
from mmnist_av.system.errors import InputError
from narrow import narrow

SMALL = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
SIZES = {"hidden": 32, "transformer_width": 32}
SEEN, TOTAL = 3, 7


def model(**settings):
    """A small model; what depends on its size is tested with one of the paper's."""
    with narrow():
        return papers_model(**{**SIZES, **settings})


def papers_model(**settings):
    torch.manual_seed(0)
    return Sound2Sight(SMALL, Sound2SightConfig(**settings))


def batch(clips=2, total=TOTAL, seen=SEEN, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.rand(clips, total, *SMALL.frame, generator=generator)
    return Batch(frames, torch.rand(clips, total, *SMALL.audio, generator=generator), seen)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_at_the_papers_sizes_are_the_released_models():
    released = Sound2Sight(ClipShape((1, 48, 48), (23, 21), seen=5, train_frames=20, fps=10))
    assert parameters(released.generator) == 10_854_249
    assert parameters(released.discriminator) == 5_449_604


@pytest.mark.parametrize(("frame", "count"), [((1, 48, 48), 1_837_760), ((3, 64, 64), 3_807_424)])
def test_frame_encoder_has_the_released_parameters_and_embedding_size(frame, count):
    encoder = FrameEncoder(frame, 128)
    embeddings, skips = encoder(torch.rand(2, *frame))
    assert parameters(encoder) == count
    assert embeddings.shape == (2, 128)
    assert [skip.shape[-1] for skip in skips] == [frame[1] >> n for n in range(1, len(skips) + 1)]


@pytest.mark.parametrize(("frame", "count"), [((1, 48, 48), 2_493_761), ((3, 64, 64), 6_562_627)])
def test_frame_decoder_has_the_released_parameters_and_decodes_frames(frame, count):
    decoder = FrameDecoder(frame, 128)
    _, skips = FrameEncoder(frame, 128)(torch.rand(2, *frame))
    outputs = decoder(torch.randn(6, 128), decoder.convolve_skips(skips))
    assert parameters(decoder) == count
    assert outputs.shape == (6, *frame)
    assert ((outputs >= 0) & (outputs <= 1)).all()


def test_frames_of_96_pixels_fit_too():
    decoder = FrameDecoder((3, 96, 96), 128)
    _, skips = FrameEncoder((3, 96, 96), 128)(torch.rand(2, 3, 96, 96))
    assert decoder(torch.randn(2, 128), decoder.convolve_skips(skips)).shape == (2, 3, 96, 96)


def test_decoding_in_two_halves_equals_decoding_the_concatenation():
    decoder = FrameDecoder((1, 16, 16), 128)
    _, skips = FrameEncoder((1, 16, 16), 128)(torch.rand(2, 1, 16, 16))
    outputs = torch.randn(6, 128)
    features = decoder.start(outputs[:, :, None, None])
    for index, (double, skip) in enumerate(zip(decoder.doublings, reversed(skips), strict=True)):
        joined = torch.cat([features, skip.repeat_interleave(3, 0)], 1)
        weight = torch.cat([double.of_features.weight, double.of_skip.weight])
        features = functional.conv_transpose2d(joined, weight, double.of_skip.bias, 2, 1)
        features = decoder.norms[index](features) if index < len(decoder.norms) else torch.sigmoid(features)
    torch.testing.assert_close(decoder(outputs, decoder.convolve_skips(skips)), features, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("fast", "reference", "shape"),
    [
        (HalvingConv2d(3, 5), nn.Conv2d, (2, 3, 9, 4)),
        (HalvingConv2d(3, 5), nn.Conv2d, (2, 3, 6, 7)),
        (WholeConv2d(3, 5, (4, 2)), nn.Conv2d, (2, 3, 4, 2)),
        (UnfoldingConvTranspose2d(3, 5, 6), nn.ConvTranspose2d, (2, 3, 1, 1)),
    ],
)
def test_convolutions_as_matrix_products_equal_torchs(fast, reference, shape):
    features = torch.randn(shape)
    torch.testing.assert_close(fast(features), reference.forward(fast, features), atol=1e-5, rtol=1e-5)


def distributions(network, given):
    reconstruction = network.generator.reconstruct(given, first_scored=1)
    return reconstruction.prior, reconstruction.posterior


@pytest.mark.parametrize("changed", range(1, TOTAL))
def test_prior_ignores_its_own_and_later_frames_and_later_audio(changed, lively):
    """The prior of frame t reads x_{<t} and a_{<=t}; the posterior x_{<=t} as well."""
    network = lively(model()).eval()
    given, other = batch(), batch(seed=1)
    frames, audio = given.frames.clone(), given.audio.clone()
    frames[:, changed:] = other.frames[:, changed:]
    before, before_posterior = distributions(network, given)
    after, after_posterior = distributions(network, replace(given, frames=frames))
    assert torch.equal(before.mean[:, :changed], after.mean[:, :changed])  # steps up to frame `changed`
    assert torch.equal(before_posterior.mean[:, : changed - 1], after_posterior.mean[:, : changed - 1])
    assert not torch.equal(before_posterior.mean[:, changed - 1], after_posterior.mean[:, changed - 1])
    audio[:, changed:] = other.audio[:, changed:]
    after, _ = distributions(network, replace(given, audio=audio))
    assert torch.equal(before.mean[:, : changed - 1], after.mean[:, : changed - 1])
    assert not torch.equal(before.mean[:, changed - 1], after.mean[:, changed - 1])


@pytest.mark.parametrize("changed", range(SEEN, TOTAL))
@pytest.mark.parametrize("z_train", ["prior", "posterior"])
def test_no_prediction_in_training_depends_on_a_later_frame(changed, z_train, lively):
    network = lively(model(z_train=z_train)).eval()
    given, other = batch(), batch(seed=1)
    frames = given.frames.clone()
    frames[:, changed:] = other.frames[:, changed:]
    outputs = []
    for sequence in (given.frames, frames):
        torch.manual_seed(1)
        outputs.append(network.generator.reconstruct(replace(given, frames=sequence), SEEN).frames)
    first = changed - SEEN + (z_train == "prior")  # the posterior of a frame has seen that frame
    assert torch.equal(outputs[0][:, :first], outputs[1][:, :first])
    assert all(not torch.equal(outputs[0][:, t], outputs[1][:, t]) for t in range(first, TOTAL - SEEN))


@pytest.mark.parametrize("changed", range(TOTAL))
def test_predictions_depend_on_all_audio_up_to_their_frame_and_none_after(changed, lively):
    network = lively(model()).eval()
    given = batch()
    audio = given.audio.clone()
    audio[:, changed] += 3
    before, after = (
        network.predict(Context(given.frames[:, :SEEN], features), 2, Noise(0, [0, 1], 2)).frames
        for features in (given.audio, audio)
    )
    first = max(changed - SEEN, 0)
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert not torch.equal(before[:, :, first], after[:, :, first])


@pytest.mark.parametrize("z_train", ["prior", "posterior"])
def test_step_by_step_samples_equal_a_recomputation_over_prefixes(z_train, lively):
    network = lively(papers_model(z_train=z_train)).eval()
    given = batch(clips=1)
    generator = network.generator
    predicted = network.predict(Context(given.frames[:, :SEEN], given.audio), 2, Noise(5, [3], 2)).frames
    spread = (predicted[:, 0] - predicted[:, 1]).abs().mean()
    assert spread > 1e-4
    for k in range(2):
        noise = Noise(5, [3], 2).normal(TOTAL - 1, 10)[:, k]
        frames = given.frames[:, :SEEN]
        for t in range(SEEN, TOTAL):
            embeddings, skips = generator.encode_frames(frames)
            audio = generator.encode_audio(given.audio)[:, 1 : t + 1]
            prior, _ = generator.infer_prior(embeddings, audio)
            z = prior.sample(noise[:, :t])
            if z_train == "posterior":
                posterior = generator.infer_posterior(embeddings[:, :SEEN], audio[:, : SEEN - 1])
                z = torch.cat([posterior.sample(noise[:, : SEEN - 1]), z[:, SEEN - 1 :]], 1)
            hidden, _ = generator.predictor(torch.cat([embeddings, z], -1))
            halves = generator.frame_decoder.convolve_skips([skip[:, SEEN - 1] for skip in skips])
            frame = generator.frame_decoder(torch.tanh(generator.leave_predictor(hidden[:, -1])), halves)
            frames = torch.cat([frames, frame[:, None]], 1)
        assert (predicted[:, k] - frames[:, SEEN:]).abs().mean() < 1e-2 * spread


def test_samples_differ_and_repeat_with_the_seed():
    network, given = model().eval(), batch(clips=1)
    first, again = (
        network.predict(Context(given.frames[:, :SEEN], given.audio), 3, Noise(0, [4], 3)).frames for _ in range(2)
    )
    assert first.shape == (1, 3, TOTAL - SEEN, *SMALL.frame)
    assert ((first >= 0) & (first <= 1)).all()
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 0], first[:, 1])


def test_skips_come_from_the_last_seen_frame_only():
    network, given = model().eval(), batch()
    generator = network.generator
    calls = []
    original = generator.frame_decoder.convolve_skips
    generator.frame_decoder.convolve_skips = lambda skips: calls.append(skips) or original(skips)
    network.predict(Context(given.frames[:, :SEEN], given.audio), 2, Noise(0, [0, 1], 2))
    torch.manual_seed(0)
    generator.reconstruct(given, SEEN)
    expected = generator.frame_encoder(given.frames[:, SEEN - 1])[1]
    assert len(calls) == 2
    for skips in calls:
        for skip, wanted in zip(skips, expected, strict=True):
            torch.testing.assert_close(skip, wanted, atol=1e-5, rtol=1e-4)


def test_kl_is_zero_where_prior_and_posterior_agree_and_equals_torchs_elsewhere():
    mean, log_variance = torch.randn(2, 4, 10), torch.randn(2, 4, 10)
    one = Gaussian(mean, log_variance)
    other = Gaussian(torch.randn(2, 4, 10), torch.randn(2, 4, 10))
    assert torch.equal(one.kl(Gaussian(mean.clone(), log_variance.clone())), torch.zeros(2, 4))
    normal = [torch.distributions.Normal(each.mean, (0.5 * each.log_variance).exp()) for each in (one, other)]
    torch.testing.assert_close(one.kl(other), torch.distributions.kl_divergence(*normal).sum(-1))
    assert (one.kl(other) > 0).all()


def test_kl_of_the_model_is_zero_with_prior_equal_to_posterior():
    network, given = model().eval(), batch()
    with torch.no_grad():
        for head in (network.generator.prior_lstm, network.generator.posterior_lstm):
            for linear in (head.mean, head.log_variance):
                linear.weight.zero_()
                linear.bias.fill_(0.3)
    torch.manual_seed(0)
    losses = network.losses(given, Progress(0, 0))
    assert losses["generator"].terms["kl"] == 0


@pytest.mark.parametrize(
    ("epoch", "gamma"), [(0, 0.0), (1, 1e-4), (299, 1e-4), (300, 1e-3), (599, 1e-3), (600, 1e-2), (900, 1e-1)]
)
def test_gamma_grows_tenfold_every_300_epochs_after_a_warm_start(epoch, gamma):
    assert model().gamma(epoch) == pytest.approx(gamma)


@pytest.mark.parametrize(
    ("epoch", "gamma"),
    [(0, 0.0), (1, 1e-4), (300, 1e-4), (301, 5e-4), (600, 5e-4), (601, 1e-3), (900, 1e-3), (901, 1e-2), (1300, 1e-2)],
)
def test_gamma_grows_as_released_where_its_setting_says_so(epoch, gamma):
    assert model(gamma_growth="released").gamma(epoch) == pytest.approx(gamma)


def random_logits(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return DiscriminatorLogits(*(torch.randn(5, 2, generator=generator) for _ in range(6)))


def test_paper_losses_are_equations_6_and_7_term_by_term():
    given = random_logits()
    probability = {name: torch.softmax(logits, 1)[:, 1] for name, logits in vars(given).items()}
    real = [torch.log(probability[name]).mean() for name in ("real", "real_motion")]
    fake = [
        torch.log(1 - probability[name]).mean() for name in ("real_mismatch", "fake", "fake_motion", "fake_mismatch")
    ]
    torch.testing.assert_close(discriminator_loss(given, "paper"), -sum(real + fake))
    torch.testing.assert_close(adversarial_loss(given, "paper"), sum(fake[1:]))


@pytest.mark.parametrize("missing", [("real_mismatch", "fake_mismatch"), tuple(vars(random_logits()))[2:]])
def test_terms_that_an_ablation_lacks_are_left_out_of_the_sum(missing):
    given = replace(random_logits(), **dict.fromkeys(missing))
    there = {name: torch.softmax(logits, 1)[:, 1] for name, logits in vars(given).items() if logits is not None}
    real = [torch.log(p).mean() for name, p in there.items() if name in ("real", "real_motion")]
    fake = {name: torch.log(1 - p).mean() for name, p in there.items() if name not in ("real", "real_motion")}
    torch.testing.assert_close(discriminator_loss(given, "paper"), -sum(real + list(fake.values())))
    moved = [value for name, value in fake.items() if name != "real_mismatch"]
    torch.testing.assert_close(adversarial_loss(given, "paper"), sum(moved))


@pytest.mark.parametrize(
    ("discriminator", "judged"),
    [
        ("full", {"real", "fake", "real_motion", "fake_motion", "real_mismatch", "fake_mismatch"}),
        ("no-aa", {"real", "fake", "real_motion", "fake_motion"}),
        ("no-aa-md", {"real", "fake"}),
    ],
)
def test_each_discriminator_has_the_logits_of_its_ablation(discriminator, judged):
    fakes = torch.rand(2, TOTAL - SEEN, *SMALL.frame)
    network = model(discriminator=discriminator)
    found = network.discriminate(batch(), fakes)
    assert {name for name, logits in vars(found).items() if logits is not None} == judged
    assert len(found.real) == len(found.fake) == 2 * (TOTAL - SEEN)


def test_a_discriminator_without_audio_does_not_judge_alignment():
    found = model(use_audio=False).discriminate(batch(), torch.rand(2, TOTAL - SEEN, *SMALL.frame))
    assert found.real_motion is not None
    assert found.real_mismatch is None


def test_only_l2_is_the_squared_error_alone():
    network, given = model(posterior=False, discriminator="none").eval(), batch()
    torch.manual_seed(4)
    losses = network.losses(given, Progress(0, 9))
    torch.manual_seed(4)
    outputs = network.generator.reconstruct(given, SEEN).frames
    squared = sum(
        ((outputs[b, t] - given.frames[b, t + SEEN]) ** 2).sum() / 256 for b in range(2) for t in range(TOTAL - SEEN)
    )
    assert losses.keys() == {"generator"}
    torch.testing.assert_close(losses["generator"].total, squared / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("z_train", ["prior", "posterior"])
def test_fed_back_predictions_equal_a_recomputation_over_prefixes(z_train, lively):
    network, given = lively(model(z_train=z_train)).eval(), batch(clips=1)
    generator = network.generator
    torch.manual_seed(6)
    fed = generator.reconstruct(given, SEEN, feed_back=True)
    torch.manual_seed(6)
    noise = torch.randn(1, TOTAL - 1, 10)
    embeddings_of_true, skips = generator.encode_frames(given.frames)
    audio = generator.encode_audio(given.audio)[:, 1:]
    posterior = generator.infer_posterior(embeddings_of_true, audio)
    halves = generator.frame_decoder.convolve_skips([skip[:, SEEN - 1] for skip in skips])
    frames, scored = given.frames[:, :SEEN], []
    for t in range(1, TOTAL):
        embeddings, _ = generator.encode_frames(frames[:, :t])
        prior, _ = generator.infer_prior(embeddings, audio[:, :t])
        source = prior if z_train == "prior" else posterior[:, :t]
        hidden, _ = generator.predictor(torch.cat([embeddings, source.sample(noise[:, :t])], -1))
        scored.append(generator.decode(hidden[:, -1:], halves))
        if t >= SEEN:
            frames = torch.cat([frames, scored[-1]], 1)
    expected = torch.cat(scored[SEEN - 1 :], 1)
    torch.manual_seed(7)
    spread = (generator.reconstruct(given, SEEN, feed_back=True).frames - expected).abs().mean()  # by other noise
    assert fed.frames.shape == expected.shape
    assert spread > 1e-4
    assert (fed.frames - expected).abs().mean() < 1e-2 * spread
    torch.testing.assert_close(fed.prior.mean, prior.mean[:, SEEN - 1 :], atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(fed.posterior.mean, posterior.mean[:, SEEN - 1 :], atol=1e-5, rtol=1e-4)


def test_fed_back_predictions_do_not_depend_on_unseen_frames(lively):
    network, given, other = lively(model()).eval(), batch(), batch(seed=1)
    frames = given.frames.clone()
    frames[:, SEEN:] = other.frames[:, SEEN:]
    outputs = []
    for each in (given, replace(given, frames=frames)):
        torch.manual_seed(6)
        outputs.append(network.generator.reconstruct(each, SEEN, feed_back=True).frames)
    assert torch.equal(*outputs)


def test_predictions_are_fed_back_in_half_the_batches_after_the_start_epoch():
    network, never, given = model(feed_back_from=100), model(), batch()
    assert not any(network.feeds_back(given, Progress(step, 99)) for step in range(100))
    coins = [network.feeds_back(given, Progress(step, 100)) for step in range(1000)]
    assert sum(coins) / 1000 == pytest.approx(0.5, abs=0.05)
    torch.manual_seed(9)
    assert coins == [network.feeds_back(given, Progress(step, 200)) for step in range(1000)]  # whatever torch's seed
    assert not any(never.feeds_back(given, Progress(step, 1000)) for step in range(100))
    with pytest.raises(InputError, match="feed_back_from needs two training clips a step, of each process: take"):
        network.losses(batch(clips=1), Progress(0, 0))


def test_feeding_back_trains_all_weights_and_changes_running_statistics_as_one_batch_does():
    network, given = model(feed_back_from=1), batch()
    step = next(step for step in range(100) if network.feeds_back(given, Progress(step, 1)))
    norms = network.generator.frame_decoder.norms[0][0], network.generator.frame_encoder.halvings[0][1]
    before = [norm.running_var.clone() for norm in norms]
    losses = network.losses(given, Progress(step, 1))
    gradients = torch.autograd.grad(losses["generator"].total, network.players()["generator"].parameters)
    names = [name for name, _ in network.generator.named_parameters()]
    assert not [name for name, g in zip(names, gradients, strict=True) if not g.any() and "bias" not in name]
    for norm, variance in zip(norms, before, strict=True):
        assert norm.momentum == 0.1
        assert norm.num_batches_tracked == TOTAL - SEEN
        assert (norm.running_var > 0.9 * variance).all()  # what one batch leaves of them; 4 batches leave 0.66


@pytest.mark.parametrize("changed", range(1, SEEN + 1))
def test_scored_seen_frames_have_the_skips_of_the_frame_before_them(changed, lively):
    network, given, other = lively(model()).eval(), batch(), batch(seed=1)
    frames = given.frames.clone()
    frames[:, changed:] = other.frames[:, changed:]
    outputs = []
    for each in (given.frames, frames):
        torch.manual_seed(6)
        outputs.append(network.generator.reconstruct(replace(given, frames=each), 1).frames)
    assert torch.equal(outputs[0][:, :changed], outputs[1][:, :changed])  # predictions of frames 1 .. changed
    assert not torch.equal(outputs[0][:, changed], outputs[1][:, changed])


@pytest.mark.parametrize("settings", [{"encoder": "lstm"}, {"feed_back_from": 1}])
def test_bfloat16_has_finite_gradients_in_the_ablations_too(settings):
    network, given = model(**settings), batch()
    late = (Progress(step, 1) for step in range(100))
    chosen = next(each for each in late if network.feeds_back(given, each) == ("feed_back_from" in settings))
    with torch.autocast("cpu", torch.bfloat16):
        loss = network.losses(given, chosen)["generator"].total
    assert loss.dtype == torch.float32
    gradients = torch.autograd.grad(loss, network.players()["generator"].parameters)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_released_losses_have_the_released_weights():
    given = random_logits()
    loss = {
        name: [functional.cross_entropy(logits, torch.full((5,), label)) for label in (0, 1)]
        for name, logits in vars(given).items()
    }
    real = loss["real"][1] + loss["real_motion"][1]
    rest = sum(loss[name][0] for name in ("fake", "fake_motion", "real_mismatch", "fake_mismatch"))
    torch.testing.assert_close(discriminator_loss(given, "released"), real / 2 + rest / 8)
    generator = sum(loss[name][1] for name in ("fake", "fake_motion", "fake_mismatch")) / 3
    torch.testing.assert_close(adversarial_loss(given, "released"), generator)


@pytest.mark.parametrize(("gamma_against", "pixels"), [("sum", 256), ("mean", 1)])
@pytest.mark.parametrize("score_seen", [False, True])
def test_generator_loss_is_the_weighted_sum_over_frames(score_seen, gamma_against, pixels):
    network, given = model(score_seen=score_seen, gamma_against=gamma_against, beta=0.5, gamma=30.0).eval(), batch()
    torch.manual_seed(4)
    losses = network.losses(given, Progress(1, 1))
    torch.manual_seed(4)
    first = 1 if score_seen else SEEN
    reconstruction = network.generator.reconstruct(given, first)
    squared = sum(
        ((reconstruction.frames[b, t] - given.frames[b, t + first]) ** 2).sum() / 256
        for b in range(2)
        for t in range(TOTAL - first)
    )
    kl = reconstruction.posterior.kl(reconstruction.prior).sum() / 2
    expected = squared / 2 + 0.5 * kl + 30 / pixels * losses["generator"].terms["adversarial"]
    torch.testing.assert_close(losses["generator"].total, expected, rtol=1e-4, atol=1e-6)


def test_no_adversarial_term_in_the_warm_start():
    network, given = model().eval(), batch()
    totals = []
    for epoch in (0, 1):
        torch.manual_seed(4)
        loss = network.losses(given, Progress(0, epoch))["generator"]
        totals.append((loss.total, loss.terms))
    assert totals[0][0] == totals[0][1]["mse"] + 1e-4 * totals[0][1]["kl"]
    assert totals[1][0] != totals[0][0]


def weights_with_gradient(network, player):
    """Names of the weights (biases before a norm have no effect) that the player's own gradient reaches."""
    loss = network.losses(batch(), Progress(1, 1))[player].total
    gradients = torch.autograd.grad(loss, network.players()[player].parameters)
    moved = {id(p) for p, g in zip(network.players()[player].parameters, gradients, strict=True) if g.abs().sum() > 0}
    return {name for name, value in network.named_parameters() if id(value) in moved and "bias" not in name}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_each_players_loss_has_a_gradient_for_all_its_weights(player):
    network = model()
    own = {name for name, _ in network.named_parameters() if name.startswith(player) and "bias" not in name}
    assert weights_with_gradient(network, player) == own


@pytest.mark.parametrize("encoder", ["transformer", "lstm"])
def test_transformers_or_the_lstms_in_their_place_alone_have_their_own_learning_rate(encoder):
    network = model(transformer_rate=0.5, transformer_warm_up=10, encoder=encoder)
    (own,) = network.players()["generator"].own_rates
    names = {name for name, value in network.named_parameters() if any(value is each for each in own.parameters)}
    assert names == {name for name, _ in network.named_parameters() if "_transformer." in name}  # whatever they are
    assert not network.players()["discriminator"].own_rates


@pytest.mark.parametrize(("warm_up", "factors"), [(10, (0.05, 0.25, 0.5, 0.5)), (0, (0.5, 0.5, 0.5, 0.5))])
def test_the_transformers_rate_rises_in_the_first_steps(warm_up, factors):
    network = model(transformer_rate=0.5, transformer_warm_up=warm_up)
    (own,) = network.players()["generator"].own_rates
    assert [own.factor(Progress(step, 0)) for step in (0, 4, 9, 700)] == pytest.approx(factors)


def test_players_share_no_weight_and_leave_none_out():
    network = model()
    players = [{id(p) for p in player.parameters} for player in network.players().values()]
    assert not players[0] & players[1]
    assert players[0] | players[1] == {id(p) for p in network.parameters()}


def test_released_discriminator_encoders_are_not_trained():
    moved = weights_with_gradient(model(train_disc_encoders=False), "discriminator")
    assert moved
    assert not any("encoder" in name for name in moved)


def test_bfloat16_networks_give_float32_losses_near_those_of_float32():
    network, given = model().eval(), batch()
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = network.losses(given, Progress(1, 1))
        found.append([losses[player].total for player in ("generator", "discriminator")])
        found[-1] += [losses["generator"].terms["mse"], losses["generator"].terms["kl"]]
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        torch.testing.assert_close(exact, rounded, rtol=0.05, atol=1e-4)


def test_mismatched_audio_is_of_another_moment_of_the_same_clip_or_of_another_clip():
    audio = torch.arange(3 * 4).float().view(3, 4, 1, 1).expand(3, 4, 3, 2)
    torch.manual_seed(0)
    in_time = model().mismatch(audio)
    assert (in_time != audio).all()
    assert (in_time // 4 == audio // 4).all()
    assert torch.equal(model(mismatched_audio="clip").mismatch(audio), audio[[2, 0, 1]])


def test_discriminator_window_of_frame_t_holds_frames_t_minus_2_to_t():
    network = model().eval()
    given = batch()
    windows = []
    original = Discriminator.judge_windows
    network.discriminator.judge_windows = lambda frames, audio: (
        windows.append((frames, audio)) or original(network.discriminator, frames, audio)
    )
    fakes = torch.rand(2, TOTAL - SEEN, *SMALL.frame)
    network.discriminate(given, fakes)
    real, fake = windows[0][0], windows[1][0]
    frames = network.discriminator.encode_frames(given.frames)
    audio = network.discriminator.encode_audio(given.audio)
    outputs = network.discriminator.encode_frames(fakes)
    for n, t in enumerate(range(SEEN, TOTAL)):
        torch.testing.assert_close(real[:, n], frames[:, t - 2 : t + 1])
        torch.testing.assert_close(windows[0][1][:, n], audio[:, t - 2 : t + 1])
        torch.testing.assert_close(fake[:, n, :2], frames[:, t - 2 : t])
        torch.testing.assert_close(fake[:, n, 2], outputs[:, n])


def test_the_error_on_eight_clips_halves_in_60_steps():
    network = model()
    given = batch(clips=8, total=5, seen=2)
    optimizer = torch.optim.Adam(network.players()["generator"].parameters, lr=2e-3)
    errors = []
    for step in range(60):
        loss = network.losses(given, Progress(step, 0))["generator"]
        optimizer.zero_grad()
        loss.total.backward(inputs=network.players()["generator"].parameters)
        optimizer.step()
        errors.append(loss.terms["mse"].item())
    assert errors[-1] < errors[0] / 2


def test_frames_that_do_not_halve_evenly_are_refused():
    with pytest.raises(InputError, match="halve evenly"):
        FrameEncoder((1, 50, 50), 128)


def test_the_balanced_initialisation_keeps_the_scale_of_embeddings_and_the_released_one_does_not():
    strengths = {}
    for init in ("balanced", "released"):
        generator = papers_model(init=init).generator
        codes = torch.tanh(torch.randn(64, 5, 138))
        strengths[init] = torch.tanh(generator.leave_predictor(generator.predictor(codes)[0])).std() / codes.std()
    assert strengths["balanced"] > 0.05
    assert strengths["released"] < strengths["balanced"] / 5


def test_clips_without_a_frame_to_judge_or_audio_to_mismatch_are_refused():
    with pytest.raises(InputError, match="history=7 leaves no frame to judge in clips of 7 frames"):
        model(history=7).losses(batch(), Progress(0, 0))
    with pytest.raises(InputError, match="mismatched_audio=time needs two windows or more, not 1"):
        model(history=6).losses(batch(), Progress(0, 0))
    with pytest.raises(InputError, match="mismatched_audio=clip needs two clips a batch or more, not 1"):
        model(mismatched_audio="clip").mismatch(torch.zeros(1, 4, 3, 2))


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="unknown z_train 'both': choose one of: posterior, prior"):
        Sound2SightConfig(z_train="both")
    with pytest.raises(InputError, match="unknown discriminator 'half': choose one of: full, no-aa, no-aa-md, none"):
        Sound2SightConfig(discriminator="half")
    with pytest.raises(InputError, match="z_train=posterior needs a posterior: set posterior=true"):
        Sound2SightConfig(z_train="posterior", posterior=False)
    with pytest.raises(InputError, match="feed_back_from=1 trains on unseen frames only: set score_seen=false"):
        Sound2SightConfig(feed_back_from=1, score_seen=True)
