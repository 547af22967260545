"""Sound2Sight: audio and a few seen frames to future frames.

M. Chatterjee and A. Cherian, "Sound2Sight: Generating Visual Dynamics from Sound and Context", ECCV 2020.
Equations 4 to 7 and Tables 1 and 2 are numbered as in its arXiv preprint, figure 5 as in ECCV's version; section E.5,
figure 9 and Table 11 are in the supplement. Where the released code differs from the paper, the paper is the default;
differences that are settings say "released". Errors are means over pixels, as in the release: see docs/numbers.md.

Indices: t counts frames from 0; frames 0 .. F-1 are seen, T frames are in a clip. Tensors over "steps" have T-1
positions: position t-1 is about the prediction of frame t.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from baselines.layers.audio import AudioEncoder
from baselines.layers.causal import CausalLSTM, CausalTransformer, initialise_attention
from baselines.layers.frame_by_frame import (
    SETTLING,
    FrameByFrame,
    learn_generated_statistics,
    squared_errors,
    sum_over_frames,
)
from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.normalisation import GeneratedStatistics, scaled_momentum
from baselines.layers.recurrent import Gaussian, LatentLSTM, Recurrent, repeat_state
from baselines.predictor import (
    Batch,
    ClipShape,
    Context,
    Loss,
    Noise,
    OwnRate,
    Player,
    Prediction,
    Predictor,
    Progress,
)
from baselines.settings import Count, NonNegative, Probability, WholeNumber
from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked

REAL, FAKE = 1, 0  # the discriminator's classes
RELEASED_GROWTH = (1.0, 5.0, 10.0, 100.0)  # gamma_growth=released: factors of gamma, one every gamma_epochs epochs


@checked
class Sound2SightConfig:
    """The paper's values (section 4, "Implementation Details"), and choices for what it leaves open."""

    embedding: Count = 128  # size of a frame or audio embedding (paper)
    latent: Count = 10  # size of z (paper)
    hidden: Count = 256  # LSTM state (paper)
    transformer_width: Count = 256  # released code; the paper gives no width
    transformer_tanh: bool = True  # a tanh ends each transformer (released code); no equation of the paper has it
    heads: Count = 4  # attention heads (paper)
    feedforward: Count = 128  # transformer feed-forward layer (paper)
    position_dropout: Probability = 0.2  # after the position encoding (released code)
    attention_dropout: Probability = 0.1  # inside the transformer layer (released code)
    history: Count = 2  # R: true frames before the judged one in the discriminator's window (paper); k = 1: none after
    learning_rate: NonNegative = 2e-3  # Adam, generator (paper)
    disc_learning_rate: NonNegative = 2e-3  # Adam, discriminator (paper); released: 2.5e-3
    # of the transformers, or of the LSTMs in their place: a factor of learning_rate, and the number of first steps in
    # which it rises from 0 (ours: see README.md); the paper has neither
    transformer_rate: NonNegative = 1.0
    transformer_warm_up: WholeNumber = 100
    beta: NonNegative = 1e-4  # weight of the KL, a sum over z (paper), against a mean over pixels (released)
    gamma: NonNegative = 1e-4  # weight of the adversarial loss (paper)
    # of squared errors over pixels, which gamma is a weight against: eq. 5 has the sum; released: the mean
    gamma_against: Literal["sum", "mean"] = "sum"
    gamma_epochs: Count = 300  # gamma grows every so many epochs (paper)
    gamma_growth: Literal["paper", "released"] = "paper"  # tenfold each time; released: to 5, 10 and 100 times gamma
    warm_start_epochs: WholeNumber = 1  # first epochs, without adversarial loss (released code; the paper has no word)
    # the z decoded in training: the prior's (eq. 5 and release); posterior: on seen frames at test, too
    z_train: Literal["prior", "posterior"] = "prior"
    score_seen: bool = False  # True: eq. 5 over seen frames, too (released); the paper: unseen ones only
    adversarial: Literal["paper", "released"] = "paper"  # eq. 6 and 7; released: weighted terms, non-saturating
    mismatched_audio: Literal["time", "clip"] = "time"  # of another moment (eq. 6), or of another clip (released)
    init: Literal["balanced", "released"] = "balanced"  # of the generator's weights and z's variance: see balance
    train_disc_encoders: bool = True  # False: the discriminator's encoders are never updated (released)
    # what the paper's ablations leave out; each ablation is a model in baselines/registry.py
    use_audio: bool = True  # False: neither the generator nor the discriminator is given audio
    encoder: Literal["transformer", "lstm"] = "transformer"  # lstm: LSTMs as wide as the embeddings (figure 5a)
    posterior: bool = True  # False: no posterior, so no KL
    # no-aa: without eq. 6's audio alignment; no-aa-md: single frames only (D_std)
    discriminator: Literal["full", "no-aa", "no-aa-md", "none"] = "full"
    # the frame encoder's batch norms have statistics of their own for predicted frames (ours: see README.md); False:
    # those of true frames (released)
    generated_statistics: bool = True
    feed_back_from: WholeNumber = 0  # epoch from which half the batches feed predictions back (Table 11: 100); 0: none

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        """Raise ValueError for settings that do not go together."""
        if self.transformer_width % (2 * self.heads):
            raise ValueError(
                f"transformer_width must be a multiple of 2 x heads, {2 * self.heads}, not {self.transformer_width}"
            )
        if self.z_train == "posterior" and not self.posterior:
            raise ValueError("z_train=posterior needs a posterior: set posterior=true")
        if self.feed_back_from and self.score_seen:
            raise ValueError(f"feed_back_from={self.feed_back_from} trains on unseen frames only: set score_seen=false")
        return self

    @property
    def alignment(self) -> bool:
        """Whether the discriminator judges the alignment of audio and frames (AA)."""
        return self.discriminator == "full" and self.use_audio

    @property
    def motion(self) -> bool:
        """Whether the discriminator judges motion dynamics (MD)."""
        return self.discriminator in ("full", "no-aa")

    @property
    def joint_embedding(self) -> int:
        """The size of a frame's embedding and its audio's together; of the frame's alone without audio."""
        return 2 * self.embedding if self.use_audio else self.embedding


