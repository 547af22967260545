"""Code versions change with the code that results come from, and with nothing else."""

import importlib
import subprocess
from pathlib import Path

import pytest

from baselines.puq import PUQ
from benchmark.runs import environment
from benchmark.runs.environment import code_version, version_of
from mmnist_av import __version__, families
from mmnist_av.families import Family
from mmnist_av.system.plugins import PACKAGES


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


def test_odd_files_in_a_checkout_do_no_harm(checkout, monkeypatch):
    root, _ = checkout
    clean = version_of(root)
    (root / PACKAGES[0] / ".#code.py").symlink_to("someone@somewhere.1:2")  # Emacs' mark of an unsaved file
    subprocess.run(("git", "init", "-q", root / PACKAGES[1] / "nested"), check=True)
    monkeypatch.setenv("GIT_DIR", str(root / PACKAGES[1] / "nested/.git"))  # as in a hook of another checkout
    assert version_of(root) == clean
    (root / PACKAGES[0] / "modèle.py").write_text("a = 1\n")
    new = version_of(root)
    (root / PACKAGES[0] / "code.py").write_bytes(b"# caf\xe9\n")
    assert clean != new != version_of(root)


def test_outside_a_checkout_it_is_the_packages_version(tmp_path):
    assert version_of(tmp_path) == __version__


@pytest.mark.parametrize("files", [("__init__.py", "model.py", "part.py"), ("model.py", "part.py")])
def test_a_third_partys_package_stands_beside_it_with_a_hash_of_all_of_it(files, tmp_path, monkeypatch):
    name = f"theirs_{len(files)}"
    package = tmp_path / name
    package.mkdir()
    for file in files:
        (package / file).write_text("")
    (package / "model.py").write_text("class Model: pass")
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module(f"{name}.model").Model
    first = code_version(model)
    assert first.startswith(f"{code_version()}; {name} ")
    assert code_version(model) == first
    (package / "part.py").write_text("a = 2")
    assert code_version(model) != first


def test_a_third_partys_only_module_is_hashed_and_ours_are_not_twice(tmp_path, monkeypatch):
    place = tmp_path / "their_only_module.py"
    place.write_text("class Model: pass")
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("their_only_module").Model
    first = code_version(model)
    assert "; their_only_module " in first
    place.write_text("class Model: a = 2")
    assert code_version(model) != first
    assert code_version(PUQ, type(families.find("m3so")), Family) == code_version()


def test_a_third_partys_model_and_family_are_named_both_and_one_package_once(tmp_path, monkeypatch):
    (tmp_path / "their_model.py").write_text("class Model: pass\nclass Data: pass")
    (tmp_path / "their_data.py").write_text("class Data: pass")
    monkeypatch.syspath_prepend(tmp_path)
    model, data = (importlib.import_module(name) for name in ("their_model", "their_data"))
    one, other = (code_version(each).removeprefix(code_version()) for each in (model.Model, data.Data))
    assert code_version(model.Model, data.Data) == f"{code_version()}{one}{other}"
    assert code_version(model.Model, model.Data) == f"{code_version()}{one}"
    (tmp_path / "their_data.py").write_text("class Data: a = 2")
    assert code_version(model.Model, data.Data) != f"{code_version()}{one}{other}"


def test_the_code_version_is_that_of_the_checkout_that_holds_this_code():
    root = Path(environment.__file__).parents[2]
    assert (root / "pyproject.toml").is_file()
    assert all((root / package).is_dir() for package in PACKAGES)
    assert code_version() == version_of(root)
