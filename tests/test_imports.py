"""The direction of imports: mmnist_av < baselines < benchmark < leaderboard; generic code does not know M3SO."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mmnist_av", "baselines", "benchmark", "leaderboard")  # each may import itself and those before it
KNOW_M3SO = (
    "mmnist_av/m3so/",
    "mmnist_av/cli.py",
    "baselines/bayes.py",  # the references know M3SO's rules
)


def modules():
    """Return the path of every module of the packages, relative to the root."""
    return [
        path.relative_to(ROOT).as_posix() for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    ]


def imported(module):
    """Return the full names that a module imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_one_that_is_built_on_it(package):
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    wrong = [
        (module, name)
        for module in modules()
        if module.startswith(f"{package}/")
        for name in imported(module)
        if name.split(".")[0] in above
    ]
    assert not wrong


def test_only_modules_about_m3so_import_it():
    knowing = {
        module for module in modules() if any(f"{name}.".startswith("mmnist_av.m3so.") for name in imported(module))
    }
    assert not {module for module in knowing if not module.startswith(KNOW_M3SO)}


def test_system_imports_nothing_of_ours():
    wrong = [
        (module, name)
        for module in modules()
        if module.startswith("mmnist_av/system/")
        for name in imported(module)
        if name.split(".")[0] in PACKAGES and not name.startswith("mmnist_av.system.")
    ]
    assert not wrong
