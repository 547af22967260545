"""Commands as processes that end with this one, where Ctrl-C or SIGTERM stops it."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO

GRACE = 20  # seconds in which an interrupted run may write its last checkpoint; schedulers wait some 30
STOPPED = 130  # exit code of a command that did not start

_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()
_starting = threading.Lock()


def is_stopped() -> bool:
    """Return whether a stop keeps further commands from starting."""
    return _stopped.is_set()


def call(command: Sequence[str], log: IO[str]) -> int:
    """Run a command, which prints into a log, and return its exit code; STOPPED where none is started any more."""
    with _starting:
        if _stopped.is_set():
            return STOPPED
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _running.add(process)
    try:
        return process.wait()
    finally:
        process.kill()  # where waiting was interrupted; nothing to one that has ended
        _running.discard(process)


@contextmanager
def ended_at_a_stop() -> Iterator[None]:
    """End the processes of `call` where Ctrl-C or SIGTERM raises KeyboardInterrupt in the block; no further one starts.

    A terminal's Ctrl-C reaches them by itself, SIGTERM is passed on as Ctrl-C. Those that have not ended by themselves
    after GRACE are ended by SIGTERM. Outside the main thread, SIGTERM acts as it usually does.
    """
    _stopped.clear()
    usual, is_main = signal.getsignal(signal.SIGTERM), threading.current_thread() is threading.main_thread()
    if is_main:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _end()
        raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, usual)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for process in list(_running):
        process.send_signal(signal.SIGINT)
    raise KeyboardInterrupt


def _end() -> None:
    with _starting:
        _stopped.set()
    end = time.monotonic() + GRACE
    try:
        while _running and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        for process in list(_running):
            process.terminate()
