"""LSTMs, and the normal distributions that they predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

State = tuple[Tensor, Tensor]  # hidden and cell state of an LSTM, (layers, N, hidden) each


class Recurrent(nn.Module):
    """A linear layer followed by an LSTM."""

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)

    @override
    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the hidden states (N, n, hidden) for inputs (N, n, inputs), and the state after them.

        state: the state before the first input; zeros if None.
        """
        return self.lstm(self.enter(inputs), state)


@dataclass(frozen=True)
class Gaussian:
    """Diagonal normal distributions; the last axis holds the dimensions of z."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return samples from standard normal `noise`, by reparametrisation."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def kl(self, other: "Gaussian") -> Tensor:
        """Return KL(self || other), summed over the last axis."""
        squared = self.log_variance.exp() + (self.mean - other.mean) ** 2
        return 0.5 * (other.log_variance - self.log_variance + squared / other.log_variance.exp() - 1).sum(-1)

    def repeat_interleave(self, repeats: int) -> "Gaussian":
        """Return the distributions with each row of the first axis repeated `repeats` times."""
        return Gaussian(self.mean.repeat_interleave(repeats, 0), self.log_variance.repeat_interleave(repeats, 0))

    def __getitem__(self, index: Any) -> "Gaussian":
        return Gaussian(self.mean[index], self.log_variance[index])

    @classmethod
    def cat(cls, parts: Sequence["Gaussian"]) -> "Gaussian":
        """Return the distributions of consecutive steps, (N, n, latent) each, as one along axis 1."""
        return cls(torch.cat([each.mean for each in parts], 1), torch.cat([each.log_variance for each in parts], 1))


def repeat_state(state: State, repeats: int) -> State:
    """Return an LSTM's state with each sequence repeated `repeats` times."""
    hidden, cell = state
    return hidden.repeat_interleave(repeats, 1), cell.repeat_interleave(repeats, 1)


class LatentLSTM(nn.Module):
    """A prior or posterior of z: an LSTM from embeddings to the mean and log variance of each step's z."""

    def __init__(self, inputs: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.recurrent = Recurrent(inputs, hidden, layers=1)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)

    @override
    def forward(self, embeddings: Tensor, state: State | None = None) -> tuple[Gaussian, State]:
        """Return the distributions (N, n, latent), float32, of z for embeddings (N, n, inputs), and the LSTM's state.

        state: the LSTM's state before the first embedding; zeros if None.
        """
        hidden, state = self.recurrent(embeddings, state)
        return Gaussian(self.mean(hidden).float(), self.log_variance(hidden).float()), state