# ---------------------------------------------------------------------------------------------- the generator


@dataclass(frozen=True)
class Reconstruction:
    """The generator's predictions for a batch in training, and the distributions of their z."""

    frames: Tensor  # (B, n, C, H, W): predictions of frames first_scored .. T-1
    prior: Gaussian  # (B, n, latent), of the same frames
    posterior: Gaussian | None  # of the same frames; None for a model without posterior


def causal_encoder(config: Sound2SightConfig) -> CausalTransformer | CausalLSTM:
    """Return a transformer (section 3, eq. 4), or the LSTM that replaces it in figure 5a.

    It has one layer, as "Implementation Details" says; the method section says four.
    """
    if config.encoder == "lstm":
        return CausalLSTM(config.embedding)
    return CausalTransformer(
        embedding=config.embedding,
        width=config.transformer_width,
        heads=config.heads,
        feedforward=config.feedforward,
        position_dropout=config.position_dropout,
        dropout=config.attention_dropout,
        tanh=config.transformer_tanh,
    )


class Generator(FrameByFrame):
    """The prediction network and the multimodal stochastic network."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        self.frame_decoder = FrameDecoder(shape.frame, config.embedding)
        if config.use_audio:
            self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
            self.audio_transformer = causal_encoder(config)
        self.prior_transformer = causal_encoder(config)
        self.prior_lstm = LatentLSTM(config.joint_embedding, config.hidden, config.latent)
        if config.posterior:
            self.posterior_transformer = causal_encoder(config)
            self.posterior_lstm = LatentLSTM(config.joint_embedding, config.hidden, config.latent)
        self.predictor = Recurrent(config.embedding + config.latent, config.hidden, layers=2)
        self.leave_predictor = nn.Linear(config.hidden, config.embedding)
        self.generated_statistics = GeneratedStatistics(self.frame_encoder) if config.generated_statistics else None
        self.decoder_statistics = None

    def encode_audio(self, audio: Tensor) -> Tensor:
        """Return O^A of audio features (B, T, bins, columns): (B, T, embedding), position t from frames 0 .. t.

        Without audio the embeddings have size 0.
        """
        if not self.config.use_audio:
            return audio.new_zeros(*audio.shape[:2], 0)
        embeddings = self.audio_encoder(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])
        return self.audio_transformer(embeddings)[0]

    def infer_prior(self, frames: Tensor, audio: Tensor, caches: Any = (None, None)) -> tuple[Gaussian, Any]:
        """Return p(z) of the n frames that follow the given ones, and the caches for the next call.

        frames: embeddings (N, n, embedding); audio: O^A of the frame after each, (N, n, embedding).
        caches: of the transformer and of the LSTM, as an earlier call returned them.
        """
        encoded, transformer_cache = self.prior_transformer(frames, caches[0])
        prior, lstm_state = self.prior_lstm(torch.cat([encoded, audio], -1), caches[1])
        return prior, (transformer_cache, lstm_state)

    def infer_posterior(self, frames: Tensor, audio: Tensor) -> Gaussian | None:
        """Return q(z) of frames 1 .. T-1; None for a model without posterior.

        frames: embeddings of all frames (B, T, embedding); audio: O^A of frames 1 .. T-1.
        """
        if not self.config.posterior:
            return None
        encoded, _ = self.posterior_transformer(frames)
        return self.posterior_lstm(torch.cat([encoded[:, 1:], audio], -1))[0]

    def reconstruct(self, batch: Batch, first_scored: int, feed_back: bool = False) -> Reconstruction:
        """Return the predictions of frames `first_scored` .. T-1 of a batch, each from the frame before it.

        feed_back: where True, an unseen frame is predicted from predictions instead of true frames. The posterior
        always has the true frames.
        """
        audio = self.encode_audio(batch.audio)[:, 1:]
        total = batch.frames.shape[1]
        # fed back, the encoder and the decoder process one batch per unseen frame
        with scaled_momentum(self, batches=total - batch.seen if feed_back else 1):
            frames, skips = self.encode_frames(batch.frames)
            skips = self.frame_decoder.convolve_skips_of_steps(skips, first_scored, total - 1, batch.seen - 1)
            posterior = self.infer_posterior(frames, audio)
            noise = torch.randn(*audio.shape[:2], self.config.latent, device=frames.device)
            posterior_z = None
            if posterior is not None and self.config.z_train == "posterior":
                posterior_z = posterior.sample(noise)
            if feed_back:
                predicted, prior = self.predict_unseen(frames[:, : batch.seen], audio, skips, noise, posterior_z)
            else:
                prior, _ = self.infer_prior(frames[:, :-1], audio)
                z = prior.sample(noise) if posterior_z is None else posterior_z
                predicted = self.decode_after_each(frames[:, :-1], z, first_scored, skips)
        scored = slice(first_scored - 1, None)
        return Reconstruction(predicted, prior[:, scored], None if posterior is None else posterior[:, scored])

    def predict_unseen(
        self, frames: Tensor, audio: Tensor, skips: list[Tensor], noise: Tensor, given_z: Tensor | None = None
    ) -> tuple[Tensor, Gaussian]:
        """Return samples (B * K, T - F, C, H, W) of the unseen frames, each from its prediction before, and p(z).

        frames: embeddings of the F seen frames, (B, F, embedding); audio: O^A of frames 1 .. T-1, (B, T-1, embedding);
        skips: convolved, of the B clips; noise: of K samples a clip, (B * K, T-1, latent); given_z: z of frames 1 .. n,
        (B * K, n, latent), n = F - 1 or T - 1; every other z is sampled from p(z). The p(z) are those of frames
        1 .. T-1 of every sample.

        The context is encoded once a clip and shared by the clip's K samples.
        """
        seen, samples = frames.shape[1], len(noise) // len(frames)
        prior, (cache, lstm_state) = self.infer_prior(frames, audio[:, :seen])
        # from here on, one row a sample
        prior = prior.repeat_interleave(samples)
        frames, audio = frames.repeat_interleave(samples, 0), audio.repeat_interleave(samples, 0)
        caches = tuple(each.repeat_interleave(samples, 0) for each in cache), repeat_state(lstm_state, samples)
        priors = [prior]
        given_z = noise[:, :0] if given_z is None else given_z
        given = given_z.shape[1]

        def next_z(frame: Tensor, t: int) -> Tensor:
            nonlocal caches
            prior, caches = self.infer_prior(frame, audio[:, t : t + 1], caches)
            priors.append(prior)
            return prior.sample(noise[:, t : t + 1]) if t >= given else given_z[:, t : t + 1]

        z = torch.cat([given_z[:, :seen], prior.sample(noise[:, :seen])[:, given:]], 1)
        predicted = self.roll_out(frames, z, next_z, skips, last=noise.shape[1])
        return predicted, Gaussian.cat(priors)


# ------------------------------------------------------------------------------------------ the discriminator


class Discriminator(nn.Module):
    """The multimodal discriminator: D_std judges single frames, D judges windows of R + 1 frames with their audio."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        if config.motion:
            if config.use_audio:
                self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
            self.recurrent = Recurrent(config.joint_embedding, config.hidden, layers=1)
            self.leave_recurrent = nn.Linear(config.hidden, 2)
        self.standard = nn.Linear(config.embedding, 2)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Return embeddings (B, n, embedding) of frames (B, n, C, H, W)."""
        return self.frame_encoder(frames.flatten(0, 1))[0].unflatten(0, frames.shape[:2])

    def encode_audio(self, audio: Tensor) -> Tensor:
        """Return embeddings (B, n, embedding) of audio features (B, n, bins, columns); of size 0 without audio."""
        if not self.config.use_audio:
            return audio.new_zeros(*audio.shape[:2], 0)
        return self.audio_encoder(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])

    def judge_windows(self, frames: Tensor, audio: Tensor) -> Tensor:
        """Return D's logits (B * n, 2), within [-1, 1], on windows (B, n, R + 1, embedding) of frames and of audio."""
        hidden, _ = self.recurrent(torch.cat([frames, audio], -1).flatten(0, 1))
        return torch.tanh(self.leave_recurrent(hidden[:, -1]).float())

    def judge_frames(self, frames: Tensor) -> Tensor:
        """Return D_std's logits (B * n, 2) on embeddings (B, n, embedding)."""
        return self.standard(frames.flatten(0, 1)).float()


