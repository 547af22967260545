"""Paths that users name: any but an empty one."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mmnist_av.system.paths import UserPath


@click.command()
@click.argument("path", type=UserPath())
@click.option("--existing", type=UserPath(exists=True))
@click.option("--root", type=UserPath(), envvar="ROOT")
def show(path, existing, root):
    click.echo(repr((path, existing, root)))


def run(*arguments, root=None):
    return CliRunner().invoke(show, list(map(str, arguments)), env={"ROOT": root})


@pytest.mark.parametrize("name", ["data", ".", "a:b", "a b", "-", "/", "d\u00e4ta"])
def test_a_path_is_pathlibs(name):
    assert run("--", name).output == f"{(Path(name), None, None)!r}\n"


@pytest.mark.parametrize("arguments", [[""], ["data", "--existing", ""], ["data", "--root", ""]])
def test_an_empty_path_is_refused(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "a path is expected, not an empty text" in result.stderr


def test_an_empty_environment_variable_names_no_path(tmp_path):
    assert run("data", root="").output == f"{(Path('data'), None, None)!r}\n"
    assert run("data", root=str(tmp_path)).output == f"{(Path('data'), None, tmp_path)!r}\n"


def test_a_path_may_have_to_exist(tmp_path):
    assert run("data", "--existing", tmp_path).exit_code == 0
    assert "does not exist" in run("data", "--existing", tmp_path / "nowhere").stderr
