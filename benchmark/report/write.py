"""The whole report: read the runs, draw, write, and put the finished folder in place."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.metrics import METRICS
from benchmark.report import figures, movies, page, strips
from benchmark.report.curves import POINTS
from benchmark.report.page import Item, Section
from benchmark.report.runs import RunFolder, open_runs
from benchmark.runs.seal import SEAL, seal
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK, sole_writer

PAGE = "index.html"


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the figures (PNG and SVG), movies and page of some runs to the folder `out`; returns the page's path.

    The same runs give the same bytes. A report that is there already is replaced, by a whole one. Raises InputError
    for damaged files, for runs that do not compare, and where `out` holds something else.
    """
    opened = open_runs(runs)
    with folder_written_whole(out) as folder, figures.style():
        sections = [
            section
            for draw in (draw_frames, draw_samples, draw_validation, draw_training, draw_uncertainty, draw_examples)
            for section in draw(opened, folder)
            if section.items
        ]
        (folder / PAGE).write_text(page.render(opened, sections), encoding="utf-8")
    return out / PAGE


def renew_report(run: Path) -> Path:
    """Write a run's own report anew; a finished run is sealed again with it. Raises InputError as write_report does."""
    open_runs([run])
    with sole_writer(run):
        sealed = (run / SEAL).exists()
        page = write_report([run], run / "report")
        if sealed:
            seal(run)
    return page


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`; it takes the place of `out` when the block ends, and is removed if the block fails.

    Raises InputError where `out` is something else than a report, or is being written by another process.
    """
    if out.exists() and not is_report(out):
        raise InputError(f"{out} is there and holds no report: choose another --out")
    fresh, old = (out.parent / f".{out.name}.{kind}" for kind in ("new", "old"))
    with sole_writer(fresh):
        try:
            for left in fresh.iterdir():  # by a report that was killed
                if left.name != LOCK:
                    left.unlink()
            yield fresh
        except BaseException:
            shutil.rmtree(fresh)
            raise
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def is_report(folder: Path) -> bool:
    """Whether a folder is empty or holds a report, and so may be replaced."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return folder.is_dir()
    page_there = folder / PAGE
    return page_there.is_file() and page.MARK in page_there.read_text(encoding="utf-8", errors="replace")


def _add(section: Section, folder: Path, name: str, figure: Figure | None, caption: str, shown: str = "svg") -> None:
    if figure is not None:
        figures.save(figure, folder, name)
        section.items.append(Item(name, caption, shown))


def draw_frames(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Every metric against the frame number."""
    clips = runs[0].facts.get("test_clips", "the")
    told = (
        f"Each panel's title says how K futures became one number; panels do not compare. Lines are means over {clips} "
        "test clips, bands 95% bootstrap intervals over clips; floors are one prediction, the same in every panel."
    )
    section = Section("Frame by frame", told, [])
    for metric in figures.scored(runs):
        figure = (figures.by_frame if metric.frames == "all" else figures.of_one_frame)(runs, metric)
        _add(section, folder, f"frames-{metric.name}", figure, f"{figures.better(metric)}: {metric.source}.")
    yield section


def draw_samples(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Every metric's best of K against K."""
    told = (
        "What the best of K futures is to be expected to score, each judged by its mean over frames; at the greatest "
        "K that is best_sequence. Bands are 95% bootstrap intervals over clips."
    )
    section = Section("Best of K", told, [])
    for metric in figures.scored(runs):
        caption = f"{figures.better(metric)}, the expected best of K."
        _add(section, folder, f"best-of-k-{metric.name}", figures.by_samples(runs, metric), caption)
    yield section


def draw_validation(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Every metric on validation clips against the step."""
    told = "Metrics on validation clips while training, in the mean over frames; bands as the runs wrote them."
    section = Section("Validation", told, [])
    for metric in METRICS.values():
        caption = f"{figures.better(metric)}, on validation clips."
        _add(section, folder, f"validation-{metric.name}", figures.validation(runs, metric), caption)
    yield section


def draw_training(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Losses against the step."""
    told = f"Every player's loss and its terms, as means of at most {POINTS} stretches of training."
    section = Section("Training", told, [])
    _add(section, folder, "training", figures.training(runs), "Losses against the training step.")
    yield section


def draw_uncertainty(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """PUQ's predicted variance."""
    told = "PUQ's variance 1/m_t, in the mean over pixels and example clips; bands are 95% bootstrap intervals."
    section = Section("Uncertainty", told, [])
    _add(section, folder, "uncertainty", figures.uncertainty(runs), "Predicted variance against the frame number.")
    yield section


def draw_examples(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Strips, squares and movies of each run's example clips."""
    for number, run in enumerate(runs):
        if run.examples is None:
            continue
        name = f"{number + 1}-" * (len(runs) > 1) + re.sub(r"[^A-Za-z0-9.-]", "-", run.model)
        told = (
            "Mean: the futures averaged pixel by pixel. Best PSNR: per clip, the future with the best mean PSNR, which "
            "only who knows the truth can choose. Movies have the sound that the model heard; seen frames are shown in "
            "every panel."
        )
        section = Section(f"Examples of {run.label}", told, [])
        found = strips.block(run, run.examples)
        caption = "The block's true place, and where the futures have their brightest window."
        _add(section, folder, f"{name}-block", found, caption, "png")
        for place, clip in enumerate(run.examples.clips):
            own = f"{name}-clip-{clip:06d}"
            figure = strips.strip(run, run.examples, place)
            _add(section, folder, f"{own}-strip", figure, f"Test clip {clip}.", "png")
            movies.write_example(folder / f"{own}.mp4", run.examples, place, strips.mean_name(run))
            section.items.append(Item(own, f"Test clip {clip}, with sound.", movie=True))
        yield section
