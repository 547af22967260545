"""Sound2Sight: audio and a few seen frames to future frames.

M. Chatterjee and A. Cherian, "Sound2Sight: Generating Visual Dynamics from Sound and Context", ECCV 2020.
Equations and sections below are that paper's. Where the released code departs from it, the paper is the default; the
departures that are settings say "released". Errors are means over pixels, as released, where eq. 5 has a sum: the
paper's beta and gamma only make sense against a mean.

Indices: t counts frames from 0; frames 0 .. F-1 are seen. Position t-1 of a sequence of "steps" is about frame t.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.predictor import Batch, ClipShape, Loss, Noise, Player, Prediction, Predictor, Progress
from mmnist_av.errors import InputError

REAL, FAKE = 1, 0
INITIAL_LOG_VARIANCE = -4.0  # of z, in the balanced start (ours)


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
    beta: float = 1e-4  # weight of the KL (paper), against a mean over pixels and a sum over z
    gamma: float = 1e-4  # weight of the adversarial loss (paper)
    gamma_epochs: int = 300  # gamma grows tenfold every so many epochs (paper)
    warm_start_epochs: int = 1  # epochs before the adversarial loss counts (released code; the paper is silent)
    z_train: str = "prior"  # whose z is decoded in training: prior (eq. 5 and release) or posterior
    score_seen: bool = False  # eq. 5 also over seen frames (released, which judges them too); the paper: unseen only
    adversarial: str = "paper"  # paper: eq. 6 and 7; released: weighted terms, non-saturating generator
    mismatched_audio: str = "time"  # time: another moment of the clip (eq. 6); clip: another clip's audio (released)
    init: str = "balanced"  # of the generator's linear layers and LSTMs (see initialise); released; the paper is silent
    train_disc_encoders: bool = True  # False: the discriminator's encoders never learn (released)

    def __post_init__(self) -> None:
        choices = {
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


# ---------------------------------------------------------------------------------------------- frames and sound


def frame_widths(size: int) -> list[int]:
    """Channels after each halving of a DCGAN encoder for `size` x `size` frames: 48 -> 64-128-256, 64 -> ...-512."""
    widths: list[int] = []
    while size > 7:
        if size % 2:
            raise InputError(f"frames must halve evenly down to at most 7 px; {size} does not")
        size //= 2
        widths.append(64 * 2 ** min(len(widths), 3))
    return widths


# Three convolutions as matrix products: where maps are a few pixels, a CPU's convolution kernels take 2 to 20 times as
# long. Their weights and results are those of the classes they extend.


class HalvingConv2d(nn.Conv2d):
    """A 4x4 convolution of stride 2 and padding 1 as one product: its patches are 2x2 neighbours of 2x2 squares."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, outputs, h // 2, w // 2)."""
        height, width = features.shape[2] // 2, features.shape[3] // 2
        right, below = 1 - features.shape[3] % 2, 1 - features.shape[2] % 2  # an odd edge's last padding is not read
        padded = functional.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
        squares = padded.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3)
        patches = torch.cat([squares[:, y : y + height, x : x + width] for y in (0, 1) for x in (0, 1)], -1)
        weight = self.weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).permute(0, 2, 4, 3, 5, 1).flatten(1)
        return functional.linear(patches, weight, self.bias).permute(0, 3, 1, 2)


class WholeConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, *kernel_size) -> (N, outputs, 1, 1)."""
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return functional.linear(features.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[:, :, None, None]


class UnfoldingConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution from a single pixel to a whole map."""

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, 1, 1) -> (N, outputs, *kernel_size)."""
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        unfolded = functional.linear(features.flatten(1), weight).unflatten(1, (*self.kernel_size, -1))
        bias = cast(Tensor, self.bias).to(unfolded.dtype)
        return (unfolded + bias).permute(0, 3, 1, 2)


def normed(convolution: nn.Module, outputs: int) -> nn.Sequential:
    """The convolution, then batch norm and leaky ReLU."""
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))


def summary(inputs: int, outputs: int, extent: tuple[int, int]) -> nn.Sequential:
    """A convolution over all that is left, batch norm, tanh: (N, inputs, *extent) -> (N, outputs)."""
    return nn.Sequential(WholeConv2d(inputs, outputs, extent), nn.BatchNorm2d(outputs), nn.Tanh(), nn.Flatten())


class FrameEncoder(nn.Module):
    """f: frames to embeddings, and the skip features of every scale (section 3, "Prediction Network")."""

    def __init__(self, frame: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        channels, size, _ = frame
        widths = frame_widths(size)
        self.halvings = nn.ModuleList(
            normed(nn.Conv2d(a, b, 4, 2, 1), b) for a, b in zip([channels, *widths], widths, strict=False)
        )
        left = size >> len(widths)
        self.summary = summary(widths[-1], embedding, (left, left))

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, C, H, W) -> embeddings (N, embedding), skips [(N, 64, H/2, W/2), ...]."""
        skips = []
        features = frames.contiguous(memory_format=torch.channels_last)
        for halve in self.halvings:
            features = halve(features)
            skips.append(features)
        return self.summary(features), skips


