"""Sound2Sight: audio and a few seen frames to future frames.

M. Chatterjee and A. Cherian, "Sound2Sight: Generating Visual Dynamics from Sound and Context", ECCV 2020.
Equations 4 to 7 and Tables 1 and 2 are numbered as in its arXiv preprint, figure 5 as in ECCV's version, section E.5,
figure 9 and Table 11 are the supplement's. Where the released code departs from the paper, the paper is the default;
the departures that are settings say "released". Errors are means over pixels, as released, where eq. 5 has a sum: the
paper's beta and gamma only make sense against a mean.

Indices: t counts frames from 0; frames 0 .. F-1 are seen. Position t-1 of a sequence of "steps" is about frame t.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.normalisation import gently
from baselines.layers.recurrent import Gaussian, LatentLSTM, Recurrent
from baselines.layers.sound import AudioEncoder
from baselines.predictor import Batch, ClipShape, Context, Loss, Noise, Player, Prediction, Predictor, Progress
from mmnist_av.system.errors import InputError

REAL, FAKE = 1, 0
Past = tuple[Any, Any]  # what a causal encoder and an LSTM need to go on: a pair of tensors each, or None


@dataclass(frozen=True)
class Sound2SightConfig:
    """The paper's values (section 4, "Implementation Details") and what it leaves open."""

    embedding: int = 128  # size of a frame or audio embedding (paper)
    latent: int = 10  # size of z (paper)
    hidden: int = 256  # LSTM state (paper)
    transformer_width: int = 256  # released code; the paper gives no width
    heads: int = 4  # attention heads (paper)
    feedforward: int = 128  # transformer feed-forward layer (paper)
    position_dropout: float = 0.2  # after the position encoding (released code)
    attention_dropout: float = 0.1  # inside the transformer layer (released code)
    history: int = 2  # R: real frames before the judged one that the discriminator sees (paper); k = 1, no look-ahead
    learning_rate: float = 2e-3  # Adam, generator (paper)
    disc_learning_rate: float = 2e-3  # Adam, discriminator (paper); released: 2.5e-3
    transformer_rate: float = 0.1  # of learning_rate, what transformers learn at (ours: see README.md); 1: the paper
    beta: float = 1e-4  # weight of the KL (paper), against a mean over pixels and a sum over z
    gamma: float = 1e-4  # weight of the adversarial loss (paper)
    gamma_epochs: int = 300  # gamma grows tenfold every so many epochs (paper)
    warm_start_epochs: int = 1  # epochs before the adversarial loss counts (released code; the paper is silent)
    z_train: str = "prior"  # whose z is decoded in training: prior (eq. 5 and release) or posterior
    score_seen: bool = False  # eq. 5 also over seen frames (released, which judges them too); the paper: unseen only
    adversarial: str = "paper"  # paper: eq. 6 and 7; released: weighted terms, non-saturating generator
    mismatched_audio: str = "time"  # time: another moment of the clip (eq. 6); clip: another clip's audio (released)
    init: str = "balanced"  # of the generator, and of z's variance (see balance); released; the paper is silent
    train_disc_encoders: bool = True  # False: the discriminator's encoders never learn (released)
    # what the paper's ablations take away; each is a model of its own name, too (see the end of this file)
    hears: bool = True  # False: neither the generator nor the discriminator has any sound
    encoder: str = "transformer"  # of what was seen and heard; lstm: LSTMs as wide as the embeddings (figure 5a)
    posterior: bool = True  # False: no posterior, so no KL
    discriminator: str = "full"  # no-aa: without eq. 6's alignment; no-aa-md: D_std alone; none
    feed_back_from: int = 0  # the epoch from which half the batches feed predictions back (Table 11: 100); 0: never

    def __post_init__(self) -> None:
        choices = {
            "encoder": ("transformer", "lstm"),
            "discriminator": ("full", "no-aa", "no-aa-md", "none"),
            "z_train": ("prior", "posterior"),
            "adversarial": ("paper", "released"),
            "mismatched_audio": ("time", "clip"),
            "init": ("balanced", "released"),
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise InputError(f"{name} must be one of {', '.join(valid)}, not '{getattr(self, name)}'")
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise InputError(f"{name} must be finite and not negative, {value} is")
        sizes = (
            "embedding",
            "latent",
            "hidden",
            "transformer_width",
            "heads",
            "feedforward",
            "history",
            "gamma_epochs",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1")
        for name in ("position_dropout", "attention_dropout"):
            if getattr(self, name) >= 1:
                raise InputError(f"{name} must be below 1, not {getattr(self, name)}")
        if self.transformer_width % (2 * self.heads):
            raise InputError(
                f"transformer_width {self.transformer_width} is not a multiple of twice heads, {self.heads}"
            )
        if self.z_train == "posterior" and not self.posterior:
            raise InputError("z_train=posterior needs a posterior: set posterior=true")
        if self.feed_back_from and self.score_seen:
            raise InputError("feed_back_from predicts unseen frames from one another: it needs score_seen=false")

    @property
    def alignment(self) -> bool:
        """Whether the discriminator judges the alignment of sound and frames (AA)."""
        return self.discriminator == "full" and self.hears

    @property
    def motion(self) -> bool:
        """Whether the discriminator judges motion dynamics (MD)."""
        return self.discriminator in ("full", "no-aa")

    @property
    def modalities(self) -> int:
        """Embeddings that come together in a step: of frame and sound, or of the frame alone."""
        return 2 if self.hears else 1


# ------------------------------------------------------------------------------------- the stochastic network


class CausalTransformer(nn.Module):
    """A transformer encoder whose output at position t has seen inputs 0 .. t only (section 3, eq. 4).

    One post-norm layer, as "Implementation Details" has it (the method section speaks of four).
    """

    def __init__(self, config: Sound2SightConfig) -> None:
        super().__init__()
        width = config.transformer_width
        self.width, self.heads, self.dropout = width, config.heads, config.attention_dropout
        self.widen = nn.Linear(config.embedding, width)
        self.position_dropout = nn.Dropout(config.position_dropout)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(config.feedforward, width),
        )
        self.feedforward_norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, config.embedding)

    def positions(self, first: int, count: int, device: torch.device) -> Tensor:
        """Sinusoidal position encodings of `count` positions from `first` on: (count, width)."""
        position = torch.arange(first, first + count, device=device, dtype=torch.float32)[:, None]
        frequency = 10000.0 ** (-torch.arange(0, self.width, 2, device=device, dtype=torch.float32) / self.width)
        angle = position * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)

    def forward(self, embeddings: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple]:
        """Encode (N, n, embedding), the positions after `past`; returns the same shape, and the past for the next call.

        past: keys and values (N, heads, positions so far, width / heads) of an earlier call; then n must be 1.
        """
        first = 0 if past is None else past[0].shape[2]
        wide = functional.leaky_relu(self.widen(embeddings), 0.01) * self.width**0.5
        inputs = self.position_dropout(wide + self.positions(first, embeddings.shape[1], embeddings.device))
        attended, past = self.attend(inputs, past)
        hidden = self.attention_norm(inputs + functional.dropout(attended, self.dropout, self.training))
        fed = functional.dropout(self.feedforward(hidden), self.dropout, self.training)
        return torch.tanh(self.narrow(self.feedforward_norm(hidden + fed))), past

    def attend(self, inputs: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Causal multi-head self-attention over inputs (N, n, width) and the past."""
        split = self.attention_in(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=past is None)
        return self.attention_out(mixed.transpose(1, 2).flatten(2)), (key, value)


class CausalLSTM(nn.Module):
    """What figure 5a puts in a transformer's place: an LSTM as wide as the embeddings."""

    def __init__(self, config: Sound2SightConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.embedding, config.embedding, batch_first=True)

    def forward(self, embeddings: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple]:
        """Encode (N, n, embedding), the positions after `past`; returns the same shape, and the past for the next call.

        past: hidden and cell (N, 1, embedding) of an earlier call.
        """
        state = None if past is None else tuple(each.transpose(0, 1).contiguous() for each in past)
        hidden, state = self.lstm(embeddings, state)
        return hidden, tuple(each.transpose(0, 1) for each in state)


def initialise_attention(module: nn.Module) -> None:
    """Attention's packed projection begins as torch's own does: Xavier's."""
    if isinstance(module, CausalTransformer):
        nn.init.xavier_uniform_(module.attention_in.weight)


# ---------------------------------------------------------------------------------------------- the players


@dataclass(frozen=True)
class Reconstruction:
    """What the generator makes of a batch in training."""

    frames: Tensor  # (B, predicted, C, H, W): the predictions of frames first_scored .. T-1
    prior: Gaussian  # of the same frames
    posterior: Gaussian | None  # of the same frames, where there is one


class Generator(nn.Module):
    """The prediction network and the multimodal stochastic network."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        encoder = CausalTransformer if config.encoder == "transformer" else CausalLSTM
        joint = config.modalities * config.embedding
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        self.frame_decoder = FrameDecoder(shape.frame, config.embedding)
        if config.hears:
            self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
            self.audio_transformer = encoder(config)
        self.prior_transformer = encoder(config)
        self.prior_lstm = LatentLSTM(joint, config.hidden, config.latent)
        if config.posterior:
            self.posterior_transformer = encoder(config)
            self.posterior_lstm = LatentLSTM(joint, config.hidden, config.latent)
        self.predictor = Recurrent(config.embedding + config.latent, config.hidden, layers=2)
        self.leave_predictor = nn.Linear(config.hidden, config.embedding)

    def encode_frames(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, n, C, H, W) -> embeddings (B, n, embedding) and skips (B, n, ...)."""
        embeddings, skips = self.frame_encoder(frames.flatten(0, 1))
        return embeddings.unflatten(0, frames.shape[:2]), [skip.unflatten(0, frames.shape[:2]) for skip in skips]

    def encode_audio(self, audio: Tensor) -> Tensor:
        """O^A: (B, T, bins, columns) -> (B, T, embedding); position t has heard frames 0 .. t. Deaf: of width 0."""
        if not self.config.hears:
            return audio.new_zeros(*audio.shape[:2], 0)
        embeddings = self.audio_encoder(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])
        return self.audio_transformer(embeddings)[0]

    def infer_prior(self, frames: Tensor, heard: Tensor, past: Past = (None, None)) -> tuple[Gaussian, Past]:
        """p(z): embeddings of frames (N, n, embedding), and O^A of the frames after each -> n distributions.

        past: of the transformer and the LSTM, as an earlier call returned it.
        """
        watched, of_transformer = self.prior_transformer(frames, past[0])
        prior, of_lstm = self.prior_lstm(torch.cat([watched, heard], -1), past[1])
        return prior, (of_transformer, of_lstm)

    def infer_posterior(self, frames: Tensor, heard: Tensor) -> Gaussian | None:
        """q(z) of steps 1 .. T-1: embeddings of all frames (B, T, embedding), O^A of frames 1 .. T-1."""
        if not self.config.posterior:
            return None
        watched, _ = self.posterior_transformer(frames)
        return self.posterior_lstm(torch.cat([watched[:, 1:], heard], -1))[0]

    def reconstruct(self, batch: Batch, first_scored: int, feed_back: bool = False) -> Reconstruction:
        """Predict every frame of the batch from the frame before it: the true one, or if fed back the predicted one.

        See Reconstruction. The posterior always sees the true frames.
        """
        heard = self.encode_audio(batch.audio)[:, 1:]
        unseen = batch.frames.shape[1] - batch.seen
        with gently(self, passes=unseen if feed_back else 1):  # of the frame encoder, and of the decoder
            frames, skips = self.encode_frames(batch.frames)
            halves = self.frame_decoder.of_steps(skips, first_scored, frames.shape[1] - 1, batch.seen - 1)
            posterior = self.infer_posterior(frames, heard)
            noise = torch.randn(*heard.shape[:2], self.config.latent, device=frames.device)
            drawn = posterior.sample(noise) if posterior is not None and self.config.z_train == "posterior" else None
            if feed_back:
                decoded, prior = self.roll_out(frames[:, : batch.seen], heard, halves, noise, drawn)
            else:
                prior, _ = self.infer_prior(frames[:, :-1], heard)
                z = prior.sample(noise) if drawn is None else drawn
                hidden, _ = self.predictor(torch.cat([frames[:, :-1], z], -1))
                decoded = self.decode(hidden[:, first_scored - 1 :], halves)
        scored = slice(first_scored - 1, None)
        return Reconstruction(decoded, prior[:, scored], None if posterior is None else posterior[:, scored])

    def decode(self, hidden: Tensor, halves: list[Tensor]) -> Tensor:
        """The predictor's hidden states (N, n, hidden) to frames (N, n, C, H, W)."""
        outputs = torch.tanh(self.leave_predictor(hidden))
        return self.frame_decoder(outputs.flatten(0, 1), halves).unflatten(0, outputs.shape[:2])

    def roll_out(
        self, frames: Tensor, heard: Tensor, halves: list[Tensor], noise: Tensor, drawn: Tensor | None = None
    ) -> tuple[Tensor, Gaussian]:
        """Predict frame after frame, each from the prediction before it.

        frames: embeddings of the F seen ones, (B, F, embedding); heard: O^A of frames 1 .. T-1, (B, T-1, embedding);
        halves: the B clips' skips; noise: of `samples` futures a clip, (B * samples, T-1, latent); drawn: their z,
        where it is not the prior's. Returns predictions (B * samples, T - F, C, H, W), and the prior of all steps.

        What was seen and heard is encoded once a clip and shared by its futures.
        """
        given, samples = frames.shape[1], len(noise) // len(frames)
        prior, (of_transformer, of_lstm) = self.infer_prior(frames, heard[:, :given])
        # from here on, one row a future
        frames, heard, mean, log_variance = (
            each.repeat_interleave(samples, 0) for each in (frames, heard, prior.mean, prior.log_variance)
        )
        past = (
            tuple(each.repeat_interleave(samples, 0) for each in of_transformer),
            tuple(each.repeat_interleave(samples, 1) for each in of_lstm),
        )
        prior = Gaussian(mean, log_variance)
        z = prior.sample(noise[:, :given]) if drawn is None else drawn[:, :given]
        hidden, state = self.predictor(torch.cat([frames, z], -1))
        priors, predicted = [prior], [self.decode(hidden[:, -1:], halves)]
        for t in range(given, noise.shape[1]):
            frame = self.frame_encoder(predicted[-1][:, -1])[0][:, None]
            prior, past = self.infer_prior(frame, heard[:, t : t + 1], past)
            z = prior.sample(noise[:, t : t + 1]) if drawn is None else drawn[:, t : t + 1]
            hidden, state = self.predictor(torch.cat([frame, z], -1), state)
            priors.append(prior)
            predicted.append(self.decode(hidden, halves))
        return torch.cat(predicted, 1), Gaussian.cat(priors)


