"""Reports drawn in a hurry, for tests in which the look of their pictures decides nothing."""

from contextlib import contextmanager

import pytest

from benchmark.report import figures, movies

save, THREADS = figures.save, movies.THREADS


@contextmanager
def sketched():
    """Draw every figure once, in few dots and without layout, and encode movies as fast as possible."""

    def sketch(figure, folder, name):
        figure.set_layout_engine(None)
        figure.savefig(folder / f"{name}.png", dpi=40)
        (folder / f"{name}.svg").write_text("<svg/>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save", sketch)
        patch.setattr(movies, "THREADS", [*THREADS, "-preset", "ultrafast"])
        yield


@contextmanager
def finished():
    """Draw as for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save", save)
        patch.setattr(movies, "THREADS", THREADS)
        yield
