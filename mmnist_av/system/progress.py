"""Progress of long work, on the standard error stream of a terminal and nowhere else."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress_bar(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function to tell how much more of `total` is done, beyond `done`; a bar shows it while the block runs."""
    if not sys.stderr.isatty():
        yield lambda more: None
        return
    from rich.console import Console  # here, because it takes a tenth of a second
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda more: bar.advance(task, more)


def track(items: Iterable[T], what: str, total: int, done: int = 0) -> Iterator[T]:
    """The `items`, with a bar of how many of `total` were taken, after `done` that were taken before."""
    with progress_bar(what, total, done) as advance:
        for item in items:
            yield item
            advance(1)
