"""Figures of curves, as wide as a paper's page, in colours that colour-blind readers can distinguish."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from benchmark.catalogue import METRICS, SAMPLINGS, Metric
from benchmark.report.curves import (
    Curve,
    best_of_k_curve,
    frame_curves,
    training_curves,
    uncertainty_curve,
    validation_curves,
)
from benchmark.report.runs import RunFolder
from benchmark.report.tables import metric_title

WIDTH = 6.8  # inches
LETTER = 0.06  # inches, about the width of one in a legend
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
DASHES = ("-", (0, (6, 2)), (0, (4, 1, 1, 1)))  # the next ones are used where runs outnumber the palette
FLOOR_DASHES: dict[str, Any] = {"black": ":", "copy-last": (0, (5, 3)), "mean-seen": (0, (6, 2, 1, 2))}
DPI = 200
STYLE: dict[str, Any] = {
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.dpi": DPI,
    "font.size": 8,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.hashsalt": "avbench",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save figures with the report's own settings of matplotlib inside the block, not with the user's."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write NAME.png and NAME.svg, with the same layout, to a folder. Equal figures give equal bytes."""
    layout = figure.get_layout_engine()
    if layout is not None:  # matplotlib would repeat it for each file, and draw each twice
        layout.execute(figure)
        figure.set_layout_engine(None)
    figure.savefig(folder / f"{name}.png", dpi=DPI)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _on_axis(metric: Metric) -> str:
    """Return a metric's title in two lines, for an upright axis."""
    return metric_title(metric).replace(" (", "\n(")


def by_frame(runs: Sequence[RunFolder], metric: Metric) -> Figure:
    """Draw a metric over frame numbers, one panel per sampling rule and K."""
    own = [frame_curves(run, metric.name) for run in runs]
    floors = floor_curves(runs, metric)
    names = panel_names(own)
    figure, panels = _grid(names, columns=2, height=1.9, same_y=True)
    for name, panel in zip(names, panels, strict=True):
        _mark_seen(panel, runs[0])
        for floor, curve in floors.items():
            panel.plot(curve.at, curve.value, label=f"{floor} (floor)", **floor_style(floor))
        for number, (run, curves) in enumerate(zip(runs, own, strict=True)):
            shown = "single" if "single" in curves and shows_single(name) else name
            if shown in curves:
                draw(panel, curves[shown], run.label + (" (single)" if shown != name else ""), number)
    _name_axes(panels, "frame (from 1)", _on_axis(metric))
    _legend(figure, panels)
    return figure


def panel_names(curves: Sequence[Mapping[str, Curve]]) -> list[str]:
    """Return the panels for some runs' curves: every "rule of K" of any run; "single" only where no run has another."""
    names = dict.fromkeys(name for own in curves for name in own)
    several = [name for name in names if name != "single"]
    rules = list(SAMPLINGS)
    return sorted(several, key=lambda name: rules.index(name.split(" ")[0])) or [*names]


def shows_single(panel: str) -> bool:
    """Return whether a panel also shows models with one sample: beside means, never beside the best of several."""
    return panel.startswith("mean")


def floors_of(runs: Sequence[RunFolder], metric: Metric) -> list[tuple[RunFolder, str]]:
    """Return the floors that were scored with the metric, each with the first run that has it: all runs agree."""
    found = {floor: run for run in reversed(runs) for floor in run.floors if metric.name in run.scores[floor]}
    return [(found[floor], floor) for floor in FLOOR_DASHES if floor in found]


def floor_curves(runs: Sequence[RunFolder], metric: Metric) -> dict[str, Curve]:
    """Return the curves of floors with a value: floors have one sample, so they are the same in every panel."""
    curves = {floor: frame_curves(run, metric.name, floor).get("single") for run, floor in floors_of(runs, metric)}
    return {floor: curve for floor, curve in curves.items() if curve is not None and np.isfinite(curve.value).any()}


def floor_style(floor: str) -> dict[str, Any]:
    """Return the looks of a floor: a thin, dashed line."""
    return {"color": "0.35", "linewidth": 0.8, "linestyle": FLOOR_DASHES[floor], "zorder": 1.5}


