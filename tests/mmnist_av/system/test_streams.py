"""Commands work, and report, whichever standard streams their caller closed."""

import os
import sys
from contextlib import contextmanager

import pytest

from benchmark.cli import main as avbench
from mmnist_av.cli import main as mmnist_av
from mmnist_av.system.streams import open_closed_streams

NAMES = "stdin", "stdout", "stderr"


@contextmanager
def closed_streams():
    """Set the standard streams to None, as Python does where their descriptors are closed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(sys, name, None)
        yield
        for name in NAMES:
            getattr(sys, name).close()


def exit_code(command, *arguments):
    with closed_streams(), pytest.raises(SystemExit) as stop:
        command(list(map(str, arguments)))
    return stop.value.code


def test_a_dataset_is_generated_without_standard_streams(tmp_path):
    sizes = "--train", 0, "--val", 0, "--test", 1, "--frames", 4
    assert exit_code(mmnist_av, "generate", *sizes, "--out", tmp_path / "data") == 0
    assert (tmp_path / "data" / "dataset.json").is_file()


@pytest.mark.parametrize("command", [mmnist_av, avbench])
def test_a_mistake_has_its_exit_code_without_standard_streams(command, tmp_path):
    assert exit_code(command, "verify", tmp_path / "nowhere") == 2


def test_open_streams_are_left_alone():
    before = sys.stdin, sys.stdout, sys.stderr
    open_closed_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_streams_that_were_closed_take_any_text_and_are_those_of_children_too():
    with closed_streams():
        open_closed_streams()
        print("\udcff", file=sys.stderr, flush=True)
        assert os.get_inheritable(sys.stderr.fileno())
