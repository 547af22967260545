"""PUQ: Sound2Sight with a learned precision that weights each predicted frame's error.

M. Chatterjee, N. Ahuja and A. Cherian, "Quantifying Predictive Uncertainty for Stochastic Video Synthesis from Audio"
(2021). Equations below are that paper's.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn
from typing_extensions import override

from baselines.layers.frame_by_frame import squared_errors, sum_over_frames
from baselines.layers.initialisation import initialise
from baselines.layers.precision import without_autocast
from baselines.layers.recurrent import Gaussian
from baselines.predictor import ClipShape, Context, Noise, Player, Prediction
from baselines.settings import Count, NonNegative
from baselines.sound2sight import Reconstruction, Sound2Sight, Sound2SightConfig
from mmnist_av.system.settings import checked


@checked
class PUQConfig(Sound2SightConfig):
    """Sound2Sight's values, and those of the nested network (the paper leaves all its sizes and weights open)."""

    z_train: Literal["prior", "posterior"] = "posterior"  # eq. 1: the expectation is over q_phi
    # a tenth of Sound2Sight's: at the full rate the audio transformer's tanh saturates within 200 steps, and no audio
    # reaches the prediction (ours: see docs/numbers.md)
    transformer_rate: NonNegative = 0.1
    beta: NonNegative = 1e-3  # eta_1: weight of KL(q_phi || p_psi), eq. 4 (ours)
    gamma: NonNegative = 1e-3  # ten times Sound2Sight's: m_t / 2 scales the error to some ten times its size (ours)
    nested_width: Count = 64  # of the networks zeta and delta (ours)
    tau_width: Count = 32  # of the network tau (ours)
    eta2: NonNegative = 1e-3  # weight of KL(q_lambda || p_gamma), eq. 4 (ours)
    initial_log_precision: NonNegative = 3.5  # log m_t before training: 1 / m_t near a new model's error, 0.03 (ours)
    clip_norm: NonNegative = 1.0  # largest norm of the generator's gradient (ours)
    detach_sigma: bool = False  # True: the nested network moves neither the posterior's nor the prior's variance of z

    @model_validator(mode="after")
    def check_posterior(self) -> Self:
        """Raise ValueError for a model without posterior."""
        if not self.posterior:
            raise ValueError("posterior must be true: PUQ's precision is a function of the posterior's variance")
        return self


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal distributions N(location, scale^2) truncated to [0, inf), with location >= 0; float64."""

    location: Tensor
    scale: Tensor

    def sample(self, uniform: Tensor) -> Tensor:
        """Return reparametrised samples for uniform numbers in (0, 1), by the inverse of the distribution function."""
        kept = torch.special.ndtr(self.location / self.scale)
        return self.location - self.scale * torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6) * kept)

    def kl_to_normal(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Return the exact KL(self || N(mean, scale^2)).

        Where both have the same parameters it is -log Phi(location / scale), not 0.
        """
        ratio = self.location / self.scale
        log_kept = torch.special.log_ndtr(ratio)
        hazard = torch.exp(-0.5 * ratio**2 - 0.5 * math.log(2 * math.pi) - log_kept)
        spread = 1 - ratio * hazard  # E (s - location)^2 = scale^2 * spread
        variance = self.scale**2 * (spread - hazard**2)
        squared_offset = (self.location + self.scale * hazard - mean) ** 2
        return torch.log(scale / self.scale) - log_kept - spread / 2 + (variance + squared_offset) / (2 * scale**2)


