"""Archives of arrays, .npz, that say which run they are of, so that none of another run is taken for this run's."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.runs.differences import difference
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import regular, written_whole

RUN = "run"  # the name of what identifies the run


def write_archive(path: Path, arrays: Mapping[str, Any], run: str) -> None:
    """Write arrays by name, and what identifies their run, whole or not at all."""
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **{RUN: np.array(run)}, **arrays)  # type: ignore[arg-type]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an archive. Raises InputError where it is damaged, then or when an array is read."""
    try:
        if not zipfile.is_zipfile(regular(path)):  # numpy would advise to unpickle it
            raise ValueError("an .npz file is expected")
        with np.load(path) as arrays:
            yield arrays
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({error}): move it away to score again") from error


def read_run(path: Path) -> str | None:
    """Return what identifies the run of an archive; None for those of older versions. InputError if damaged."""
    with opened(path) as arrays:
        return str(arrays[RUN]) if RUN in arrays.files else None


def check_run(path: Path, run: str) -> None:
    """Raise InputError for an archive of another run, a damaged one, and one that does not say which run it is of."""
    found = read_run(path)
    if found != run:
        raise InputError(f"{path} {other_run(found, run)}: move it away to score again")


def check_whole(path: Path) -> None:
    """Raise InputError where any array of an archive cannot be read: each has a checksum."""
    with opened(path) as arrays:
        for name in arrays.files:
            arrays[name]


def other_run(found: str | None, expected: str) -> str:
    """Return in words that something is another run's, or does not say whose it is (None)."""
    if found is None:
        return "does not say which run it is of, as an older version wrote it"
    return f"is of another run ({difference(found, expected)})"
