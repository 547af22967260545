"""Damaged .npy files are refused in our own words, whatever their headers claim."""

import contextlib
import io
import random

import numpy as np
import pytest

from mmnist_av.system.npy import map_npy, read_npy


def file_of(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def header(shape, dtype="|u1"):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": dtype, "fortran_order": False, "shape": shape})
    return content.getvalue()


ARRAYS = [
    np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.float32(3) * np.ones(()),
    np.arange(5, dtype=">u4"),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_arrays_are_read_and_mapped_as_numpy_does(tmp_path, array):
    path = tmp_path / "x.npy"
    path.write_bytes(file_of(array))
    for found in (read_npy(path.read_bytes()), map_npy(path)):
        np.testing.assert_array_equal(found, np.load(path))
        assert found.dtype == array.dtype


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not start like"),
        (b"garbage" * 30, "does not start like"),
        (b"\x80\x04N.", "does not start like"),
        (header((3,))[:40], "does not start like"),
        (header((3,)).replace(b"descr", b"dascr") + b"123", "does not start like"),
        (header((23 * 10**12,)) + b"x" * 100, "by its .npy header it has 23000000000128 bytes, not 228"),
        (header((2**70,)) + b"x", "by its .npy header it has"),
        (header((3,)) + b"1234", "by its .npy header it has 131 bytes, not 132"),
        (header((-3,)), "not that of an array of numbers"),
        (header((3,), "|O") + b"123", "not that of an array of numbers"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    for read in (lambda: read_npy(content), lambda: map_npy(path)):
        with pytest.raises(ValueError, match=message) as error:
            read()
        assert "allow_pickle" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_a_changed_header_ends_in_an_array_or_a_value_error():
    whole, places = file_of(ARRAYS[0]), random.Random(0)
    for _ in range(500):
        content = bytearray(whole)
        content[places.randrange(128)] = places.randrange(256)
        with contextlib.suppress(ValueError):
            read_npy(bytes(content))
