"""Families of other packages are found by entry point, or refused with the package's name."""

import pytest

from mmnist_av.families import Family, find, generate
from mmnist_av.system.errors import InputError

GROUP = "mmnist_av.families"
FAMILY = "from mmnist_av.families import Family\n"


def test_a_family_is_found_by_the_entry_point_of_its_package(install):
    install("their-package", GROUP, {"drums": "their_family:Drums"}, their_family=f"{FAMILY}class Drums(Family): pass")
    assert isinstance(find("drums"), Family)
    assert type(find("drums")).__name__ == "Drums"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Family", "cannot be loaded: ModuleNotFoundError"),
        ("their_family:THREE", "is not a class that derives from Family"),
        ("their_family:Needy", "cannot be used: TypeError"),
    ],
)
def test_a_broken_family_is_named_and_the_others_can_be_used(value, message, install):
    source = f"{FAMILY}THREE = 3\nclass Needy(Family):\n    def __init__(self, more): pass\n"
    install("their-package", GROUP, {"broken-family": value}, their_family=source)
    with pytest.raises(InputError, match=f"the family of datasets 'broken-family' of their-package .*{message}"):
        find("broken-family")
    assert isinstance(find("m3so"), Family)


def test_a_name_that_two_packages_have_registered_names_both_where_it_is_used(install):
    for package in ("package-a", "package-b"):
        install(package, GROUP, {"two-families": "mmnist_av.families:Family"})
    with pytest.raises(InputError, match=r"'two-families' is registered by package-a .* and package-b "):
        find("two-families")
    assert isinstance(find("m3so"), Family)


@pytest.mark.parametrize("raised", ["SystemExit(3)", "asyncio.CancelledError()", "GeneratorExit()", "Own()"])
@pytest.mark.parametrize("where", ["import", "__init__"])
def test_whatever_a_package_raises_its_family_is_named(raised, where, install):
    source = f"import asyncio\n{FAMILY}class Own(BaseException): pass\n"
    source += {
        "import": f"raise {raised}\n",
        "__init__": f"class Rude(Family):\n    def __init__(self): raise {raised}\n",
    }[where]
    install("their-package", GROUP, {"rude-family": "their_family:Rude"}, their_family=source)
    with pytest.raises(InputError, match=r"the family of datasets 'rude-family' of their-package .* cannot be "):
        find("rude-family")


def test_the_users_ctrl_c_ends_the_import_of_a_package(install):
    install("their-package", GROUP, {"slow-family": "their_family:Slow"}, their_family="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        find("slow-family")


@pytest.mark.parametrize("returned", ["5", "None", "out"])
def test_a_family_that_returns_no_dataset_is_named(returned, install, tmp_path):
    source = f"{FAMILY}class Five(Family):\n    def make(self, out, *rest): return {returned}\n"
    install("their-package", GROUP, {"five": "their_family:Five"}, their_family=source)
    with pytest.raises(InputError, match=r"the family five returned no Dataset but .*: its `make` must return what it"):
        generate("five", tmp_path / "data", {}, {"train": 1}, 0, "", None)
