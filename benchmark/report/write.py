"""The whole report: read the runs, draw and write everything into a new folder, and rename it when it is whole."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.catalogue import METRICS
from benchmark.report import figures, movies, page, strips
from benchmark.report.curves import POINTS
from benchmark.report.page import Item, Section
from benchmark.report.runs import RunFolder, open_runs
from benchmark.report.tables import metric_title
from benchmark.runs.folder import read_config
from benchmark.runs.seal import is_sealed, note_unsealed, seal
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK, sole_writer

PAGE = "index.html"


def write_report(runs: Sequence[Path], out: Path, ended: bool = False) -> Path:
    """Write the figures (PNG and SVG), movies and page of some runs to the folder `out`; return the page's path.

    ended: whether the runs have just ended, and get their seal when their report is written; other runs without a seal
    are marked on the page and in a note. The same runs give the same bytes. An existing report is replaced once the new
    one is whole. Raises InputError for damaged files, for runs that cannot be compared, and where `out` holds something
    other than a report.
    """
    opened = open_runs(runs)
    unsealed = [] if ended else [run for run in opened if not is_sealed(run.path)]
    for run in unsealed:
        note_unsealed(run.path)
    with folder_written_whole(out) as folder, figures.style():
        sections = [
            section
            for draw in (
                draw_frames,
                draw_samples,
                draw_validation,
                draw_training,
                draw_uncertainty,
                draw_comparison,
                draw_examples,
            )
            for section in draw(opened, folder)
            if section.items
        ]
        (folder / PAGE).write_text(page.render(opened, sections, unsealed), encoding="utf-8")
    return out / PAGE


def renew_report(run: Path) -> Path:
    """Write a run's own report again, and seal a finished run again with it; return the page's path.

    Raises InputError as write_report does.
    """
    read_config(run)
    with sole_writer(run):
        sealed = is_sealed(run)
        page = write_report([run], run / "report")
        if sealed:
            seal(run)
    return page


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out`; it replaces `out` when the block ends, and is removed if the block fails.

    Raises InputError where `out` is something other than a report, or is being written by another process.
    """
    if out.exists() and not is_report(out):
        raise InputError(f"{out} exists and holds no report: choose another --out")
    fresh, old = (out.parent / f".{out.name}.{kind}" for kind in ("new", "old"))
    with sole_writer(fresh):
        try:
            for leftover in fresh.iterdir():  # of a process that was killed while it wrote a report
                if leftover.name != LOCK:
                    leftover.unlink()
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
    """Return whether a folder is empty or holds a report, and so may be replaced."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return folder.is_dir()
    existing = folder / PAGE
    return existing.is_file() and page.MARK in existing.read_text(encoding="utf-8", errors="replace")


def _add(section: Section, folder: Path, name: str, figure: Figure | None, caption: str, shown: str = "svg") -> None:
    if figure is not None:
        figures.save(figure, folder, name)
        section.items.append(Item(name, caption, shown))


def draw_frames(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw every metric over frame numbers."""
    clips = runs[0].facts.get("test_clips", "the")
    text = (
        f"Each panel's title says how K samples became one number; panels do not compare. Lines are means over {clips} "
        "test clips, bands 95% bootstrap intervals over clips. Floors have one sample, the same in every panel."
    )
    section = Section("Frame by frame", text, [])
    for metric in figures.scored(runs):
        figure = (figures.by_frame if metric.frames == "all" else figures.of_one_frame)(runs, metric)
        _add(section, folder, f"frames-{metric.name}", figure, f"{metric_title(metric)}: {metric.summary}.")
    yield section


def draw_samples(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw the best of K over K, for the metrics that have it."""
    text = (
        "The expected score of the best of K samples, each sample scored by its mean over frames; at the greatest K "
        "that is best_sequence. Bands are 95% bootstrap intervals over clips."
    )
    section = Section("Best of K", text, [])
    for metric in figures.scored(runs):
        caption = f"{metric_title(metric)}, the expected best of K."
        _add(section, folder, f"best-of-k-{metric.name}", figures.by_samples(runs, metric), caption)
    yield section


def draw_validation(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw every metric on validation clips over steps."""
    text = (
        "Metrics on validation clips during training, means over frames; bands are 95% bootstrap intervals over clips."
    )
    section = Section("Validation", text, [])
    for metric in METRICS.values():
        caption = f"{metric_title(metric)}, on validation clips."
        _add(section, folder, f"validation-{metric.name}", figures.validation(runs, metric), caption)
    yield section


def draw_training(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw losses over steps."""
    text = f"Every player's loss and its terms; long trainings are averaged over {POINTS} stretches of steps."
    section = Section("Training", text, [])
    _add(section, folder, "training", figures.training(runs), "Losses over training steps.")
    yield section


def draw_uncertainty(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw the variance that models predict."""
    text = "The variance that a model predicts (PUQ's 1/m_t): mean over example clips, with 95% bootstrap intervals."
    section = Section("Uncertainty", text, [])
    _add(section, folder, "uncertainty", figures.uncertainty(runs), "Predicted variance over frame numbers.")
    yield section


def draw_comparison(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw the example clips of several runs, one run below the other."""
    text = (
        "Mean: the samples averaged pixel by pixel. Sound: the audio features that models are given, low tones below."
    )
    section = Section("Runs side by side", text, [])
    compared = strips.comparable(runs)
    examples = compared[0].examples if compared else None
    for number, clip in enumerate(() if examples is None else examples.clips):
        figure = strips.comparison(compared, number)
        _add(section, folder, f"compared-clip-{clip:06d}", figure, f"Test clip {clip}, by every run.", "png")
    yield section


def draw_examples(runs: Sequence[RunFolder], folder: Path) -> Iterator[Section]:
    """Draw strips, blocks and movies of each run's example clips."""
    text = (
        "Mean: the samples averaged pixel by pixel. Best PSNR: per clip, the sample with the best mean PSNR, which can "
        "be chosen only with the ground truth. Movies have the sound that the model was given, and show seen frames "
        "in every panel."
    )
    for number, run in enumerate(runs):
        if run.examples is None:
            continue
        name = f"{number + 1}-" * (len(runs) > 1) + re.sub(r"[^A-Za-z0-9.-]", "-", run.model)
        section = Section(f"Examples of {run.label}", text, [])
        caption = "The true block, and the brightest window of each sample."
        _add(section, folder, f"{name}-block", strips.block(run, run.examples), caption, "png")
        for example, clip in enumerate(run.examples.clips):
            files = f"{name}-clip-{clip:06d}"
            figure = strips.strip(run, run.examples, example)
            _add(section, folder, f"{files}-strip", figure, f"Test clip {clip}.", "png")
            size = movies.write_example(folder / f"{files}.mp4", run.examples, example, strips.mean_name(run))
            section.items.append(Item(files, f"Test clip {clip}, with sound.", movie=size))
        yield section
