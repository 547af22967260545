"""The whole report: read the runs, draw and write everything aside, and move it into its folder when it is whole."""

import filecmp
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.catalogue import METRICS
from benchmark.report import figures, movies, page, strips
from benchmark.report.curves import POINTS
from benchmark.report.page import RECORD, Item, Section
from benchmark.report.runs import RunFolder, open_runs
from benchmark.report.tables import metric_title
from benchmark.runs.folder import check_place, read_config, read_json, write_json
from benchmark.runs.seal import is_sealed, note_missing, note_unsealed, seal, sealed_files
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import PART, is_leftover, sha256, sole_writer

PAGE = "index.html"
MOVE = "move the folder away, or choose another --out"
LINKED = re.compile(r'(?:src|href)="([^"/]+)"')  # the page's pictures and movies, which lie beside it


def write_report(runs: Sequence[Path], out: Path, ended: bool = False, unchanged: bool = False) -> Path:
    """Write the figures (PNG and SVG), movies and page of some runs to the folder `out`; return the page's path.

    ended: whether the runs have just ended, and get their seal when their report is written; other runs without a seal
    are marked on the page and in a note. unchanged: whether a seal shows that the report in `out` is as it was written.
    The same runs give the same bytes. An existing report's files are replaced once the new ones are whole; the user's
    files beside them stay. Raises InputError for damaged files, for runs that cannot be compared, and where `out` holds
    something other than a report, or one that was changed.
    """
    opened = open_runs(runs)
    unsealed = [] if ended else [run for run in opened if not is_sealed(run.path)]
    for run in unsealed:
        note_unsealed(run.path)
    with files_replaced(out, unchanged or ended) as folder, figures.style():
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
        write_json(folder / RECORD, {path.name: sha256(path) for path in sorted(folder.iterdir())})
    return out / PAGE


def write_report_elsewhere(runs: Sequence[Path], out: Path) -> Path:
    """Write a report as write_report does, but into no run and no dataset, whose files are sealed."""
    check_place(out)
    page = write_report(runs, out)
    for run in runs:
        note_missing(run)
    return page


def renew_report(run: Path) -> Path:
    """Write a run's own report again, and seal a finished run again with it; return the page's path.

    A note names files of a finished run that are missing, without which the report was drawn. They stay in its seal.
    Raises InputError as write_report does.
    """
    read_config(run)
    with sole_writer(run):
        sealed = is_sealed(run)
        page = write_report([run], run / "report", unchanged=f"report/{PAGE}" in (sealed_files(run) or ()))
        if sealed:
            seal(run, files_of(page.parent), keep=note_missing(run))
    return page


@contextmanager
def files_replaced(out: Path, unchanged: bool) -> Iterator[Path]:
    """Give an empty folder; when the block ends, its files replace those of the report in `out`, the page as the last.

    unchanged: whether a report that records no SHA-256 of its files, as those of earlier versions, is known to be as it
    was written. Nothing changes if the block fails. Raises InputError where `out` is something other than a report or
    has a changed one, is being written by another process, or has a file of another's with the name of a new one.
    """
    if os.path.lexists(out) and not is_report(out):
        raise InputError(f"{out} exists and holds no report: move it away, or choose another --out")
    is_new, fresh = not out.exists(), out / f".report{PART}"
    try:
        with sole_writer(out):
            if fresh.exists():  # of a process that was killed while it wrote a report
                shutil.rmtree(fresh)
            fresh.mkdir()
            try:
                yield fresh
                _move(fresh, out, unchanged)
            finally:
                shutil.rmtree(fresh)
    except BaseException:
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise


def _move(fresh: Path, out: Path, unchanged: bool) -> None:
    """Move the files of a new report to `out`, and delete those that only the report before had."""
    before, files = files_of(out), sorted(fresh.iterdir(), key=lambda path: (path.name == PAGE, path.name))
    for path in files:
        if os.path.lexists(out / path.name) and path.name not in before:
            raise InputError(f"{out / path.name} is no report's, and in the way: move it, or choose another --out")
    has_record = RECORD in before and (out / RECORD).is_file()
    if has_record or not unchanged:
        _refuse_changed(fresh, out, read_json(out / RECORD, remedy=MOVE) if has_record else {})
    for path in files:
        path.replace(out / path.name)
    for name in before - {path.name for path in files}:
        (out / name).unlink(missing_ok=True)


def _refuse_changed(fresh: Path, out: Path, recorded: Mapping[str, str]) -> None:
    """Raise InputError for a file of the report in `out` that is neither as recorded nor as the new report has it.

    recorded: SHA-256 by name; none of a report of an earlier version.
    """
    for name in sorted(files_of(out) - {RECORD}):
        file, new = out / name, fresh / name
        if file.exists() and not file.is_file():
            raise InputError(f"{file} has the name of a figure and is none: move it, or choose another --out")
        if not file.is_file() or sha256(file) == recorded.get(name):
            continue
        if new.is_file() and filecmp.cmp(file, new, shallow=False):
            continue
        if not recorded:
            raise InputError(f"{out} has no {RECORD}, so that nothing shows that its files are unchanged: {MOVE}")
        remedy = MOVE if name == PAGE else "move it, or choose another --out"
        raise InputError(f"{file} has changed since the report was written: {remedy}")


def files_of(folder: Path) -> set[str]:
    """Return the names of the files of the report in a folder: its page, and what the page shows or links to."""
    page_path = folder / PAGE
    text = page_path.read_text(encoding="utf-8", errors="replace") if page_path.is_file() else ""
    return {PAGE, *LINKED.findall(text)} if page.MARK in text else set()


def is_report(folder: Path) -> bool:
    """Return whether a folder is empty or holds a report, whose files may be replaced."""
    return folder.is_dir() and (all(map(is_leftover, folder.iterdir())) or bool(files_of(folder)))


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
