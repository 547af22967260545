"""Read .npy files that may be damaged or of another's making.

Headers are compared with the size of the file before anything is allocated: a damaged one may claim any size.
"""

import io
import math
import os
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    offset: int  # of the values in the file, bytes
    shape: tuple[int, ...]
    order: str  # C or F


def read_npy(content: bytes) -> NDArray[Any]:
    """Return the array of an .npy file's bytes; it is read-only. Raises ValueError if they are damaged."""
    header = _header(io.BytesIO(content), len(content))
    values = np.frombuffer(content[header.offset :], header.dtype)
    return values.reshape(header.shape, order="F" if header.order == "F" else "C")


def map_npy(path: Path) -> NDArray[Any]:
    """Map an .npy file into memory, copy-on-write: changes do not reach the disk. Raises OSError, ValueError."""
    with path.open("rb") as file:
        header = _header(file, os.fstat(file.fileno()).st_size)
    order: Any = header.order
    return np.memmap(path, header.dtype, mode="c", offset=header.offset, shape=header.shape, order=order)


def _header(file: BinaryIO, size: int) -> _Header:
    """Return the header of an .npy file of version 1.0 and `size` bytes. Raises ValueError if it is damaged."""
    try:
        version = np.lib.format.read_magic(file)
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, TypeError, SyntaxError, TokenError) as error:  # numpy parses it as Python
        raise ValueError("it does not start like an .npy file") from error
    if version != (1, 0) or dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"its .npy header is not that of an array of numbers: version {version}, {shape} {dtype}")
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if size != needed:
        raise ValueError(f"by its .npy header it has {needed} bytes, not {size}")
    return _Header(dtype, file.tell(), shape, "F" if by_columns else "C")
