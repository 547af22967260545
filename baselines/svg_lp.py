"""SVG-LP: seen frames to future frames, with a latent z per frame from a learned prior; it uses no audio.

E. Denton and R. Fergus, "Stochastic Video Generation with a Learned Prior", ICML 2018. That paper has no frames of
48 px: their encoder and decoder are Sound2Sight's. Where the released code differs from the paper, settings say
"released".

Indices: t counts frames from 0; frames 0 .. F-1 are seen, T frames are in a clip. Tensors over "steps" have T-1
positions: position t-1 is about the prediction of frame t.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from typing_extensions import override

from baselines.layers.frame_by_frame import (
    SETTLING,
    FrameByFrame,
    learn_generated_statistics,
    squared_errors,
    sum_over_frames,
)
from baselines.layers.frames import FrameDecoder, FrameEncoder
from baselines.layers.initialisation import balance, initialise
from baselines.layers.normalisation import GeneratedStatistics
from baselines.layers.recurrent import Gaussian, LatentLSTM, Recurrent, repeat_state
from baselines.predictor import Batch, ClipShape, Context, Loss, Noise, Player, Prediction, Predictor, Progress
from baselines.settings import Count, NonNegative
from mmnist_av.system.settings import checked


@checked
class SVGLPConfig:
    """The values for Moving MNIST (paper and released code), here used for every dataset (ours)."""

    embedding: Count = 128  # size of a frame's embedding
    latent: Count = 10  # size of z
    hidden: Count = 256  # LSTM state
    learning_rate: NonNegative = 2e-3  # Adam
    beta: NonNegative = 1e-4  # weight of the KL, against a mean over pixels and a sum over z
    skips: Literal["last", "released"] = "last"  # of unseen frames: the last seen frame's; released: of the one before
    init: Literal["balanced", "released"] = "balanced"  # of weights and of z's variance, as Sound2Sight's: see balance
    generated_statistics: bool = True  # of the frame encoder's batch norms, as Sound2Sight's
    # At test, batch norms have a batch's statistics at every predicted frame, as in the released script, which leaves
    # encoder and decoder in training mode; here of training clips, so that no test clip's prediction depends on others.
    batch_statistics: bool = False

    @model_validator(mode="after")
    def check_statistics(self) -> Self:
        """Raise ValueError for settings that do not go together."""
        if self.batch_statistics and not self.generated_statistics:
            raise ValueError("batch_statistics=true is of predicted frames: set generated_statistics=true")
        return self


class SVGLP(FrameByFrame, Predictor):
    """SVG-LP (Denton and Fergus, ICML 2018): a VAE over frames with a learned prior."""

    modality: ClassVar[Literal["AV", "V", "A"]] = "V"
    stochastic = True
    paper = "Denton and Fergus, ICML 2018"
    needs = frozenset({"seen"})
    settling = SETTLING
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
        steps = shape.train_frames - shape.seen if config.batch_statistics else 1
        self.generated_statistics = (
            GeneratedStatistics(self.frame_encoder, steps) if config.generated_statistics else None
        )
        self.decoder_statistics = GeneratedStatistics(self.frame_decoder, steps) if config.batch_statistics else None
        self.apply(initialise)
        if config.init == "balanced":
            self.apply(balance)
        self.to(memory_format=torch.channels_last)

    @override
    def players(self) -> dict[str, Player]:
        return {"generator": Player(list(self.parameters()), self.config.learning_rate)}

    @override
    def losses(self, batch: Batch, progress: Progress) -> dict[str, Loss]:
        """Return the squared error plus beta KL(posterior || prior), summed over all frames but the first.

        The seen frames are included. Every frame is predicted from the true frame before it.
        """
        frames, skips = self.encode_frames(batch.frames)
        source = self.skip_source(batch.seen)
        skips = self.frame_decoder.convolve_skips_of_steps(skips, 1, frames.shape[1] - 1, source)
        posterior, _ = self.posterior(frames[:, 1:])
        prior, _ = self.prior(frames[:, :-1])
        z = posterior.sample(torch.randn_like(posterior.mean))
        predicted = self.decode_after_each(frames[:, :-1], z, 1, skips)
        error = sum_over_frames(squared_errors(predicted, batch.frames[:, 1:]))
        kl = sum_over_frames(posterior.kl(prior))
        return {"generator": Loss(error + self.config.beta * kl, {"mse": error, "kl": kl})}

    def skip_source(self, seen: int) -> int:
        """Return the frame whose skips all predictions of unseen frames have."""
        return seen - 1 if self.config.skips == "last" else max(seen - 2, 0)

    @override
    def settle(self, batches: Sequence[Batch]) -> None:
        learn_generated_statistics(self, batches)

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return samples, with z from the posterior for seen frames and from the prior for unseen ones.

        See Predictor.predict.
        """
        seen, total = context.seen, context.audio.shape[1]
        z_noise = noise.normal(total - 1, self.config.latent).flatten(0, 1)
        frames, skips = self.encode_frames(context.frames)
        source = self.skip_source(seen)
        skips = self.frame_decoder.convolve_skips([skip[:, source] for skip in skips])
        prior, prior_state = self.prior(frames)
        z = prior[:, -1:]  # of frame F, the first unseen one
        if seen > 1:
            z = Gaussian.cat([self.posterior(frames[:, 1:])[0], z])
        # from here on, one row a sample
        frames, prior_state = frames.repeat_interleave(samples, 0), repeat_state(prior_state, samples)

        def next_z(frame: Tensor, t: int) -> Tensor:
            nonlocal prior_state
            prior, prior_state = self.prior(frame, prior_state)
            return prior.sample(z_noise[:, t : t + 1])

        first_z = z.repeat_interleave(samples).sample(z_noise[:, :seen])
        predicted = self.roll_out(frames, first_z, next_z, skips, last=total - 1)
        return Prediction(predicted.unflatten(0, (-1, samples)))
