"""LSTMs, and the distributions that they predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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

    def __getitem__(self, index: Any) -> "Gaussian":
        """Some of the distributions."""
        return Gaussian(self.mean[index], self.log_variance[index])

    @classmethod
    def cat(cls, parts: Sequence["Gaussian"]) -> "Gaussian":
        """Distributions one step after the other, (N, steps, z)."""
        return cls(torch.cat([each.mean for each in parts], 1), torch.cat([each.log_variance for each in parts], 1))


class LatentLSTM(nn.Module):
    """A prior or posterior of z: embeddings to its mean and log variance, step by step."""

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.recurrent = Recurrent(inputs, hidden, layers=1)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)

    def forward(self, embeddings: Tensor, state: State | None = None) -> tuple[Gaussian, State]:
        """(N, n, inputs) -> distributions of n z, (N, n, latent), float32, and the state."""
        hidden, state = self.recurrent(embeddings, state)
        return Gaussian(self.mean(hidden).float(), self.log_variance(hidden).float()), state
