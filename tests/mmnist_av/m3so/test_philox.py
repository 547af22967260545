"""The vectorised Philox equals numpy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmnist_av.m3so.philox import raw_numbers, uniforms

words = st.integers(0, 2**64 - 1)


@given(seed=words, streams=st.lists(words, min_size=1, max_size=5), count=st.integers(1, 70))
def test_every_stream_equals_numpys(seed, streams, count):
    ours = raw_numbers(seed, np.array(streams, np.uint64), count)
    for column, stream in zip(ours.T, streams, strict=True):
        numpys = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(count)
        np.testing.assert_array_equal(column, numpys)


def test_uniforms_are_the_upper_53_bits():
    streams = np.arange(1000, dtype=np.uint64)
    numbers = uniforms(3, streams, 9)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_array_equal(numbers * 2.0**53, (raw_numbers(3, streams, 9) >> np.uint64(11)).astype(float))
