"""What `avbench run` prints at its end: the main figures of a run on one screen."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.catalogue import METRICS, SAMPLINGS, Metric, Protocol, find_metric, sampling_name
from benchmark.report.tables import Cell, figure, frames_in_order, metric_title, widths_of

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES, WIDTH = 40, 100  # of a summary
LONGEST_NAME = 80  # characters of a model's name that are shown
MAIN_METRICS = ("psnr", "ssim", "ssim_uniform", "position_error", "block_iou", "lpips")  # in this order


def summary(rows: "pd.DataFrame", protocol: Protocol, folder: Path) -> str:
    """Return what a run says at its end: its main metrics, and where the rest is.

    rows: of one run, its own model's first; the other models in it are floors. The text has at most MOST_LINES lines
    of WIDTH characters (paths may be longer), so that metrics at the end of MAIN_METRICS may be left out.
    """
    own = rows[rows["model"] == rows["model"].iloc[0]]
    scored = [name for name in METRICS if (own["metric"] == name).any()]
    main = [name for name in MAIN_METRICS if name in scored] or scored
    blocks = [_block(rows[rows["metric"] == name], own["model"].iloc[0]) for name in main]
    while True:
        frames = frames_in_order([*map(str, protocol.reported_frames), *(f for block in blocks for f in block.frames)])
        more = [name for name in scored if name not in {block.metric.name for block in blocks}]
        lines = [*_title(own.iloc[0], protocol), "", *_columns(blocks, frames), ""]
        lines += _whereabouts(folder, more)
        if len(lines) <= MOST_LINES or len(blocks) == 1:
            return "\n".join(lines)
        blocks.pop()


def _title(row: "pd.Series", protocol: Protocol) -> list[str]:
    """Return what was scored under which protocol, in one or two lines."""
    name = row["model"] if len(row["model"]) <= LONGEST_NAME else f"{row['model'][: LONGEST_NAME - 3]}..."
    facts = [str(row["preset"])]
    facts += [f"seed {row['seed']}"] if row.get("seed", "") != "" else []
    facts += [f"dataset {row['fingerprint'][:12]}"] if "fingerprint" in row else []
    title = f"{name}, {protocol.name} ({', '.join(facts)}): means over {row['clips']} test clips"
    return textwrap.wrap(title, WIDTH, break_on_hyphens=False)


@dataclass(frozen=True)
class _Block:
    """A metric of a summary: the figures of the model's sampling rules and of the floors, by frame."""

    metric: Metric
    rules: Mapping[str, Mapping[str, Cell]]
    floors: Mapping[str, Mapping[str, Cell]]

    @property
    def frames(self) -> set[str]:
        return {frame for figures in self.rules.values() for frame in figures}


def _block(rows: "pd.DataFrame", model: str) -> _Block:
    """Return the block of one metric's rows."""
    rules: dict[str, dict[str, Cell]] = {}
    floors: dict[str, dict[str, Cell]] = {}
    order = list(SAMPLINGS)
    for row in sorted(rows.to_dict("records"), key=lambda row: order.index(row["sampling"])):
        if row["model"] == model:
            figures = rules.setdefault(sampling_name(row["sampling"], row["k"]), {})
        else:
            figures = floors.setdefault(row["model"], {})
        figures[row["frame"]] = figure(row, digits=3)
    return _Block(find_metric(rows["metric"].iloc[0]), rules, floors)


def _columns(blocks: Sequence[_Block], frames: Sequence[str]) -> list[str]:
    """Return the header and the blocks' lines: sampling rules on the left, floors on the right.

    Where that is too wide, the interval is left out, then the floors' figures of single frames.
    """
    for with_interval, floor_frames in ((True, frames), (False, frames), (False, frames[-1:])):
        lines = _laid_out(blocks, frames, with_interval, floor_frames)
        if max(map(len, lines)) <= WIDTH:
            return lines
    return [line[:WIDTH] for line in lines]


def _laid_out(
    blocks: Sequence[_Block], frames: Sequence[str], with_interval: bool, floor_frames: Sequence[str]
) -> list[str]:
    """Return the header, and for every block its metric's title and its lines, in columns of one width."""
    names = ["frame", *frames, *(["95% interval"] if with_interval else [])]
    left = {0, len(names)}  # the columns that are aligned left
    if any(block.floors for block in blocks):
        names += ["   floor", *floor_frames]
    lines = [names]
    titles = {}  # by the number of the line that they stand above
    for block in blocks:
        titles[len(lines)] = metric_title(block.metric)
        for rule, floor in zip_longest(block.rules, block.floors, fillvalue=""):
            line = [f"  {rule}", *_texts(block.rules.get(rule, {}), frames)]
            line += [_interval(block.rules.get(rule, {}), frames)] if with_interval else []
            line += [f"   {floor}", *_texts(block.floors.get(floor, {}), floor_frames)]
            lines.append(line[: len(names)])
    widths = widths_of(lines)
    text = []
    for number, line in enumerate(lines):
        sized = enumerate(zip(line, widths, strict=True))
        cells = [cell.ljust(width) if column in left else cell.rjust(width) for column, (cell, width) in sized]
        text += [titles[number]] if number in titles else []
        text.append(" ".join(cells).rstrip())
    return text


def _texts(figures: Mapping[str, Cell], frames: Sequence[str]) -> list[str]:
    return [figures[frame].text if frame in figures else "" for frame in frames]


def _interval(figures: Mapping[str, Cell], frames: Sequence[str]) -> str:
    """Return the interval of the last figure: of the mean over frames, where there is one."""
    return next((figures[frame].interval for frame in reversed(frames) if frame in figures), "")


def _whereabouts(folder: Path, more: Sequence[str]) -> list[str]:
    """Return where the figures are that a summary leaves out."""
    report = folder / "report" / "index.html"
    metrics = f"more metrics: {', '.join(more)}" if more else ""
    return [
        *textwrap.wrap(metrics, WIDTH, subsequent_indent="  "),
        *([f"report: {report}"] if report.is_file() else []),
        f"rows: {folder / 'results.csv'}",
        f"all tables: avbench show {folder}",
    ]
