"""SVG-LP: seen frames to future frames, by a latent a frame from a learned prior; it hears nothing.

E. Denton and R. Fergus, "Stochastic Video Generation with a Learned Prior", ICML 2018. That paper has no 48 px: there
the encoder and decoder are Sound2Sight's. Where released code and paper part, settings say "released".

Indices: t counts frames from 0; frames 0 .. F-1 are seen. Position t-1 of a sequence of "steps" is about frame t.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.recurrent import Gaussian, LatentLSTM, Recurrent
from baselines.predictor import Batch, ClipShape, Context, Loss, Noise, Player, Prediction, Predictor, Progress
from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class SVGLPConfig:
    """The values for Moving MNIST (paper and released code), here for every dataset (ours)."""

    embedding: int = 128  # size of a frame's embedding
    latent: int = 10  # size of z
    hidden: int = 256  # LSTM state
    learning_rate: float = 2e-3  # Adam
    beta: float = 1e-4  # weight of the KL, against a mean over pixels and a sum over z
    skips: str = "last"  # from the last seen frame; released: from the one before it
    init: str = "balanced"  # of weights and of z's variance, as Sound2Sight's (see layers.initialisation); or released

    def __post_init__(self) -> None:
        for name, valid in {"skips": ("last", "released"), "init": ("balanced", "released")}.items():
            if getattr(self, name) not in valid:
                raise InputError(f"{name} must be one of {', '.join(valid)}, not '{getattr(self, name)}'")
        for name in ("embedding", "latent", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1")
        for name in ("learning_rate", "beta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and not negative, {getattr(self, name)} is")


class SVGLP(Predictor):
    """SVG-LP (Denton and Fergus, ICML 2018): a VAE over frames with a learned prior."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"
    stochastic = True
    paper = "Denton and Fergus, ICML 2018"
    Config: ClassVar[type[SVGLPConfig]] = SVGLPConfig

    def __init__(self, shape: ClipShape, config: SVGLPConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or self.Config()
        self.frame_encoder = FrameEncoder(shape.frame, config.embedding)
        self.frame_decoder = FrameDecoder(shape.frame, config.embedding)
        self.prior = LatentLSTM(config.embedding, config.hidden, config.latent)
        self.posterior = LatentLSTM(config.embedding, config.hidden, config.latent)
        self.predictor = Recurrent(config.embedding + config.latent, config.hidden, layers=2)
        self.leave_predictor = nn.Linear(config.hidden, config.embedding)
        self.apply(initialise)
        if config.init == "balanced":
            self.apply(balance)
        self.to(memory_format=torch.channels_last)

    def players(self) -> dict[str, Player]:
        """One: everything learns together."""
        return {"generator": Player(list(self.parameters()), self.config.learning_rate)}

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Squared error plus beta KL(posterior || prior); sums over all frames but the first, seen ones included."""
        frames, skips = self.encode(batch.frames)
        halves = self.frame_decoder.of_steps(skips, 1, frames.shape[1] - 1, self.source(batch.seen))
        posterior, _ = self.posterior(frames[:, 1:])
        prior, _ = self.prior(frames[:, :-1])
        z = posterior.sample(torch.randn_like(posterior.mean))
        hidden, _ = self.predictor(torch.cat([frames[:, :-1], z], -1))
        error = ((self.decode(hidden, halves) - batch.frames[:, 1:]) ** 2).mean((2, 3, 4)).sum(1).mean()
        kl = posterior.kl(prior).sum(1).mean()
        return {"generator": Loss(error + self.config.beta * kl, {"mse": error, "kl": kl})}

    def source(self, seen: int) -> int:
        """The frame whose skips all unseen frames are drawn with; a seen one's come from the frame before it."""
        return seen - 1 if self.config.skips == "last" else max(seen - 2, 0)

    def encode(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, n, C, H, W) -> embeddings (B, n, embedding) and skips (B, n, ...)."""
        embeddings, skips = self.frame_encoder(frames.flatten(0, 1))
        return embeddings.unflatten(0, frames.shape[:2]), [skip.unflatten(0, frames.shape[:2]) for skip in skips]

    def decode(self, hidden: Tensor, halves: list[Tensor]) -> Tensor:
        """The predictor's hidden states (N, n, hidden) to frames (N, n, C, H, W)."""
        outputs = torch.tanh(self.leave_predictor(hidden))
        return self.frame_decoder(outputs.flatten(0, 1), halves).unflatten(0, outputs.shape[:2])

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Futures, frame by frame: z from the posterior where a frame is seen, else from the prior."""
        seen, total = context.frames, context.audio.shape[1]
        clips, given = seen.shape[:2]
        z_noise = noise.normal(total - 1, self.config.latent).flatten(0, 1)
        frames, skips = self.encode(seen)
        halves = self.frame_decoder.of_steps(skips, given, total - 1, self.source(given))
        prior, prior_state = self.prior(frames)
        drawn = prior[:, -1:]
        if given > 1:
            drawn = Gaussian.cat([self.posterior(frames[:, 1:])[0], drawn])
        # from here on, one row a future
        mean, log_variance, frames = (
            each.repeat_interleave(samples, 0) for each in (drawn.mean, drawn.log_variance, frames)
        )
        prior_state = tuple(each.repeat_interleave(samples, 1) for each in prior_state)
        z = Gaussian(mean, log_variance).sample(z_noise[:, :given])
        hidden, state = self.predictor(torch.cat([frames, z], -1))
        predicted = [self.decode(hidden[:, -1:], halves)]
        for t in range(given, total - 1):
            frame = self.frame_encoder(predicted[-1][:, -1])[0][:, None]
            prior, prior_state = self.prior(frame, prior_state)
            hidden, state = self.predictor(torch.cat([frame, prior.sample(z_noise[:, t : t + 1])], -1), state)
            predicted.append(self.decode(hidden, halves))
        return Prediction(torch.cat(predicted, 1).unflatten(0, (clips, samples)))