class Discriminator(nn.Module):
    """The multimodal discriminator: D_std judges a frame, D a window of R frames and the judged one, with sound."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        if config.motion:
            if config.hears:
                self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
            self.recurrent = Recurrent(config.modalities * config.embedding, config.hidden, layers=1)
            self.leave_recurrent = nn.Linear(config.hidden, 2)
        self.standard = nn.Linear(config.embedding, 2)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, n, C, H, W) -> (B, n, embedding)."""
        return self.frame_encoder(frames.flatten(0, 1))[0].unflatten(0, frames.shape[:2])

    def encode_audio(self, audio: Tensor) -> Tensor:
        """(B, n, bins, columns) -> (B, n, embedding); of width 0 where nothing is heard."""
        if not self.config.hears:
            return audio.new_zeros(*audio.shape[:2], 0)
        return self.audio_encoder(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])

    def judge_windows(self, frames: Tensor, audio: Tensor) -> Tensor:
        """D: windows (B, n, R + 1, embedding) of frames and of audio -> logits (B * n, 2) within [-1, 1]."""
        hidden, _ = self.recurrent(torch.cat([frames, audio], -1).flatten(0, 1))
        return torch.tanh(self.leave_recurrent(hidden[:, -1]).float())

    def judge_frames(self, frames: Tensor) -> Tensor:
        """D_std: embeddings (B, n, embedding) -> logits (B * n, 2)."""
        return self.standard(frames.flatten(0, 1)).float()


