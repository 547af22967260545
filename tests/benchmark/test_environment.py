"""Code versions change with the code that results come from, and with nothing else."""

import subprocess

import pytest

from benchmark.environment import PACKAGES, code_version, version_of
from mmnist_av import __version__


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a file in every package, and what commits all of it."""

    def commit():
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        for command in (("add", "-A"), (*identity, "commit", "-q", "-m", "more")):
            subprocess.run(("git", "-C", tmp_path, *command), check=True)

    subprocess.run(("git", "init", "-q", tmp_path), check=True)
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("a = 1\n")
    commit()
    return tmp_path, commit


def test_a_version_is_that_of_the_packages_last_commit(checkout):
    root, commit = checkout
    first = version_of(root)
    assert first.startswith(f"{__version__}+g")
    (root / "README.md").write_text("words")
    assert version_of(root) == first
    commit()
    assert version_of(root) == first
    for package in PACKAGES:
        (root / package / "code.py").write_text("a = 2\n")
        assert ".dirty" in version_of(root)
        commit()
        assert ".dirty" not in version_of(root) != first


def test_what_is_not_committed_shows_new_files_too(checkout):
    root, _ = checkout
    found = [version_of(root)]
    for text in ("a = 2\n", "a = 3\n"):
        (root / PACKAGES[0] / "code.py").write_text(text)
        found.append(version_of(root))
    for text in ("b = 1\n", "b = 2\n"):
        (root / PACKAGES[1] / "new.py").write_text(text)
        found.append(version_of(root))
    assert len(set(found)) == 5
    assert version_of(root) == found[-1]


def test_outside_a_checkout_it_is_the_packages_version(tmp_path):
    assert version_of(tmp_path) == __version__


def test_what_else_took_part_stands_beside_it():
    assert code_version("theirs 1a2b3c4d") == f"{code_version()}; theirs 1a2b3c4d"
