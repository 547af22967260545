"""PUQ: Sound2Sight with a learned precision that weighs each predicted frame's error.

M. Chatterjee, N. Ahuja and A. Cherian, "Quantifying Predictive Uncertainty for Stochastic Video Synthesis from Audio"
(2021). Equations below are that paper's.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from baselines.layers.initialisation import initialise
from baselines.layers.recurrent import Gaussian
from baselines.predictor import ClipShape, Context, Noise, Player, Prediction
from baselines.sound2sight import Reconstruction, Sound2Sight, Sound2SightConfig
from mmnist_av.system.errors import InputError


@dataclass(frozen=True)
class PUQConfig(Sound2SightConfig):
    """Sound2Sight's values, and those of the nested network (the paper leaves all its sizes and weights open)."""

    z_train: str = "posterior"  # eq. 1: the expectation is over q_phi
    beta: float = 1e-3  # eta_1: weight of KL(q_phi || p_psi), eq. 4 (ours)
    gamma: float = 1e-3  # ten times Sound2Sight's, as m_t / 2 scales the error to some ten times its size (ours)
    nested: int = 64  # width of the networks zeta and delta (ours)
    decoder: int = 32  # width of the network tau (ours)
    eta2: float = 1e-3  # weight of KL(q_lambda || p_gamma), eq. 4 (ours)
    initial_log_precision: float = 3.5  # log m_t at the start: 1 / m_t about a young model's error, 0.03 (ours)
    clip_norm: float = 1.0  # largest norm of the generator's gradient (ours)
    detach_sigma: bool = False  # True: m_t does not move the posterior of z

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.posterior:
            raise InputError("PUQ's precision comes from the posterior's variance: posterior must be true")


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal distributions N(location, scale^2) cut to [0, inf); location >= 0, float64."""

    location: Tensor
    scale: Tensor

    def sample(self, uniform: Tensor) -> Tensor:
        """Reparametrised draws from uniform numbers in (0, 1), by the inverse of the distribution function."""
        kept = torch.special.ndtr(self.location / self.scale)
        return self.location - self.scale * torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6) * kept)

    def kl_to_normal(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL(self || N(mean, scale^2)), exactly. It is -log Phi(location / scale), not 0, when the parameters agree."""
        ratio = self.location / self.scale
        log_kept = torch.special.log_ndtr(ratio)
        hazard = torch.exp(-0.5 * ratio**2 - 0.5 * math.log(2 * math.pi) - log_kept)
        spread = 1 - ratio * hazard  # E (s - location)^2 = scale^2 * spread
        variance = self.scale**2 * (spread - hazard**2)
        off_centre = (self.location + self.scale * hazard - mean) ** 2
        return torch.log(scale / self.scale) - log_kept - spread / 2 + (variance + off_centre) / (2 * scale**2)


class NestedPrecision(nn.Module):
    """The variational network from the variances of z to the precision m_t of a frame (section 4)."""

    def __init__(self, config: PUQConfig) -> None:
        super().__init__()
        self.zeta = self.embed(config.latent, config.nested)
        self.delta = self.embed(config.latent, config.nested)
        answer = nn.Linear(config.decoder, 1)
        self.tau = nn.Sequential(nn.Linear(1, config.decoder), nn.LeakyReLU(0.2), answer)
        self.apply(initialise)
        nn.init.constant_(answer.bias, config.initial_log_precision)

    @staticmethod
    def embed(latent: int, width: int) -> nn.Sequential:
        """Log variances of z -> the two parameters of s's distribution."""
        return nn.Sequential(
            nn.Linear(latent, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 2)
        )

    def posterior(self, log_variance: Tensor) -> TruncatedNormal:
        """q_lambda(s_t | x_1..t, a_1..t) = zeta(Sigma^q): (..., latent) -> (...)."""
        location, scale = self.zeta(log_variance).double().unbind(-1)
        return TruncatedNormal(nn.functional.softplus(location), nn.functional.softplus(scale) + 1e-3)

    def prior(self, log_variance: Tensor) -> tuple[Tensor, Tensor]:
        """p_gamma(s_t | x_1..t-1, a_1..t) = delta(Sigma^z): mean and scale, float64."""
        mean, scale = self.delta(log_variance).double().unbind(-1)
        return mean, nn.functional.softplus(scale) + 1e-3

    def log_precision(self, s: Tensor) -> Tensor:
        """log m_t = tau(s_t), within [-10, 10]; p_nu is taken as certain of it."""
        return self.tau(s[..., None].float()).squeeze(-1).clamp(-10, 10)


class PUQ(Sound2Sight):
    """PUQ (Chatterjee, Ahuja and Cherian, 2021): Sound2Sight whose squared error is weighed by a learned precision."""

    paper = "Chatterjee, Ahuja and Cherian, 2021"
    predicts = frozenset({"variance"})
    Config: ClassVar[type[Sound2SightConfig]] = PUQConfig
    config: PUQConfig

    def __init__(self, shape: ClipShape, config: PUQConfig | None = None) -> None:
        super().__init__(shape, config)
        self.precision = NestedPrecision(self.config)

    def players(self) -> dict[str, Player]:
        """Sound2Sight's players; the nested network moves with the generator."""
        players = super().players()
        generator = [*self.generator.parameters(), *self.precision.parameters()]
        players["generator"] = self.generator_player(generator, self.config.clip_norm)
        return players

    def variational(self, made: Reconstruction, truth: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Eq. 4 without its constant term -E log p_nu; ||.||^2 is a mean over pixels, so that m_t is about 1 / MSE."""
        error = ((made.frames - truth) ** 2).mean((2, 3, 4))
        kl = cast(Gaussian, made.posterior).kl(made.prior)
        log_precision, nested_kl = self.weigh(made)
        weighed = 0.5 * (log_precision.exp() * error - log_precision)
        bound = weighed + self.config.beta * kl + self.config.eta2 * nested_kl
        terms = {
            "mse": error.sum(1).mean(),
            "kl": kl.sum(1).mean(),
            "nested_kl": nested_kl.sum(1).mean(),
            "log_precision": log_precision.mean(),
        }
        return terms, bound.sum(1).mean()

    def weigh(self, made: Reconstruction) -> tuple[Tensor, Tensor]:
        """log m_t and KL(q_lambda || p_gamma) of every scored frame: (B, predicted) each, float32."""
        sigma = cast(Gaussian, made.posterior).log_variance
        device = sigma.device.type
        with torch.autocast(device, enabled=False):
            posterior = self.precision.posterior(sigma.detach() if self.config.detach_sigma else sigma)
            s = posterior.sample(torch.rand_like(posterior.location))
            kl = posterior.kl_to_normal(*self.precision.prior(made.prior.log_variance))
            return self.precision.log_precision(s), kl.float()

    def predict(self, context: Context, samples: int, noise: Noise) -> Prediction:
        """Sound2Sight's futures, and 1 / m_t of every frame; s_t is its prior's mean, or 0 if that is below (ours)."""
        frames, sigma = self.foresee(context, samples, noise)
        with torch.autocast(sigma.device.type, enabled=False):
            mean, _ = self.precision.prior(sigma.float())
            log_precision = self.precision.log_precision(mean.clamp(min=0))
        return Prediction(frames, variance=torch.exp(-log_precision))
