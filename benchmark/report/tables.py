"""Tables of results as plain data, and how terminals print them. A report's page shows the same tables.

Nothing here imports torch; rich is imported where something is printed, because that takes a tenth of a second.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from baselines.names import FLOORS, reference_note
from benchmark.catalogue import Metric, find_metric, known_metrics, sampling_name
from benchmark.scoring.judges import FOOLED, TRUE, cannot_tell
from mmnist_av.system.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich import table as rich_table
    from rich.console import Console

PLAIN_WIDTH = 140  # characters of a line of tables that are not printed on a terminal
JUDGED = (FOOLED, TRUE)
NOTHING = "-"  # a figure that does not exist


@dataclass(frozen=True)
class Cell:
    """A name or a figure."""

    text: str = ""
    interval: str = ""  # "[12.96, 13.44]"


@dataclass(frozen=True)
class Table:
    """A table: the first columns hold names, the others figures."""

    header: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    names: int  # the number of columns of names
    title: str = ""  # what the figures are
    note: str = ""  # which clips they are computed from
    whole: int = 0  # the number of first columns that are never folded, however narrow the terminal


def metric_title(metric: Metric) -> str:
    """Return a metric's name, unit and direction: "psnr, dB (higher is better)"."""
    return f"{metric.name}{', ' if metric.unit else ''}{metric.unit} ({metric.better} is better)"


def frames_in_order(frames: Iterable[str]) -> list[str]:
    """Return the different frames of rows in the order of time, "mean" last."""
    return sorted(set(frames), key=lambda frame: (frame == "mean", 0 if frame == "mean" else int(frame)))


def _column_name(frame: str) -> str:
    return frame if frame == "mean" else f"frame {frame}"


def metric_tables(rows: "pd.DataFrame") -> list[Table]:
    """Return one table per protocol, dataset and metric of results' rows: a line per model and sampling rule."""
    board = [column for column in ("protocol", "fingerprint") if column in rows]
    tables = []
    for _, whole in rows.groupby(board, sort=False, dropna=False):
        weak = cannot_tell(whole)
        tables += [_metric_table(own, weak) for _, own in whole.groupby("metric", sort=False)]
    return tables


def _metric_table(rows: "pd.DataFrame", weak: Collection[str]) -> Table:
    """Return the table of one metric's rows; `weak`: the models whose judge cannot tell, of which a judge's say so."""
    frames = frames_in_order(rows["frame"])
    lines = []
    for (name, sampling, k), own in rows.assign(line=_line_names(rows)).groupby(["line", "sampling", "k"], sort=False):
        names = Cell(str(name)), Cell(sampling_name(str(sampling), k))
        figures = {row["frame"]: figure(row) for row in own.to_dict("records")}
        lines.append((*names, *(figures.get(frame, Cell()) for frame in frames)))
    return Table(
        header=("model", "samples", *map(_column_name, frames)),
        lines=tuple(lines),
        names=2,
        title=metric_title(find_metric(rows["metric"].iloc[0])),
        note=_note(rows) + _judge_note(rows, weak),
    )


def _judge_note(rows: "pd.DataFrame", weak: Collection[str]) -> str:
    """Return a warning for a table of what judges say, where the judge of some models cannot tell."""
    named = [model for model in weak if (rows["model"] == model).any()]
    return f"; the judge cannot tell: {', '.join(named)}" if named and rows["metric"].iloc[0] in JUDGED else ""


def _note(rows: "pd.DataFrame") -> str:
    """Return where figures come from: "m3so, demo, dataset af6ea5a3cf04; 60 clips"."""
    presets = " and ".join(rows["preset"].unique())
    dataset = f", dataset {rows['fingerprint'].iloc[0][:12]}" if "fingerprint" in rows else ""
    return f"{rows['protocol'].iloc[0]}, {presets}{dataset}; {_clips(rows)}, value [95% interval]"


def _clips(rows: "pd.DataFrame") -> str:
    """Return how many clips figures are means of: "60 clips", or "58-60 clips" where this differs."""
    return f"{'-'.join(str(count) for count in sorted({rows['clips'].min(), rows['clips'].max()}))} clips"