@dataclass(frozen=True)
class Verdicts:
    """The discriminator's logits (B * n, 2) on the terms of eq. 6; None: a term that it does not have."""

    real: Tensor  # D_std on true frames
    fake: Tensor  # D_std on generated frames
    real_motion: Tensor | None = None  # D, true window with its own audio
    fake_motion: Tensor | None = None  # D, generated frame in a true window with its own audio
    real_mismatch: Tensor | None = None  # D, true window with other audio
    fake_mismatch: Tensor | None = None  # D, generated frame with other audio


def label_loss(logits: Tensor, label: int) -> Tensor:
    """-log p(label): the cross entropy, mean over judged frames."""
    return functional.cross_entropy(logits, logits.new_full((len(logits),), label, dtype=torch.long))


def label_losses(label: int, *verdicts: Tensor | None) -> Tensor:
    """The sum of the label's losses over those of the verdicts that there are."""
    losses = [label_loss(logits, label) for logits in verdicts if logits is not None]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def discriminator_loss(verdicts: Verdicts, form: str) -> Tensor:
    """L_adv: eq. 6 per judged frame, or the released weights."""
    real = label_losses(REAL, verdicts.real, verdicts.real_motion)
    fake = label_losses(FAKE, verdicts.fake, verdicts.fake_motion)
    mismatch = label_losses(FAKE, verdicts.real_mismatch, verdicts.fake_mismatch)
    return real / 2 + (fake + mismatch) / 8 if form == "released" else real + fake + mismatch


