"""What `avbench run` prints at its end: the main figures of a run beside the best floor's."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.names import reference_note
from benchmark.catalogue import METRICS, SAMPLINGS, Metric, Protocol, find_metric, merit, sampling_name
from benchmark.report.tables import figure, frames_in_order, widths_of
from benchmark.runs.seal import sealed_files

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES, WIDTH = 15, 80  # of a summary; paths may be longer
# Shown as far as they fit
MAIN_METRICS = ("psnr", "ssim", "ink", "position_error", "digit_visible", "block_iou", "ssim_uniform", "lpips")

Line = tuple[str, ...]
Rows = Mapping[str, Mapping[Any, Any]]  # of one model, metric and sampling rule, by frame


def summary(rows: "pd.DataFrame", protocol: Protocol, folder: Path) -> str:
    """Return what a run says at its end: its main metrics at the reported frames, and where the rest is.

    rows: of one run, its own model's first; the other models in it are floors. Of several samples their mean is shown:
    what to expect of one sample.
    """
    model = rows["model"].iloc[0]
    scored = [name for name in METRICS if ((rows["model"] == model) & (rows["metric"] == name)).any()]
    main = [name for name in MAIN_METRICS if name in scored] or scored
    blocks = [_block(rows[rows["metric"] == name], model) for name in main]
    title, end = _title(rows.iloc[0]), [*textwrap.wrap(reference_note([model]), WIDTH), *_whereabouts(folder)]
    frames = frames_in_order([*map(str, protocol.reported_frames), *(frame for block in blocks for frame in block[0])])
    lines: list[Line] = [("", "frame", *frames)]
    for name, (own, floor) in zip(main, blocks, strict=True):
        added = _lines(find_metric(name), frames, own, floor)
        if len(lines) == 1 or len(title) + len(lines) + len(added) + len(end) <= MOST_LINES:
            lines += added
    return "\n".join([*title, *_aligned(lines), *end])


def _title(row: "pd.Series") -> list[str]:
    """Return what was scored under which protocol, in as many lines as the model's name needs."""
    seed = f", seed {row['seed']}" if row.get("seed", "") != "" else ""
    clips = "one test clip" if int(row["clips"]) == 1 else f"means over {row['clips']} test clips"
    title = f"{row['model']}, {row['protocol']}, {row['preset']}{seed}: {clips}"
    return textwrap.wrap(title, WIDTH, break_on_hyphens=False)


def _block(rows: "pd.DataFrame", model: str) -> tuple[Rows, Rows]:
    """Return the rows of one metric by frame: the model's under its first sampling rule, and the best floor's."""
    own = rows[rows["model"] == model]
    rule = min(own["sampling"], key=[*SAMPLINGS].index)
    shown = _by_frame(own[own["sampling"] == rule])
    last = frames_in_order(shown)[-1]
    floors = rows[(rows["model"] != model) & (rows["frame"] == last) & (rows["clips"] > 0)].set_index("model")["value"]
    if floors.empty:
        return shown, {}
    best = merit(floors, find_metric(rows["metric"].iloc[0]).better).idxmax()
    return shown, _by_frame(rows[rows["model"] == best])


def _by_frame(rows: "pd.DataFrame") -> Rows:
    return {str(row["frame"]): row for row in rows.to_dict("records")}


def _lines(metric: Metric, frames: Sequence[str], own: Rows, floor: Rows) -> list[Line]:
    """Return the lines of one metric: the model's figures, below them the best floor's."""
    row = next(iter(own.values()))
    names = f"{metric.name}{', ' if metric.unit else ''}{metric.unit}", sampling_name(row["sampling"], row["k"])
    lines = [(*names, *_figures(own, frames))]
    if floor:
        names = f"  {metric.better} is better", f"best floor: {next(iter(floor.values()))['model']}"
        lines.append((*names, *_figures(floor, frames)))
    return lines


def _figures(rows: Rows, frames: Sequence[str]) -> list[str]:
    return [figure(rows[frame], digits=3).text if frame in rows else "" for frame in frames]


def _aligned(lines: Sequence[Line]) -> list[str]:
    """Return the lines in columns: the first two hold names, the others figures."""
    widths = widths_of(lines)
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _whereabouts(folder: Path) -> list[str]:
    """Return where the figures are that a summary leaves out. A report that is not sealed is not this run's."""
    page, files = "report/index.html", sealed_files(folder) or ()
    return [
        f"report: {folder / page}" if page in files else f"to draw its report: avbench report {folder}",
        f"all tables: avbench show {folder}",
    ]