@dataclass(frozen=True)
class DiscriminatorLogits:
    """The discriminator's logits (B * n, 2) for the terms of eq. 6; None for a term that an ablation leaves out."""

    real: Tensor  # D_std on true frames
    fake: Tensor  # D_std on generated frames
    real_motion: Tensor | None = None  # D on a true window with its own audio
    fake_motion: Tensor | None = None  # D on a generated frame in a true window with its own audio
    real_mismatch: Tensor | None = None  # D on a true window with mismatched audio
    fake_mismatch: Tensor | None = None  # D on a generated frame in a true window with mismatched audio


def label_loss(logits: Tensor, label: int) -> Tensor:
    """Return -log p(label), the cross entropy, as a mean over judged frames."""
    return functional.cross_entropy(logits, logits.new_full((len(logits),), label, dtype=torch.long))


def label_losses(label: int, *logits: Tensor | None) -> Tensor:
    """Return the sum of the label's losses over those `logits` that are not None; 0 where all are."""
    losses = [label_loss(each, label) for each in logits if each is not None]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def discriminator_loss(logits: DiscriminatorLogits, form: str) -> Tensor:
    """Return L_adv per judged frame: eq. 6 (form "paper"), or the terms with the released weights ("released")."""
    real = label_losses(REAL, logits.real, logits.real_motion)
    fake = label_losses(FAKE, logits.fake, logits.fake_motion)
    mismatch = label_losses(FAKE, logits.real_mismatch, logits.fake_mismatch)
    return real / 2 + (fake + mismatch) / 8 if form == "released" else real + fake + mismatch


