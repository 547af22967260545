"""The progress bar: how much is done, of how much, and the time that is left."""

import io
import sys

from mmnist_av.system.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_says_how_much_is_done_and_how_long_it_still_takes(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("verify, MB", 4000.0) as advance:
        advance(1000.25)
    shown = sys.stderr.getvalue()
    assert "verify, MB" in shown
    assert "1000/4000" in shown
    assert "left" in shown


def test_no_bar_is_written_to_a_file(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar("clips", 3) as advance:
        advance(3)
    assert sys.stderr.getvalue() == ""