class NestedPrecision(nn.Module):
    """The nested variational network: from the variances of z to the precision m_t of a frame (section 4)."""

    def __init__(self, config: PUQConfig) -> None:
        super().__init__()
        self.zeta = self.distribution_network(config.latent, config.nested_width)
        self.delta = self.distribution_network(config.latent, config.nested_width)
        last = nn.Linear(config.tau_width, 1)
        self.tau = nn.Sequential(nn.Linear(1, config.tau_width), nn.LeakyReLU(0.2), last)
        self.apply(initialise)
        nn.init.constant_(last.bias, config.initial_log_precision)

    @staticmethod
    def distribution_network(latent: int, width: int) -> nn.Sequential:
        """Return a network from z's log variances (..., latent) to the two parameters of a distribution of s."""
        return nn.Sequential(
            nn.Linear(latent, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 2)
        )

    def posterior(self, log_variance: Tensor) -> TruncatedNormal:
        """Return q_lambda(s_t | x_1..t, a_1..t) = zeta(Sigma^q): (..., latent) -> distributions (...)."""
        location, scale = self.zeta(log_variance).double().unbind(-1)
        return TruncatedNormal(nn.functional.softplus(location), nn.functional.softplus(scale) + 1e-3)

    def prior(self, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and scale, float64, of p_gamma(s_t | x_1..t-1, a_1..t) = delta(Sigma^z)."""
        mean, scale = self.delta(log_variance).double().unbind(-1)
        return mean, nn.functional.softplus(scale) + 1e-3

    def log_precision(self, s: Tensor) -> Tensor:
        """Return log m_t = tau(s_t), within [-10, 10]; the distribution p_nu(m_t | s_t) is taken as a point."""
        return self.tau(s[..., None].float()).squeeze(-1).clamp(-10, 10)


class PUQ(Sound2Sight):
    """PUQ (Chatterjee, Ahuja and Cherian, 2021): Sound2Sight with squared errors weighted by a learned precision."""

    paper = "Chatterjee, Ahuja and Cherian, 2021"
    predicts = frozenset({"variance"})
    Config: ClassVar[type[Sound2SightConfig]] = PUQConfig
    config: PUQConfig

    def __init__(self, shape: ClipShape, config: PUQConfig | None = None) -> None:
        super().__init__(shape, config)
        self.precision = NestedPrecision(self.config)

    @override
    def players(self) -> dict[str, Player]:
        """Return Sound2Sight's players; the generator's updates the nested network, too."""
        players = super().players()
        parameters = [*self.generator.parameters(), *self.precision.parameters()]
        players["generator"] = self.generator_player(parameters, self.config.clip_norm)
        return players

    @override
    def variational_loss(self, reconstruction: Reconstruction, target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of eq. 4 without the constant -E log p_nu, and their weighted sum.

        ||.||^2 is a mean over pixels, so that m_t is about 1 / MSE.
        """
        error = squared_errors(reconstruction.frames, target)
        kl = cast(Gaussian, reconstruction.posterior).kl(reconstruction.prior)
        log_precision, nested_kl = self.infer_precision(reconstruction)
        weighted = 0.5 * (log_precision.exp() * error - log_precision)
        bound = weighted + self.config.beta * kl + self.config.eta2 * nested_kl
        terms = {
            "mse": sum_over_frames(error),
            "kl": sum_over_frames(kl),
            "nested_kl": sum_over_frames(nested_kl),
            "log_precision": log_precision.mean(),
        }
        return terms, sum_over_frames(bound)

    def infer_precision(self, reconstruction: Reconstruction) -> tuple[Tensor, Tensor]:
        """Return log m_t and KL(q_lambda || p_gamma) of every scored frame in training: (B, n) each, float32."""
        sigma_q, sigma_z = cast(Gaussian, reconstruction.posterior).log_variance, reconstruction.prior.log_variance
        if self.config.detach_sigma:
            sigma_q, sigma_z = sigma_q.detach(), sigma_z.detach()
        with without_autocast(sigma_q.device):
            posterior = self.precision.posterior(sigma_q)
            s = posterior.sample(torch.rand_like(posterior.location))
            kl = posterior.kl_to_normal(*self.precision.prior(sigma_z))
            return self.precision.log_precision(s), kl.float()

    @override
    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Return Sound2Sight's samples, and 1 / m_t of every frame as its variance; see Predictor.predict.

        s_t is the mean of its prior, or 0 where that is negative (ours).
        """
        frames, sigma = self.sample_frames(context, samples, noise)
        with without_autocast(sigma.device):
            mean, _ = self.precision.prior(sigma.float())
            log_precision = self.precision.log_precision(mean.clamp(min=0))
        return Prediction(frames, variance=torch.exp(-log_precision))