class DoublingConvolution(nn.Module):
    """A transposed convolution over concat(features, skip), as the sum of its two halves.

    The skip comes from the last seen frame and stays the same for all steps and futures of a clip, so its half is
    computed once a clip and added.
    """

    def __init__(self, features: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.of_features = nn.ConvTranspose2d(features, outputs, 4, 2, 1, bias=False)
        self.of_skip = nn.ConvTranspose2d(skip, outputs, 4, 2, 1)

    def forward(self, features: Tensor, skip_half: Tensor) -> Tensor:
        """(B * n, features, h, w) and the skip's half (B, outputs, 2h, 2w) -> (B * n, outputs, 2h, 2w)."""
        halves = self.of_features(features).unflatten(0, (skip_half.shape[0], -1))
        return (halves + skip_half[:, None]).flatten(0, 1)


class FrameDecoder(nn.Module):
    """g: LSTM outputs to frames, with the last seen frame's skips (section 3, "Prediction Network")."""

    def __init__(self, frame: tuple[int, int, int], embedding: int) -> None:
        super().__init__()
        channels, size, _ = frame
        widths = frame_widths(size)[::-1]
        left = size >> len(widths)
        self.start = normed(UnfoldingConvTranspose2d(embedding, widths[0], left), widths[0])
        outputs = [*widths[1:], channels]
        self.doublings = nn.ModuleList(DoublingConvolution(a, a, b) for a, b in zip(widths, outputs, strict=True))
        self.norms = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)) for b in outputs[:-1]
        )

    def of_skips(self, skips: list[Tensor]) -> list[Tensor]:
        """What the skips add at each scale, once a clip: (B, ...) features, finest first, to (B, ...) halves."""
        doublings = cast(list[DoublingConvolution], list(self.doublings))
        return [double.of_skip(skip) for double, skip in zip(doublings, reversed(skips), strict=True)]

    def forward(self, outputs: Tensor, skip_halves: list[Tensor]) -> Tensor:
        """(B * n, embedding) and the B clips' skip halves -> frames (B * n, C, H, W) in [0, 1], float32."""
        features = self.start(outputs[:, :, None, None].contiguous(memory_format=torch.channels_last))
        *doublings, last = self.doublings.children()
        for double, norm, half in zip(doublings, self.norms, skip_halves, strict=False):
            features = norm(double(features, half))
        return torch.sigmoid(last(features, skip_halves[-1]).float())


