"""Mistakes in what the user gave, reported in one line."""

import difflib
import errno
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from typing_extensions import override

from mmnist_av.system.streams import open_closed_streams

# What to do where the system refuses a file and may not say which, by error number
NO_ROOM = {
    errno.ENOSPC: "make room and start the same command again",
    errno.EDQUOT: "make room within the quota and start the same command again",
    errno.EFBIG: "the shell (ulimit -f) or the file system does not allow files that large",
}
REMEDIES = NO_ROOM | {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "nothing can be written there: name another place",
    errno.EMFILE: "the shell (ulimit -n) does not allow so many open files",
    errno.EIO: "the disk, or the network to it, has a fault: see to it and start the same command again",
}


class InputError(ValueError):
    """A mistake in what the user gave. The message says what was wrong, where, and what to do; commands exit with 2."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> InputError:
    """Return an InputError for an unknown `name` that lists the nearest `valid` names, or all if none is near."""
    names = {each.lower(): each for each in sorted(valid)}
    near = [names[each] for each in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(names.values())}"
    return InputError(f"unknown {kind} '{name}': {hint}")


def first_few(texts: Sequence[str]) -> str:
    """Return the first three of some texts in one line, and how many more there are."""
    more = [f"and {len(texts) - 3} more"] if len(texts) > 3 else []
    return ", ".join([*texts[:3], *more])


def in_words(error: BaseException) -> str:
    """Return an error's type and message in one line, "ValueError: three channels are needed", or the type alone."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def one_line(message: str) -> str:
    """Return a message as one line of at most some 2,000 characters without control characters.

    It may repeat names that the user gave: their control characters are shown as escapes, and a word of more than 200
    characters is cut in its middle.
    """
    words = map(printable, message.split())
    return _cut(" ".join(_cut(word, 200) for word in words), 2000)


def printable(text: str) -> str:
    """Return a text with its control characters, line breaks included, as escapes: a name from a file may have any."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: 3 * most // 4]} ... {text[-most // 4 :]}"


class OneLineErrors(click.Group):
    """A command group that reports every mistake as one line, `Error: ...`, on stderr and exits with 2."""

    @override
    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        # Exits with 0, with 2 after a mistake, and with 130 when stopped from the keyboard.
        open_closed_streams()
        try:
            code = super().main(args, *rest, **{**options, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except (click.ClickException, InputError, OSError) as error:
            click.echo(f"Error: {one_line(_message(error))}", err=True)
            sys.exit(2)
        except click.Abort as abort:
            done = str(abort.__cause__ or "")  # what a KeyboardInterrupt says of the work that it ended
            click.echo(f"Stopped: {done}" if done else "Stopped.", err=True)
            sys.exit(130)
        except Exception as error:
            from mmnist_av.system.plugins import fault_of_another_package  # here, because it imports this module

            fault = fault_of_another_package(error)
            if not fault:
                raise
            click.echo(f"Error: {one_line(fault)}", err=True)
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown_name("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def _message(error: Exception) -> str:
    if isinstance(error, click.NoSuchOption):
        options = [name for parameter in _parameters(error) for name in parameter.opts]
        return str(unknown_name("option", error.option_name, [*options, "--help"]))
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, FileNotFoundError) and error.filename is None and _in_deleted_folder():
        return "the current folder does not exist any more: change to another one"
    if isinstance(error, FileExistsError) and Path(str(error.filename)).is_symlink():
        link = Path(error.filename)
        return f"{link} is a link to {link.readlink()}, which is no folder: make that folder, or remove the link"
    if isinstance(error, FileExistsError) and error.filename:  # a folder was to be made
        return f"{error.filename} is a file: name a folder"
    if isinstance(error, OSError) and error.errno in REMEDIES:
        file = error.filename or "a file could not be read or written"
        return f"{file}: {error.strerror}; {REMEDIES[error.errno]}"
    return str(error)


def _in_deleted_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _parameters(error: click.UsageError) -> list[click.Parameter]:
    return error.ctx.command.params if error.ctx else []
