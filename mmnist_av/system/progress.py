"""Progress bars for long work, shown on stderr if it is a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress_bar(label: str, total: float, done: int = 0) -> Iterator[Callable[[float], None]]:
    """Show a bar of `done` out of `total` steps while the block runs; yield a function that adds finished steps.

    Beside the bar stand both numbers and the time that is left.
    """
    if not sys.stderr.isatty():
        yield lambda more: None
        return
    from rich.console import Console  # imported here because it takes a tenth of a second
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda more: bar.advance(task, more)


def track(items: Iterable[T], label: str, total: int, done: int = 0) -> Iterator[T]:
    """Yield the `items` and show a bar of how many of `total` were yielded, counting `done` from before."""
    with progress_bar(label, total, done) as advance:
        for item in items:
            yield item
            advance(1)
