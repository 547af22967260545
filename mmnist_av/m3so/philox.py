"""numpy's Philox4x64-10 for many keys at once: the same raw numbers, without a generator object per clip."""

import numpy as np
from numpy.typing import NDArray

# Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011); numpy's own constants.
_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2E7470EE14C6C93, 0xCA5A826395121157], np.uint64)
_WEYL = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def _high_product(a: np.uint64, b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the upper 64 bits of a * b, from 32-bit halves."""
    a_low, a_high = a & _LOW, a >> _HALF
    b_low, b_high = b & _LOW, b >> _HALF
    middle = a_high * b_low + (a_low * b_low >> _HALF)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF)


def raw_numbers(seed: int, streams: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """Return the first `count` outputs of `numpy.random.Philox(key=[seed, stream]).random_raw()` for every stream.

    `seed` is within 0 and 2**64 - 1, `streams` is (N,). The result is (count, N), so that one draw of all streams is
    contiguous.
    """
    blocks = -(-count // 4)
    zeros = np.zeros((blocks, len(streams)), np.uint64)
    # numpy counts before it draws: its first block has counter 1
    counter = [zeros + np.arange(1, blocks + 1, dtype=np.uint64)[:, None], zeros, zeros, zeros]
    keys = [np.full(1, seed, np.uint64), streams.astype(np.uint64)]
    for _ in range(_ROUNDS):
        a, b, c, d = counter
        counter = [
            _high_product(_MULTIPLIERS[1], c) ^ b ^ keys[0],
            _MULTIPLIERS[1] * c,
            _high_product(_MULTIPLIERS[0], a) ^ d ^ keys[1],
            _MULTIPLIERS[0] * a,
        ]
        keys = [key + weyl for key, weyl in zip(keys, _WEYL, strict=True)]
    return np.stack(counter, axis=1).reshape(4 * blocks, len(streams))[:count]


def uniforms(seed: int, streams: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """Return the upper 53 bits of `raw_numbers` as numbers in [0, 1), (count, N)."""
    return (raw_numbers(seed, streams, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
