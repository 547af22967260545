"""Whether two models' means over clips differ by more than chance: a paired test, and its correction for many tests."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

FLIPS = 2**15 - 1  # so that Holm's correction can reach 0.05 in families of up to 1638 tests
AT_ONCE = 1000  # flips, 8 MB for 1000 clips
ROUNDING = 1e-9  # relative: sums that differ by less are equal


def sign_flip_test(differences: Floats, flips: int = FLIPS, seed: int = 0) -> NDArray[np.float64]:
    """Return the two-sided p-value of every column's mean over clips: (N, columns) -> (columns,), each in (0, 1].

    differences: two models' values on the same clips, subtracted. If the models are equally good, exchanging their
    values on a clip, which flips the sign of its difference, makes an outcome that is as likely. p is the share of
    flips, the one that leaves all signs as they are among them, whose mean is as far from 0 as the data's or further.
    Up to flips + 1 of them, all 2^N are taken; else `flips` random ones, the same for every column. NaN is left out; p
    is NaN for a column without values.

    A permutation test keeps its level for any distribution of scores at any number of clips, unlike the bootstrap
    interval, which is too narrow for few clips. Sources: Fisher 1935, section 21; Pitman 1937; Phipson and Smyth 2010
    on counting the data itself. Where the differences have mean 0 but are not symmetric, it holds for many clips, as
    flipping signs leaves their squares as they are, and so orders means as it orders t values (Janssen 1997).
    """
    present = ~np.isnan(differences)
    values = np.where(present, differences, 0).astype(np.float64)
    least = np.abs(values.sum(0)) - ROUNDING * np.abs(values).sum(0)
    taken, extreme = 0, np.zeros(values.shape[1])
    for signs in sign_flips(len(values), flips, seed):
        taken += len(signs)
        extreme += (np.abs(signs @ values) >= least).sum(0)
    return np.where(present.any(0), extreme / taken, np.nan)


def sign_flips(clips: int, flips: int, seed: int) -> Iterator[Floats]:
    """Yield signs, +1 or -1, in parts (flips, clips): all of them if they are no more than flips + 1, else random ones.

    The first one flips nothing.
    """
    if 2**clips <= flips + 1:
        yield 1.0 - 2 * (np.arange(2**clips)[:, None] >> np.arange(clips) & 1)
        return
    yield np.ones((1, clips))
    rng = np.random.default_rng(seed)
    for first in range(0, flips, AT_ONCE):
        yield 1.0 - 2 * rng.integers(2, size=(min(AT_ONCE, flips - first), clips), dtype=np.int8)


def holm(p: Floats) -> NDArray[np.float64]:
    """Return p-values corrected for their number; NaN stays NaN, and is not counted.

    Where no two models differ, the chance that any corrected value is below 0.05 is at most 0.05, however the tests
    depend on each other; the same holds for the tests of equal models among others. Source: Holm 1979.
    """
    corrected = np.array(p, np.float64)
    order = np.argsort(corrected)[: np.count_nonzero(~np.isnan(corrected))]  # NaN is sorted last
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(factors * corrected[order]), 1)
    return corrected
