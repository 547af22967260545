"""Paths as options and arguments of commands."""

from pathlib import Path
from typing import Any

import click
from typing_extensions import override


class UserPath(click.Path):
    """A path that the user names, as pathlib has it; an empty one, pathlib's name of the current folder, is refused."""

    def __init__(self, exists: bool = False) -> None:
        super().__init__(path_type=Path, exists=exists)

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("a path is expected, not an empty text", param, ctx)
        return super().convert(value, param, ctx)
