"""Standard streams of a command."""

import os
import sys
from pathlib import Path


def open_closed_streams() -> None:
    """Open standard input, output and error on the null device where the caller closed them, as in `2>&-`.

    Otherwise the next file to be opened would get the closed stream's number, and libraries would report into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)  # for the commands that this one starts
            setattr(sys, name, stream)