def adversarial_loss(verdicts: Verdicts, form: str) -> Tensor:
    """What gamma weighs in the generator's loss: eq. 7's -L_adv (its part that the generator moves), or the release."""
    judged = (verdicts.fake, verdicts.fake_motion, verdicts.fake_mismatch)
    return label_losses(REAL, *judged) / 3 if form == "released" else -label_losses(FAKE, *judged)


def windows(sequence: Tensor, length: int) -> Tensor:
    """All runs of `length` neighbours: (B, n, d) -> (B, n - length + 1, length, d)."""
    return sequence.unfold(1, length, 1).transpose(2, 3)


class Sound2Sight(Predictor):
    """Sound2Sight (Chatterjee and Cherian, ECCV 2020): a VAE with an audio-visual prior, and a discriminator."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "AV"
    stochastic = True
    paper = "Chatterjee and Cherian, ECCV 2020"
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

    def players(self) -> dict[str, Player]:
        """The generator, and the discriminator against it, if there is one."""
        players = {"generator": self.generator_player(list(self.generator.parameters()))}
        if self.config.discriminator != "none":
            learn = self.config.train_disc_encoders
            judged = [p for name, p in self.discriminator.named_parameters() if learn or "encoder" not in name]
            players["discriminator"] = Player(judged, self.config.disc_learning_rate)
        return players

    def generator_player(self, parameters: list[nn.Parameter], clip_norm: float | None = None) -> Player:
        """Who moves the generator: at the paper's rate, its transformers at `transformer_rate` of that."""
        transformers = [each for each in self.generator.modules() if isinstance(each, CausalTransformer)]
        slower = [parameter for each in transformers for parameter in each.parameters()]
        scaled = {self.config.transformer_rate: slower} if slower else {}
        return Player(parameters, self.config.learning_rate, clip_norm=clip_norm, scaled=scaled)

    def gamma(self, epoch: int) -> float:
        """The weight of the adversarial loss: none in the warm start, then tenfold every `gamma_epochs` epochs."""
        config = self.config
        return 0.0 if epoch < config.warm_start_epochs else config.gamma * 10.0 ** (epoch // config.gamma_epochs)

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Eq. 5 to 7; sums over frames, means over clips, pixels and judged frames."""
        first_scored = 1 if self.config.score_seen else batch.seen
        made = self.generator.reconstruct(batch, first_scored, self.feeds_back(batch, progress))
        terms, weighed = self.variational(made, batch.frames[:, first_scored:])
        if self.config.discriminator == "none":
            return {"generator": Loss(weighed, terms)}
        verdicts = self.judge(batch, made.frames[:, batch.seen - first_scored :])
        judged = len(verdicts.fake) // len(batch.frames)
        adversarial = judged * adversarial_loss(verdicts, self.config.adversarial)
        against = judged * discriminator_loss(verdicts, self.config.adversarial)
        generator = weighed + self.gamma(progress.epoch) * adversarial
        return {
            "generator": Loss(generator, {**terms, "adversarial": adversarial}),
            "discriminator": Loss(against),
        }

    def feeds_back(self, batch: Batch, progress: Progress) -> bool:
        """Whether this batch is predicted from its own predictions: a coin a step decides, late enough in training.

        The coin is the step's, so that it falls alike for all processes that share a batch. Raises InputError for a
        single clip, whose codes batch norm could not tell from their mean.
        """
        start = self.config.feed_back_from
        if start and len(batch.frames) < 2:
            raise InputError("feed_back_from needs two clips a process and step: train on fewer --devices")
        return 0 < start <= progress.epoch and bool(np.random.default_rng(progress.step).random() < 0.5)

    def variational(self, made: Reconstruction, truth: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """L_V (eq. 5): its terms, and their weighted sum."""
        error = ((made.frames - truth) ** 2).mean((2, 3, 4)).sum(1).mean()
        if made.posterior is None:
            return {"mse": error}, error
        kl = made.posterior.kl(made.prior).sum(1).mean()
        return {"mse": error, "kl": kl}, error + self.config.beta * kl

    def judge(self, batch: Batch, fakes: Tensor) -> Verdicts:
        """Every verdict of eq. 6 on the unseen frames; the R frames before the judged one are always true.

        Where fewer than R frames are seen, judging starts at the first frame with R before it. Raises InputError
        where there is none, or no audio to mismatch.
        """
        history = self.config.history if self.config.motion else 0
        if batch.frames.shape[1] <= history:
            raise InputError(f"history {history} leaves no frame to judge in clips of {batch.frames.shape[1]}")
        first = max(batch.seen, history)
        real = self.discriminator.encode_frames(batch.frames[:, first - history :])
        fake = self.discriminator.encode_frames(fakes[:, first - batch.seen :])
        verdicts = Verdicts(self.discriminator.judge_frames(real[:, history:]), self.discriminator.judge_frames(fake))
        if not self.config.motion:
            return verdicts
        judge = self.discriminator.judge_windows
        audio = windows(self.discriminator.encode_audio(batch.audio[:, first - history :]), history + 1)
        real_windows = windows(real, history + 1)
        fake_windows = torch.cat([real_windows[:, :, :-1], fake[:, :, None]], dim=2)
        verdicts = replace(verdicts, real_motion=judge(real_windows, audio), fake_motion=judge(fake_windows, audio))
        if not self.config.alignment:
            return verdicts
        other = self.mismatched(audio)
        return replace(verdicts, real_mismatch=judge(real_windows, other), fake_mismatch=judge(fake_windows, other))

    def mismatched(self, audio: Tensor) -> Tensor:
        """Audio windows (B, n, R + 1, d) that do not belong: of another moment t' != t, or of another clip."""
        clips, count = audio.shape[:2]
        if (clips if self.config.mismatched_audio == "clip" else count) < 2:
            raise InputError(f"there is no other {self.config.mismatched_audio} to take mismatched_audio from")
        if self.config.mismatched_audio == "clip":
            return audio.roll(1, dims=0)
        shift = torch.randint(1, count, (clips, count), device=audio.device)
        moment = (torch.arange(count, device=audio.device) + shift) % count
        return audio[torch.arange(clips, device=audio.device)[:, None], moment]

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Futures, frame by frame, z from the prior; see Predictor.predict."""
        return Prediction(self.foresee(context, samples, noise)[0])

    def foresee(self, context: Context, samples: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Futures (B, samples, T - F, C, H, W) and the prior's log variances (B, samples, T - F, latent)."""
        made, seen, audio, given = self.generator, context.frames, context.audio, context.seen
        z_noise = noise.normal(audio.shape[1] - 1, self.config.latent).flatten(0, 1)
        frames, skips = made.encode_frames(seen)
        halves = made.frame_decoder.of_steps(skips, given, audio.shape[1] - 1, given - 1)
        predicted, prior = made.roll_out(frames, made.encode_audio(audio)[:, 1:], halves, z_noise)
        rows = len(seen), samples
        return predicted.unflatten(0, rows), prior.log_variance[:, given - 1 :].unflatten(0, rows)