def _line_names(rows: "pd.DataFrame") -> "pd.Series":
    """Return each row's model and, in brackets, what else differs between lines of one model (preset, seed ...)."""
    from benchmark.scoring.rows import COLUMNS

    others = [column for column in rows.columns if column not in (*COLUMNS, "fingerprint") or column == "preset"]
    kinds = rows.groupby(["model", "sampling", "k"])[others].nunique(dropna=False)
    varied = [column for column in others if (kinds[column] > 1).any()]
    if not varied:
        return rows["model"]
    return rows["model"] + rows[varied].apply(lambda row: f" ({', '.join(f'{c} {row[c]}' for c in varied)})", axis=1)


def figure(row: Mapping[Any, Any], digits: int | None = None) -> Cell:
    """Return a row's value and its interval; `digits` behind the point: by default 2 with a unit, 4 without."""
    if row["clips"] == 0:
        return Cell(NOTHING)
    metric = find_metric(row["metric"])
    if digits is None or metric.unit:
        digits = _digits(metric)
    interval = f"[{row['low']:.{digits}f}, {row['high']:.{digits}f}]" if row["low"] <= row["high"] else ""  # not NaN
    return Cell(f"{row['value']:.{digits}f}", interval)


def _digits(metric: Metric) -> int:
    """Return how many digits are shown: hundredths of a dB or px; figures without a unit are mostly below 1."""
    return 2 if metric.unit else 4


def print_all(rows: "pd.DataFrame", console: "Console | None" = None) -> None:
    """Print one table per protocol, dataset and metric, each figure as `value [low, high]`.

    On anything but a terminal the text is plain ASCII, in lines of at most PLAIN_WIDTH characters.
    """
    print_tables(metric_tables(rows), console)


def show(folder: Path, console: "Console | None" = None) -> None:
    """Print all tables of a run, and how a reference's are to be read.

    Notes name metrics of other versions, which are left out, and a run without a seal. Raises InputError where the
    folder has no results.csv, a damaged one, or has changed since its run ended.
    """
    from benchmark.runs.seal import check_seal, note_unsealed
    from benchmark.scoring.rows import read_rows

    path = folder / "results.csv"
    if not path.is_file():
        raise InputError(f"{folder} has no results.csv: name the folder of a finished run")
    check_seal(folder)
    note_unsealed(folder)
    rows = read_rows(path)
    known = known_metrics(rows["metric"], folder)
    if not known:
        raise InputError(f"{path} has no metric of this version: install the version or the package that wrote it")
    print_all(rows[rows["metric"].isin(known)], console)
    print_note(reference_note(rows["model"]), console)


def print_note(text: str, console: "Console | None" = None) -> None:
    """Print a sentence on the tables above it; nothing for an empty one."""
    from rich.text import Text

    if text:
        (console or wide_console()).print(Text(text))


def print_comparison(rows: "pd.DataFrame", console: "Console | None" = None) -> None:
    """Print the differences of two sides, the rows of `benchmark.compare.Comparison`: one table per metric."""
    print_tables([_comparison_table(own) for _, own in rows.groupby("metric", sort=False)], console)


def _comparison_table(rows: "pd.DataFrame") -> Table:
    metric = find_metric(rows["metric"].iloc[0])
    digits = _digits(metric)
    lines = []
    for row in rows.to_dict("records"):
        names = (str(row["sampling"]), str(row["frame"]))
        if not row["clips"]:
            lines.append(tuple(map(Cell, (*names, *[NOTHING] * 4, str(row["verdict"])))))
            continue
        means = (f"{row[name]:.{digits}f}" for name in ("one", "other"))
        interval = f"[{row['low']:+.{digits}f}, {row['high']:+.{digits}f}]" if row["low"] <= row["high"] else NOTHING
        lines.append(tuple(map(Cell, (*names, *means, interval, _p(row["p_holm"]), str(row["verdict"])))))
    return Table(
        header=("sampling", "frame", "one", "other", "one - other, 95%", "p", "verdict"),
        lines=tuple(lines),
        names=1,
        title=metric_title(metric),
        note=_clips(rows),
    )


def _p(value: float) -> str:
    """Return a p-value in at most 5 characters."""
    return "<.001" if value < 0.001 else f"{value:.3f}"


