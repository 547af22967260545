"""Code of other packages, found through entry points. The name of an entry point is the name of what it adds."""

import functools
import re
import traceback
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mmnist_av.system.errors import InputError, in_words

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"  # of what others add: it is part of the names of folders and files
NAME_IN_WORDS = "a name has letters, digits, '.', '_' and '-', 100 at most, and begins with a letter or a digit"
FAMILIES, MODELS = GROUPS = ("mmnist_av.families", "avbench.models")  # the groups of entry points that add something
PACKAGES = ("mmnist_av", "baselines", "benchmark")  # ours: the code that decides a result; documents and tests do not


@functools.cache
def installed(group: str) -> Mapping[str, list[EntryPoint]]:
    """Return the entry points of a group by their names; nothing is imported yet."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=described):
        found.setdefault(entry.name, []).append(entry)
    return found


def load(group: str, kind: str, name: str) -> Any:
    """Return what the installed entry point `name` of the group stands for; `kind` is what errors call it.

    Raises InputError, with the package, where the name is against the rule, where two packages have registered it, and
    where the package cannot be imported.
    """
    entries = installed(group)[name]
    packages = " and ".join(map(described, entries))
    if not re.fullmatch(NAME, name):
        raise InputError(f"the {kind} '{name}' of {packages}: {NAME_IN_WORDS}; rename its entry point")
    if len(entries) > 1:
        raise InputError(f"the {kind} '{name}' is registered by {packages}: uninstall all but one of them")
    try:
        return entries[0].load()
    except KeyboardInterrupt:  # the user's own Ctrl-C looks the same as a package's
        raise
    except BaseException as error:  # importing another package may raise anything
        raise InputError(f"the {kind} '{name}' of {packages} cannot be loaded: {error!r}") from error


def described(entry: EntryPoint) -> str:
    """Return an entry point's package and object, in words: "their-package (theirs.model:Model)"."""
    return f"{entry.dist.name} ({entry.value})" if entry.dist else entry.value


def fault_of_another_package(error: BaseException) -> str:
    """Return an error that arose in another package's code, in words with the line; "" where it arose in ours.

    Other packages are those that add something by an entry point of one of GROUPS.
    """
    entries = [entry for group in GROUPS for each in installed(group).values() for entry in each]
    for entry in entries:
        package = entry.module.partition(".")[0]
        line = "" if package in PACKAGES else line_in(package, error)
        if line:
            return f"{entry.dist.name if entry.dist else package} failed with {in_words(error)} ({line})"
    return ""


def line_of(error: BaseException, plugin: type) -> str:
    """Return the line of the package of a class, `plugin`, in which an error arose; "" as `line_in` does."""
    return line_in(plugin.__module__.partition(".")[0], error)


def line_in(package: str, error: BaseException) -> str:
    """Return the line of another package in which an error arose, for example in a call of torch: "model.py, line 12".

    Returns "" where the package was not running, and where a function of ours that it called raised the error.
    """
    line = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        calling = str(frame.f_globals.get("__name__")).partition(".")[0]
        if calling in PACKAGES:
            line = ""
        elif calling == package:
            line = f"{Path(frame.f_code.co_filename).name}, line {number}"
    return line