class AudioEncoder(nn.Module):
    """One frame's spectrogram to an embedding (kernels, strides and widths of the released M3SO encoder)."""

    def __init__(self, audio: tuple[int, int], embedding: int) -> None:
        super().__init__()
        bins, columns = ((extent - 3) // 8 for extent in audio)
        if min(bins, columns) < 1:
            raise InputError(f"spectrograms of {audio[0]} x {audio[1]} are too small: at least 11 x 11 is needed")
        self.layers = nn.Sequential(
            normed(nn.Conv2d(1, 64, 4, 1, 0), 64),
            normed(nn.Conv2d(64, 128, 4, 2, 1), 128),
            normed(nn.Conv2d(128, 256, 4, 2, 1), 256),
            normed(HalvingConv2d(256, 512), 512),
            summary(512, embedding, (bins, columns)),
        )

    def forward(self, audio: Tensor) -> Tensor:
        """(N, bins, columns) -> (N, embedding)."""
        return self.layers(audio[:, None].contiguous(memory_format=torch.channels_last))


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


State = tuple[Tensor, Tensor]  # hidden and cell of an LSTM, (layers, N, hidden) each


class Recurrent(nn.Module):
    """A linear layer into an LSTM: (N, n, inputs) -> (N, n, hidden)."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Go on from `state` (zero if None)."""
        return self.lstm(self.enter(inputs), state)


@dataclass(frozen=True)
class Gaussian:
    """Diagonal normal distributions."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Reparametrised draws."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self, other: "Gaussian") -> Tensor:
        """KL(self || other), summed over the last axis."""
        squared = self.log_variance.exp() + (self.mean - other.mean) ** 2
        return 0.5 * (other.log_variance - self.log_variance + squared / other.log_variance.exp() - 1).sum(-1)

    def frames(self, first: int) -> "Gaussian":
        """The distributions of steps from `first` on, (N, steps, z)."""
        return Gaussian(self.mean[:, first:], self.log_variance[:, first:])


class LatentLSTM(nn.Module):
    """LSTM_phi or LSTM_psi: joint embeddings to the mean and log variance of z (eq. 2 and 3)."""

    def __init__(self, config: Sound2SightConfig) -> None:
        super().__init__()
        self.recurrent = Recurrent(2 * config.embedding, config.hidden, layers=1)
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)

    def forward(self, video: Tensor, audio: Tensor, state: State | None = None) -> tuple[Gaussian, State]:
        """(N, n, embedding) each -> n distributions of z, float32, and the state."""
        hidden, state = self.recurrent(torch.cat([video, audio], -1), state)
        return Gaussian(self.mean(hidden).float(), self.log_variance(hidden).float()), state


# ---------------------------------------------------------------------------------------------- the players


@dataclass(frozen=True)
class Reconstruction:
    """What the generator makes of a batch in training."""

    frames: Tensor  # (B, predicted, C, H, W): the predictions of frames first_scored .. T-1
    prior: Gaussian  # of the same frames
    posterior: Gaussian


class Generator(nn.Module):
    """The prediction network and the multimodal stochastic network."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        self.frame_decoder = FrameDecoder(shape.frame, config.embedding)
        self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
        self.audio_transformer = CausalTransformer(config)
        self.prior_transformer = CausalTransformer(config)
        self.posterior_transformer = CausalTransformer(config)
        self.prior_lstm = LatentLSTM(config)
        self.posterior_lstm = LatentLSTM(config)
        self.predictor = Recurrent(config.embedding + config.latent, config.hidden, layers=2)
        self.leave_predictor = nn.Linear(config.hidden, config.embedding)

    def encode_frames(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, n, C, H, W) -> embeddings (B, n, embedding) and skips (B, n, ...)."""
        embeddings, skips = self.frame_encoder(frames.flatten(0, 1))
        return embeddings.unflatten(0, frames.shape[:2]), [skip.unflatten(0, frames.shape[:2]) for skip in skips]

    def encode_audio(self, audio: Tensor) -> Tensor:
        """O^A: (B, T, bins, columns) -> (B, T, embedding); position t has heard frames 0 .. t."""
        embeddings = self.audio_encoder(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])
        return self.audio_transformer(embeddings)[0]

    def reconstruct(self, batch: Batch, first_scored: int) -> Reconstruction:
        """Predict every frame of the batch from the true frame before it; see Reconstruction."""
        frames, skips = self.encode_frames(batch.frames)
        audio = self.encode_audio(batch.audio)[:, 1:]
        prior, _ = self.prior_lstm(self.prior_transformer(frames[:, :-1])[0], audio)
        posterior, _ = self.posterior_lstm(self.posterior_transformer(frames)[0][:, 1:], audio)
        source = posterior if self.config.z_train == "posterior" else prior
        z = source.sample(torch.randn_like(source.mean))
        hidden, _ = self.predictor(torch.cat([frames[:, :-1], z], -1))
        outputs = torch.tanh(self.leave_predictor(hidden))[:, first_scored - 1 :]
        halves = self.frame_decoder.of_skips([skip[:, batch.seen - 1] for skip in skips])
        decoded = self.frame_decoder(outputs.flatten(0, 1), halves).unflatten(0, outputs.shape[:2])
        return Reconstruction(decoded, prior.frames(first_scored - 1), posterior.frames(first_scored - 1))


class Discriminator(nn.Module):
    """The multimodal discriminator: D_std judges a frame, D a window of R frames and the judged one, with sound."""

    def __init__(self, config: Sound2SightConfig, shape: ClipShape) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        self.audio_encoder = AudioEncoder(shape.audio, config.embedding)
        self.recurrent = Recurrent(2 * config.embedding, config.hidden, layers=1)
        self.leave_recurrent = nn.Linear(config.hidden, 2)
        self.standard = nn.Linear(config.embedding, 2)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, n, C, H, W) -> (B, n, embedding)."""
        return self.frame_encoder(frames.flatten(0, 1))[0].unflatten(0, frames.shape[:2])

    def encode_audio(self, audio: Tensor) -> Tensor:
        """(B, n, bins, columns) -> (B, n, embedding)."""
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
    """The discriminator's logits (B * n, 2) on every term of eq. 6."""

    real: Tensor  # D_std on true frames
    fake: Tensor  # D_std on generated frames
    real_motion: Tensor  # D, true window with its own audio
    fake_motion: Tensor  # D, generated frame in a true window with its own audio
    real_mismatch: Tensor  # D, true window with other audio
    fake_mismatch: Tensor  # D, generated frame with other audio


def label_loss(logits: Tensor, label: int) -> Tensor:
    """-log p(label): the cross entropy, mean over judged frames."""
    return functional.cross_entropy(logits, logits.new_full((len(logits),), label, dtype=torch.long))


def discriminator_loss(verdicts: Verdicts, form: str) -> Tensor:
    """L_adv: eq. 6 per judged frame, or the released weights."""
    real = label_loss(verdicts.real, REAL) + label_loss(verdicts.real_motion, REAL)
    fake = label_loss(verdicts.fake, FAKE) + label_loss(verdicts.fake_motion, FAKE)
    mismatch = label_loss(verdicts.real_mismatch, FAKE) + label_loss(verdicts.fake_mismatch, FAKE)
    return real / 2 + (fake + mismatch) / 8 if form == "released" else real + fake + mismatch


def adversarial_loss(verdicts: Verdicts, form: str) -> Tensor:
    """What gamma weighs in the generator's loss: eq. 7's -L_adv (its part that the generator moves), or the release."""
    judged = (verdicts.fake, verdicts.fake_motion, verdicts.fake_mismatch)
    if form == "released":
        return sum((label_loss(logits, REAL) for logits in judged), torch.zeros(())) / 3
    return -sum((label_loss(logits, FAKE) for logits in judged), torch.zeros(()))


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
        self.discriminator = Discriminator(self.config, shape)
        self.apply(initialise)
        if self.config.init == "balanced":
            self.generator.apply(balance)
        self.to(memory_format=torch.channels_last)

    def players(self) -> dict[str, Player]:
        """The generator, and the discriminator against it."""
        judge = self.discriminator
        judged = (
            judge.parameters()
            if self.config.train_disc_encoders
            else [*judge.recurrent.parameters(), *judge.leave_recurrent.parameters(), *judge.standard.parameters()]
        )
        return {
            "generator": Player(list(self.generator.parameters()), self.config.learning_rate),
            "discriminator": Player(list(judged), self.config.disc_learning_rate),
        }

    def gamma(self, epoch: int) -> float:
        """The weight of the adversarial loss: none in the warm start, then tenfold every `gamma_epochs` epochs."""
        config = self.config
        return 0.0 if epoch < config.warm_start_epochs else config.gamma * 10.0 ** (epoch // config.gamma_epochs)

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Eq. 5 to 7; sums over frames, means over clips, pixels and judged frames."""
        first_scored = 1 if self.config.score_seen else batch.seen
        made = self.generator.reconstruct(batch, first_scored)
        terms, weighed = self.variational(made, batch.frames[:, first_scored:])
        verdicts = self.judge(batch, made.frames[:, batch.seen - first_scored :])
        judged = len(verdicts.fake) // len(batch.frames)
        adversarial = judged * adversarial_loss(verdicts, self.config.adversarial)
        against = judged * discriminator_loss(verdicts, self.config.adversarial)
        generator = weighed + self.gamma(progress.epoch) * adversarial
        return {
            "generator": Loss(generator, {**terms, "adversarial": adversarial}),
            "discriminator": Loss(against),
        }

    def variational(self, made: Reconstruction, truth: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """L_V (eq. 5): its terms, and their weighted sum."""
        error = ((made.frames - truth) ** 2).mean((2, 3, 4)).sum(1).mean()
        kl = made.posterior.kl(made.prior).sum(1).mean()
        return {"mse": error, "kl": kl}, error + self.config.beta * kl

    def judge(self, batch: Batch, fakes: Tensor) -> Verdicts:
        """Every verdict of eq. 6 on the unseen frames; the R frames before the judged one are always true.

        Where fewer than R frames are seen, judging starts at the first frame with R before it. Raises InputError
        where there is none, or no audio to mismatch.
        """
        history = self.config.history
        if batch.frames.shape[1] <= history:
            raise InputError(f"history {history} leaves no frame to judge in clips of {batch.frames.shape[1]}")
        first = max(batch.seen, history)
        fakes = fakes[:, first - batch.seen :]
        real = self.discriminator.encode_frames(batch.frames[:, first - history :])
        fake = self.discriminator.encode_frames(fakes)
        audio = windows(self.discriminator.encode_audio(batch.audio[:, first - history :]), history + 1)
        other = self.mismatched(audio)
        real_windows = windows(real, history + 1)
        fake_windows = torch.cat([real_windows[:, :, :-1], fake[:, :, None]], dim=2)
        judge = self.discriminator.judge_windows
        return Verdicts(
            real=self.discriminator.judge_frames(real[:, history:]),
            fake=self.discriminator.judge_frames(fake),
            real_motion=judge(real_windows, audio),
            fake_motion=judge(fake_windows, audio),
            real_mismatch=judge(real_windows, other),
            fake_mismatch=judge(fake_windows, other),
        )

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

    def predict(self, seen: Tensor, audio: Tensor, samples: int, noise: Noise) -> Prediction:
        """Futures, frame by frame, z from the prior; see Predictor.predict."""
        return Prediction(self.foresee(seen, audio, samples, noise)[0])

    def foresee(self, seen: Tensor, audio: Tensor, samples: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Futures (B, samples, T - F, C, H, W) and the prior's log variances (B, samples, T - F, latent).

        What was seen and heard is encoded once a clip and shared by its futures.
        """
        made = self.generator
        clips, given = seen.shape[:2]
        total = audio.shape[1]
        z_noise = noise.normal(total - 1, self.config.latent).flatten(0, 1)
        heard = made.encode_audio(audio)
        frames, skips = made.encode_frames(seen)
        halves = made.frame_decoder.of_skips([skip[:, -1] for skip in skips])
        watched, past = made.prior_transformer(frames)
        prior, prior_state = made.prior_lstm(watched, heard[:, 1 : given + 1])
        # from here on, one row a future
        frames, mean, log_variance = (
            each.repeat_interleave(samples, 0) for each in (frames, prior.mean, prior.log_variance)
        )
        past = tuple(each.repeat_interleave(samples, 0) for each in past)
        prior_state = tuple(each.repeat_interleave(samples, 1) for each in prior_state)
        heard = heard.repeat_interleave(samples, 0)
        z = Gaussian(mean, log_variance).sample(z_noise[:, :given])
        hidden, state = made.predictor(torch.cat([frames, z], -1))
        predicted, log_variances = [], [log_variance[:, -1]]
        for t in range(given, total):
            output = torch.tanh(made.leave_predictor(hidden[:, -1]))
            predicted.append(made.frame_decoder(output, halves))
            if t + 1 == total:
                break
            frame = made.frame_encoder(predicted[-1])[0][:, None]
            watched, past = made.prior_transformer(frame, past)
            prior, prior_state = made.prior_lstm(watched, heard[:, t + 1 : t + 2], prior_state)
            log_variances.append(prior.log_variance[:, -1])
            z = prior.sample(z_noise[:, t : t + 1])
            hidden, state = made.predictor(torch.cat([frame, z], -1), state)
        rows = clips, samples
        return torch.stack(predicted, 1).unflatten(0, rows), torch.stack(log_variances, 1).unflatten(0, rows)


def initialise(module: nn.Module) -> None:
    """As released: convolutions and linear layers N(0, 0.02), batch norms N(1, 0.02), biases 0, attention Xavier's."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, CausalTransformer):  # visited after its layers
        nn.init.xavier_uniform_(module.attention_in.weight)


def balance(module: nn.Module) -> None:
    """Xavier's weights for linear layers, orthogonal ones for LSTMs, and latents that say something from the start.

    With the released N(0, 0.02) a frame's code leaves the predictor some eighty times smaller than it entered, and with
    unit variance the prior drowns what it has heard. Measured on M3SO-NB, one run each, 16 clips a step: the squared
    error that the released start reaches after 1,000 steps is reached after 400.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LSTM):
        for name, weight in module.named_parameters():
            if "bias" in name:
                nn.init.zeros_(weight)
            else:
                for gate in weight.data.chunk(4):
                    nn.init.orthogonal_(gate)
    elif isinstance(module, LatentLSTM):  # visited after its layers
        nn.init.constant_(module.log_variance.bias, INITIAL_LOG_VARIANCE)
