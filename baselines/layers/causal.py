"""Encoders of sequences whose output at position t depends on inputs 0 .. t only.

Each call returns a cache beside its outputs, and a call with that cache continues where the last one ended.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

Cache = tuple[Tensor, Tensor]  # what an encoder keeps of earlier positions, N first


class CausalTransformer(nn.Module):
    """A transformer encoder of one post-norm layer, which has a `width` of its own between the embeddings.

    position_dropout: after the sinusoidal position encoding; dropout: inside the layer; tanh: whether it ends in one.
    """

    def __init__(
        self,
        embedding: int,
        width: int,
        heads: int,
        feedforward: int,
        position_dropout: float,
        dropout: float,
        tanh: bool,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.dropout, self.tanh = width, heads, dropout, tanh
        self.widen = nn.Linear(embedding, width)
        self.position_dropout = nn.Dropout(position_dropout)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
        )
        self.feedforward_norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, embedding)

    def positions(self, first: int, count: int, device: torch.device) -> Tensor:
        """Return the sinusoidal encodings of `count` positions, starting at `first`: (count, width)."""
        position = torch.arange(first, first + count, device=device, dtype=torch.float32)[:, None]
        frequency = 10000.0 ** (-torch.arange(0, self.width, 2, device=device, dtype=torch.float32) / self.width)
        angle = position * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)

    @override
    def forward(self, embeddings: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return the outputs (N, n, embedding) for embeddings (N, n, embedding), and the cache for the next call.

        cache: keys and values (N, heads, earlier positions, width / heads) that an earlier call returned; the
        embeddings follow those positions, and n must be 1.
        """
        first = 0 if cache is None else cache[0].shape[2]
        wide = functional.leaky_relu(self.widen(embeddings), 0.01) * self.width**0.5
        inputs = self.position_dropout(wide + self.positions(first, embeddings.shape[1], embeddings.device))
        attended, cache = self.attend(inputs, cache)
        hidden = self.attention_norm(inputs + functional.dropout(attended, self.dropout, self.training))
        outputs = functional.dropout(self.feedforward(hidden), self.dropout, self.training)
        narrowed = self.narrow(self.feedforward_norm(hidden + outputs))
        return torch.tanh(narrowed) if self.tanh else narrowed, cache

    def attend(self, inputs: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Return causal multi-head self-attention over inputs (N, n, width) and the cache, and the extended cache."""
        split = self.attention_in(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=cache is None)
        return self.attention_out(mixed.transpose(1, 2).flatten(2)), (key, value)


class CausalLSTM(nn.Module):
    """An LSTM as wide as the embeddings, in the place of a CausalTransformer."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(embedding, embedding, batch_first=True)

    @override
    def forward(self, embeddings: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return the outputs (N, n, embedding) for embeddings (N, n, embedding), and the cache for the next call.

        cache: hidden and cell state (N, 1, embedding) that an earlier call returned.
        """
        state = None if cache is None else tuple(each.transpose(0, 1).contiguous() for each in cache)
        outputs, (hidden, cell) = self.lstm(embeddings, state)
        return outputs, (hidden.transpose(0, 1), cell.transpose(0, 1))


def initialise_attention(module: nn.Module) -> None:
    """Initialise a transformer's packed projection of queries, keys and values as torch's own: Xavier."""
    if isinstance(module, CausalTransformer):
        nn.init.xavier_uniform_(module.attention_in.weight)