def run_style(number: int) -> dict[str, Any]:
    """Return the colour and dashes of the run with this number."""
    rounds, color = divmod(number, len(PALETTE))
    return {"color": PALETTE[color], "linestyle": DASHES[rounds % len(DASHES)]}


def plain(name: str) -> str:
    """Return a name as matplotlib must be given it: there, `$` begins a formula and a leading `_` hides a label."""
    return name.replace("$", r"\$").replace("_", " _", 1 if name.startswith("_") else 0)


def draw(panel: Any, curve: Curve, label: str, number: int) -> None:
    """Draw a run's line and band, with markers where the curve has few points."""
    looks = run_style(number)
    marker = "." if len(curve.at) <= 10 else None
    panel.plot(curve.at, curve.value, label=plain(label), linewidth=1.4, marker=marker, **looks)
    if np.isfinite(curve.low).any():
        panel.fill_between(curve.at, curve.low, curve.high, color=looks["color"], alpha=0.2, linewidth=0)


def _mark_seen(panel: Any, run: RunFolder) -> None:
    """Shade the last of the seen frames on the left, and put ticks at the reported frames."""
    protocol = run.protocol
    first = max(1, protocol.seen + 1 - protocol.test_predicted // 5)
    panel.set_xlim(first - 0.5, protocol.test_frames + 0.5)
    ticks = [*protocol.reported]
    if protocol.seen:
        edge = protocol.seen + 0.5
        panel.axvspan(first - 0.5, edge, color="0.9", linewidth=0)
        panel.axvline(edge, color="0.4", linewidth=0.8)
        middle = (first + protocol.seen) / 2
        panel.annotate("seen", (middle, 0.5), xycoords=("data", "axes fraction"), rotation=90, ha="center", va="center")
        if protocol.seen + 1 not in protocol.reported:
            ticks.insert(0, protocol.seen)
    panel.set_xticks(ticks)


def _grid(names: Sequence[str], columns: int, height: float, same_y: bool = False) -> tuple[Figure, list[Any]]:
    """Return a figure with a panel for each name, of one x axis; those of the last row fill its width."""
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    last = len(names) - columns * (rows - 1)  # panels in the last row
    figure = Figure(figsize=(WIDTH, 0.6 + height * rows), layout="constrained")
    cells = figure.add_gridspec(rows, columns * last)
    panels: list[Any] = []
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        span = columns if row == rows - 1 else last
        first = panels[0] if panels else None
        cell = cells[row, column * span : (column + 1) * span]
        panels.append(figure.add_subplot(cell, sharex=first, sharey=first if same_y else None))
        panels[-1].set_title(name)
    return figure, panels


def _name_axes(panels: Sequence[Any], across: str, upward: str) -> None:
    """Name the y axes of the first column and the x axes of the last row."""
    for panel in panels:
        place = panel.get_subplotspec()
        if place.is_first_col():
            panel.set_ylabel(upward)
        if place.is_last_row():
            panel.set_xlabel(across)


def _name_axes_over_steps(panels: Sequence[Any], upward: str) -> None:
    """Name the axes of panels over training steps; their ticks are at whole steps, of short trainings, too."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name_axes(panels, "training step", upward)


def _use_log_scale(panel: Any, ratio: float) -> None:
    """Give a panel a logarithmic y axis whose values are `ratio` apart, with plain numbers at it."""
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1000 else (1,)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, panels: Sequence[Any]) -> None:
    """Draw one legend below all panels, in rows, floors last."""
    found: dict[str, Any] = {}
    for panel in panels:
        found |= {label: line for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    ordered = sorted(found, key=lambda label: label.endswith("(floor)"))
    columns = max(1, min(len(ordered), int(WIDTH / (0.5 + LETTER * max(map(len, ordered))))))
    ordered = [label for column in range(columns) for label in ordered[column::columns]]  # matplotlib fills columns
    figure.legend([found[label] for label in ordered], ordered, loc="outside lower center", ncols=columns)


def of_one_frame(runs: Sequence[RunFolder], metric: Metric) -> Figure:
    """Draw a metric of one frame: a point and its interval per run and sampling rule."""
    points = [
        (f"{run.label}, {name}", curve, run_style(number)["color"])
        for number, run in enumerate(runs)
        for name, curve in frame_curves(run, metric.name).items()
    ]
    points += [(f"{floor} (floor)", curve, "0.35") for floor, curve in floor_curves(runs, metric).items()]
    figure = Figure(figsize=(WIDTH, 0.6 + 0.2 * len(points)), layout="constrained")
    panel = figure.subplots()
    for y, (_, curve, color) in enumerate(points):
        panel.plot([curve.low[0], curve.high[0]], [y, y], color=color, linewidth=1.4)
        panel.plot(curve.value, [y], color=color, marker="o", markersize=4)
    panel.set_yticks(range(len(points)), [plain(label) for label, _, _ in points])
    panel.set_ylim(len(points) - 0.5, -0.5)
    panel.set_xlabel(f"{metric_title(metric)}, at frame {runs[0].protocol.test_frames}")
    return figure


def by_samples(runs: Sequence[RunFolder], metric: Metric) -> Figure | None:
    """Draw the expected best of K samples over K; None where no run has two samples."""
    curves = {number: best_of_k_curve(run, metric.name) for number, run in enumerate(runs)}
    shown = {number: curve for number, curve in curves.items() if curve is not None and len(curve.at) > 1}
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    panel = figure.subplots()
    for run, floor in floors_of(runs, metric):
        level = best_of_k_curve(run, metric.name, floor)
        if level is not None:
            panel.axhline(level.value[0], label=f"{floor} (floor)", **floor_style(floor))
    for number, curve in shown.items():
        draw(panel, curve, runs[number].label, number)
    most = max(len(curve.at) for curve in shown.values())
    panel.set_xscale("log")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k < most] + [most]
    panel.set_xticks(ticks, map(str, ticks))
    panel.set_xticks([], minor=True)
    panel.set(title="expected best of K", xlabel="K, samples per clip", ylabel=_on_axis(metric))
    _legend(figure, [panel])
    return figure


def training(runs: Sequence[RunFolder]) -> Figure | None:
    """Draw every loss and its terms over steps, a panel each; None where no run was trained."""
    found = [training_curves(run) for run in runs]
    names = list(dict.fromkeys(name for curves in found for name in curves))
    if not names:
        return None
    figure, panels = _grid(names, columns=3, height=1.5)
    for name, panel in zip(names, panels, strict=True):
        drawn = [(number, curves[name]) for number, curves in enumerate(found) if name in curves]
        for number, curve in drawn:
            draw(panel, curve, runs[number].label, number)
        values = np.concatenate([curve.value for _, curve in drawn])
        if 0 < 10 * values.min() < values.max():
            _use_log_scale(panel, values.max() / values.min())
    _name_axes_over_steps(panels, "")
    _legend(figure, panels)
    return figure


def validation(runs: Sequence[RunFolder], metric: Metric) -> Figure | None:
    """Draw a metric on validation clips over steps, after PUQ's figure 3; None where no run has it."""
    found = [validation_curves(run, metric.name) for run in runs]
    names = panel_names(found)
    if not names:
        return None
    figure, panels = _grid(names, columns=2, height=1.9, same_y=True)
    for name, panel in zip(names, panels, strict=True):
        for number, curves in enumerate(found):
            shown = "single" if "single" in curves and shows_single(name) else name
            if shown in curves:
                draw(panel, curves[shown], runs[number].label + (" (single)" if shown != name else ""), number)
    _name_axes_over_steps(panels, _on_axis(metric))
    _legend(figure, panels)
    return figure


def uncertainty(runs: Sequence[RunFolder]) -> Figure | None:
    """Draw the variance that models predict (PUQ's 1/m_t) over frame numbers; None where no run's examples have it."""
    curves = {number: uncertainty_curve(run) for number, run in enumerate(runs)}
    if not any(curves.values()):
        return None
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    panel = figure.subplots()
    _mark_seen(panel, runs[0])
    for number, curve in curves.items():
        if curve is not None:
            draw(panel, curve, runs[number].label, number)
    panel.set(xlabel="frame (from 1)", ylabel="predicted variance $1/m_t$")
    _legend(figure, [panel])
    return figure


def scored(runs: Sequence[RunFolder]) -> list[Metric]:
    """Return the metrics of frames that any run's own model was scored with."""
    return [
        metric
        for name, metric in METRICS.items()
        if metric.frames != "clip" and any(frame_curves(run, name) for run in runs)
    ]