def adversarial_loss(logits: DiscriminatorLogits, form: str) -> Tensor:
    """Return the adversarial part of the generator's loss, which gamma multiplies, per judged frame.

    form "paper": eq. 7's -L_adv, those terms that depend on the generator; "released": the non-saturating loss.
    """
    generated = (logits.fake, logits.fake_motion, logits.fake_mismatch)
    return label_losses(REAL, *generated) / 3 if form == "released" else -label_losses(FAKE, *generated)


def windows(sequence: Tensor, length: int) -> Tensor:
    """Return all windows of `length` consecutive steps: (B, n, d) -> (B, n - length + 1, length, d)."""
    return sequence.unfold(1, length, 1).transpose(2, 3)


# -------------------------------------------------------------------------------------------------- the model


class Sound2Sight(Predictor):
    """Sound2Sight (Chatterjee and Cherian, ECCV 2020): a VAE with an audio-visual prior, and a discriminator."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "AV"
    stochastic = True
    paper = "Chatterjee and Cherian, ECCV 2020"
    needs = frozenset({"seen"})
    settling = SETTLING
    Config: ClassVar[type[Sound2SightConfig]] = Sound2SightConfig

    def __init__(self, shape: ClipShape, config: Sound2SightConfig | None = None) -> None:
        super().__init__()
        self.config = config or self.Config()
        self.generator = Generator(self.config, shape)
        if self.config.discriminator != "none":
            self.discriminator = Discriminator(self.config, shape)
        self.apply(initialise)
        self.apply(initialise_attention)
        if self.config.init == "balanced":
            self.generator.apply(balance)
        self.to(memory_format=torch.channels_last)

    @override
    def players(self) -> dict[str, Player]:
        players = {"generator": self.generator_player(list(self.generator.parameters()))}
        if self.config.discriminator != "none":
            train_all = self.config.train_disc_encoders
            trained = [p for name, p in self.discriminator.named_parameters() if train_all or "encoder" not in name]
            players["discriminator"] = Player(trained, self.config.disc_learning_rate)
        return players

    def generator_player(self, parameters: list[nn.Parameter], clip_norm: float | None = None) -> Player:
        """Return the player that updates `parameters`, the generator's causal encoders at their own learning rate."""
        encoders = [each for each in self.generator.modules() if isinstance(each, CausalTransformer | CausalLSTM)]
        own = OwnRate([parameter for each in encoders for parameter in each.parameters()], self.transformer_factor)
        return Player(parameters, self.config.learning_rate, clip_norm=clip_norm, own_rates=(own,))

    def transformer_factor(self, progress: Progress) -> float:
        """Return the factor of the learning rate of the causal encoders, which rises in the first steps."""
        risen = (progress.step + 1) / self.config.transformer_warm_up if self.config.transformer_warm_up else 1.0
        return self.config.transformer_rate * min(1.0, risen)

    def gamma(self, epoch: int) -> float:
        """Return the weight of the adversarial loss: 0 in the warm start, then growing every `gamma_epochs` epochs."""
        config = self.config
        if epoch < config.warm_start_epochs:
            return 0.0
        if config.gamma_growth == "paper":
            return config.gamma * 10.0 ** (epoch // config.gamma_epochs)
        grown = max(0, epoch - 1) // config.gamma_epochs  # it grows one epoch later than the paper's
        return config.gamma * RELEASED_GROWTH[min(grown, len(RELEASED_GROWTH) - 1)]

    @override
    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Return the losses of eq. 5 to 7: sums over frames, means over clips, pixels and judged frames."""
        first_scored = 1 if self.config.score_seen else batch.seen
        reconstruction = self.generator.reconstruct(batch, first_scored, self.feeds_back(batch, progress))
        terms, variational = self.variational_loss(reconstruction, batch.frames[:, first_scored:])
        if self.config.discriminator == "none":
            return {"generator": Loss(variational, terms)}
        logits = self.discriminate(batch, reconstruction.frames[:, batch.seen - first_scored :])
        judged = len(logits.fake) // len(batch.frames)  # frames of a clip
        adversarial = judged * adversarial_loss(logits, self.config.adversarial)
        # errors are means over pixels, so a weight against their sum is that many times smaller
        pixels = batch.frames[0, 0].numel() if self.config.gamma_against == "sum" else 1
        total = variational + self.gamma(progress.epoch) / pixels * adversarial
        return {
            "generator": Loss(total, {**terms, "adversarial": adversarial}),
            "discriminator": Loss(judged * discriminator_loss(logits, self.config.adversarial)),
        }

    def feeds_back(self, batch: Batch, progress: Progress) -> bool:
        """Return whether this batch is predicted from predictions: from `feed_back_from` on, half the steps are.

        A coin keyed by the step decides, so that all processes that share a batch decide alike. Raises InputError for
        a batch of one clip: a batch norm of one clip's embedding, one frame at a time, would return a constant.
        """
        start = self.config.feed_back_from
        if start and len(batch.frames) < 2:
            raise InputError(
                "feed_back_from needs two training clips a step, of each process: take a dataset with more train "
                "clips, or fewer of several --devices"
            )
        return 0 < start <= progress.epoch and bool(np.random.default_rng(progress.step).random() < 0.5)

    def variational_loss(self, reconstruction: Reconstruction, target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of L_V (eq. 5), and their weighted sum; target: the true frames (B, n, C, H, W)."""
        error = sum_over_frames(squared_errors(reconstruction.frames, target))
        if reconstruction.posterior is None:
            return {"mse": error}, error
        kl = sum_over_frames(reconstruction.posterior.kl(reconstruction.prior))
        return {"mse": error, "kl": kl}, error + self.config.beta * kl

    def discriminate(self, batch: Batch, generated: Tensor) -> DiscriminatorLogits:
        """Return the discriminator's logits on the unseen frames; the R frames before a judged frame are true ones.

        generated: the predictions of all unseen frames, (B, T - F, C, H, W). Where fewer than R frames are seen, the
        first frame with R frames before it is the first that is judged. Raises InputError where no frame has R frames
        before it, or where there is no mismatched audio.
        """
        history = self.config.history if self.config.motion else 0
        if batch.frames.shape[1] <= history:
            raise InputError(f"history={history} leaves no frame to judge in clips of {batch.frames.shape[1]} frames")
        first = max(batch.seen, history)
        real = self.discriminator.encode_frames(batch.frames[:, first - history :])
        fake = self.discriminator.encode_frames(generated[:, first - batch.seen :])
        judge_frames, judge_windows = self.discriminator.judge_frames, self.discriminator.judge_windows
        logits = DiscriminatorLogits(judge_frames(real[:, history:]), judge_frames(fake))
        if not self.config.motion:
            return logits
        audio = windows(self.discriminator.encode_audio(batch.audio[:, first - history :]), history + 1)
        real = windows(real, history + 1)
        fake = torch.cat([real[:, :, :-1], fake[:, :, None]], dim=2)
        logits = replace(logits, real_motion=judge_windows(real, audio), fake_motion=judge_windows(fake, audio))
        if not self.config.alignment:
            return logits
        other = self.mismatch(audio)
        return replace(logits, real_mismatch=judge_windows(real, other), fake_mismatch=judge_windows(fake, other))

    def mismatch(self, audio: Tensor) -> Tensor:
        """Return mismatched audio for windows (B, n, R + 1, d): of another moment t' != t, or of another clip."""
        clips, count = audio.shape[:2]
        if (clips if self.config.mismatched_audio == "clip" else count) < 2:
            what, number = ("clips a batch", clips) if self.config.mismatched_audio == "clip" else ("windows", count)
            raise InputError(f"mismatched_audio={self.config.mismatched_audio} needs two {what} or more, not {number}")
        if self.config.mismatched_audio == "clip":
            return audio.roll(1, dims=0)
        shift = torch.randint(1, count, (clips, count), device=audio.device)
        moment = (torch.arange(count, device=audio.device) + shift) % count
        return audio[torch.arange(clips, device=audio.device)[:, None], moment]

    @override
    def settle(self, batches: Sequence[Batch]) -> None:
        learn_generated_statistics(self, batches)

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        return Prediction(self.sample_frames(context, samples, noise)[0])

    def sample_frames(self, context: Context, samples: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return K = `samples` samples of the unseen frames, (B, K, P, C, H, W), with their z from the prior.

        The z of seen frames are of the kind that is decoded in training. The second tensor holds the priors' log
        variances, (B, K, P, latent).
        """
        generator, seen, total = self.generator, context.seen, context.audio.shape[1]
        z_noise = noise.normal(total - 1, self.config.latent).flatten(0, 1)
        frames, skips = generator.encode_frames(context.frames)
        skips = generator.frame_decoder.convolve_skips([skip[:, -1] for skip in skips])
        audio = generator.encode_audio(context.audio)[:, 1:]
        seen_z = None
        if self.config.z_train == "posterior" and seen > 1:
            posterior = cast(Gaussian, generator.infer_posterior(frames, audio[:, : seen - 1]))
            seen_z = posterior.repeat_interleave(samples).sample(z_noise[:, : seen - 1])
        predicted, prior = generator.predict_unseen(frames, audio, skips, z_noise, seen_z)
        log_variance = prior.log_variance[:, seen - 1 :]
        return predicted.unflatten(0, (-1, samples)), log_variance.unflatten(0, (-1, samples))
