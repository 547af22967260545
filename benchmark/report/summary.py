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
        lines = [*_summary_title(own.iloc[0], protocol), "", *_summary_lines(blocks, frames), ""]
        lines += _whereabouts(folder, more)
        if len(lines) <= MOST_LINES or len(blocks) == 1:
            return "\n".join(lines)
        blocks.pop()


def _summary_title(row: "pd.Series", protocol: Protocol) -> list[str]:
    facts = [str(row["preset"])]
    facts += [f"seed {row['seed']}"] if "seed" in row else []
    facts += [f"dataset {row['fingerprint'][:12]}"] if "fingerprint" in row else []
    title = f"{row['model']}, {protocol.name} ({', '.join(facts)}): means over {row['clips']} test clips"
    return textwrap.wrap(title, WIDTH, max_lines=2, placeholder=" ...")


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


def _summary_lines(blocks: Sequence[_Block], frames: Sequence[str]) -> list[str]:
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
    floor_column = len(names)
    if any(block.floors for block in blocks):
        names += ["   floor", *floor_frames]
    lines = [names]
    titles = {}  # by the number of the line that they stand above
    for block in blocks:
        titles[len(lines)] = metric_title(block.metric)
        for rule, floor in zip_longest(block.rules, block.floors, fillvalue=""):
            figures, others = block.rules.get(rule, {}), block.floors.get(floor, {})
            line = [f"  {rule}", *(figures.get(frame, Cell()).text for frame in frames)]
            if with_interval:
                line.append(next((figures[frame].interval for frame in reversed(frames) if frame in figures), ""))
            line += [f"   {floor}", *(others.get(frame, Cell()).text for frame in floor_frames)]
            lines.append(line[: len(names)])
    text = []
    widths = widths_of(lines)
    for number, line in enumerate(lines):
        if number in titles:
            text.append(titles[number])
        cells = [
            cell.ljust(width) if column in (0, floor_column) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(" ".join(cells).rstrip())
    return text


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
