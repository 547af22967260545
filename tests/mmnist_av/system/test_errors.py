"""Error messages: one line, whatever the user gave."""

import errno
import os

import click
import pytest
from click.testing import CliRunner

from benchmark.cli import main as avbench
from mmnist_av.cli import main as mmnist_av
from mmnist_av.system.errors import OneLineErrors, one_line


@pytest.mark.parametrize("command", [mmnist_av, avbench])
@pytest.mark.parametrize("name", ["x" * 10_000, "a b " * 2_500, "\x1b[2J\x07bell", "\u202etxt", "\udcff"])
def test_names_are_repeated_in_part_and_without_control_characters(command, name):
    for arguments in ([name], ["verify", name], ["verify", f"--{name}"]):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert result.stderr.removesuffix("\n").isprintable()
        assert len(result.stderr) < 2_100


def test_a_message_keeps_its_start_and_its_end():
    assert one_line("the \n first\tline") == "the first line"
    assert one_line(f"/data/{'x' * 300}/frames.npy is missing: generate it again").startswith("/data/xxx")
    assert one_line(f"/data/{'x' * 300}/frames.npy is missing: generate it again").endswith(
        "xxx/frames.npy is missing: generate it again"
    )
    damaged = "; ".join(f"test/{number}.npy is missing" for number in range(500))
    cut = one_line(f"data is damaged: {damaged}; delete the folder")
    assert cut.startswith("data is damaged: test/0.npy is missing")
    assert cut.endswith("delete the folder")
    assert 1_900 < len(cut) < 2_100


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ((errno.EFBIG,), "a file could not be read or written: File too large; the shell (ulimit -f) or the file"),
        ((errno.ENOSPC,), "a file could not be read or written: No space left on device; make room and start the same"),
        ((errno.ENOSPC, "runs/a.csv"), "runs/a.csv: No space left on device; make room and start the same command"),
        ((errno.EMFILE, "a.csv"), "a.csv: Too many open files; the shell (ulimit -n) does not allow so many"),
        ((errno.ENAMETOOLONG, "a.csv"), "a.csv: File name too long; choose a shorter name"),
        ((errno.EACCES, "a.csv"), "[Errno 13] Permission denied: 'a.csv'"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error, message):
    @click.group(cls=OneLineErrors)
    def main():
        pass

    @main.command()
    def fail():
        number, *file = error
        raise OSError(number, os.strerror(number), *file)

    result = CliRunner().invoke(main, ["fail"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1