def print_sweep(summed: "pd.DataFrame", console: "Console | None" = None) -> None:
    """Print figures over seeds, as `benchmark.sweep.over_seeds` returns them: one table per protocol and metric."""
    board = ["protocol", "preset", "fingerprint", "metric"]
    print_tables([_sweep_table(own) for _, own in summed.groupby(board, sort=False, dropna=False)], console)
    print_note(reference_note(summed["model"]), console)


def _sweep_table(summed: "pd.DataFrame") -> Table:
    first = summed.iloc[0]
    frames = frames_in_order(summed["frame"])
    lines = []
    groups = summed.groupby(["model", "sampling", "k"], sort=False)
    for (model, sampling, k), own in sorted(groups, key=lambda group: group[0][0] in FLOORS):
        names = (str(model), sampling_name(str(sampling), k), str(own["seeds"].max()))
        figures = {row["frame"]: _over_seeds(row) for row in own.to_dict("records")}
        lines.append(tuple(map(Cell, (*names, *(figures.get(frame, "") for frame in frames)))))
    over = "mean +- standard deviation over seeds" if summed["seeds"].max() > 1 else "one seed"
    return Table(
        header=("model", "samples", "seeds", *map(_column_name, frames)),
        lines=tuple(lines),
        names=3,
        title=metric_title(find_metric(first["metric"])),
        note=f"{first['protocol']}, {first['preset']}, dataset {first['fingerprint'][:12]}; {over}",
    )


def _over_seeds(row: Mapping[Any, Any]) -> str:
    """Return "12.3 +- 0.4"; one seed has no standard deviation, and no seed has a value where none was scored."""
    if row["mean"] != row["mean"]:
        return NOTHING
    deviation = "" if row["sd"] != row["sd"] else f" +- {row['sd']:.2g}"
    return f"{row['mean']:.4g}{deviation}"


def list_table(header: Sequence[str], lines: Iterable[Sequence[object]], console: "Console | None" = None) -> None:
    """Print a table of names, such as the list of all models; on a narrow terminal only the last column is folded."""
    cells = tuple(tuple(Cell(str(text)) for text in line) for line in lines)
    print_tables([Table(tuple(header), cells, names=len(header), whole=len(header) - 1)], console)


def print_tables(tables: Iterable[Table], console: "Console | None" = None) -> None:
    """Print tables, with their titles where they have one."""
    from rich.text import Text

    console = console or wide_console()
    for table in tables:
        if table.title:
            console.print(Text(f"{table.title}; {table.note}", style="bold"))
        console.print(_for_terminal(table, console.width))
        if table.title:
            console.print()


def wide_console() -> "Console":
    """Return the terminal's console; where there is no terminal, one that writes plain text of PLAIN_WIDTH."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH, force_terminal=False, color_system=None)


def _for_terminal(table: Table, width: int) -> "rich_table.Table":
    """Return the table for rich, two spaces between columns; where it is narrow, a line a figure."""
    from rich.box import Box
    from rich.markup import escape
    from rich.table import Table as RichTable

    rule_below_header = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    header, lines = table.header, [[_joined(cell) for cell in line] for line in table.lines]
    if sum(widths_of([header, *lines])) + 2 * (len(header) - 1) > width and _has_intervals(table):
        header, lines = (*header[: table.names], "at", "value", "95% interval"), _a_line_a_figure(table)
    drawn = RichTable(box=rule_below_header, show_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(header):
        side: Literal["left", "right"] = "left" if number < table.names else "right"
        drawn.add_column(escape(name), justify=side, overflow="fold", no_wrap=number < table.whole)
    for line in lines:
        drawn.add_row(*map(escape, line))
    return drawn


def _has_intervals(table: Table) -> bool:
    return any(cell.interval for line in table.lines for cell in line)


def _a_line_a_figure(table: Table) -> list[list[str]]:
    """Return a table's lines, one for each figure, with names where they change: names, column, value, interval."""
    lines = []
    for line in table.lines:
        names = [cell.text for cell in line[: table.names]]
        for column, cell in zip(table.header[table.names :], line[table.names :], strict=True):
            if cell.text:
                lines.append([*names, column, cell.text, cell.interval])
                names = [""] * table.names
    return lines


def _joined(cell: Cell) -> str:
    return f"{cell.text} {cell.interval}" if cell.interval else cell.text


def widths_of(lines: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of every column."""
    return [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
