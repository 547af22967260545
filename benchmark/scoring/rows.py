"""Scores as tidy rows: one number a row, named by everything that decides it; to CSV and back.

The first columns are COLUMNS, always; those after them say where the rows come from, and hold text.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import metrics
from benchmark.scoring.statistics import SAMPLINGS, bootstrap_interval, mean_over_clips
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import written_whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NAME = ("model", "protocol", "preset", "metric", "sampling", "k", "frame")  # with the provenance: a result's full name
FIGURES = ("value", "low", "high", "clips")
COLUMNS = (*NAME, *FIGURES)
PLAIN_WIDTH = 140  # of a table that is not printed on a terminal

Floats = NDArray[np.floating]


def make_rows(
    scores: Mapping[str, Mapping[str, Floats]],
    *,
    model: str,
    protocol: str,
    preset: str,
    samples: int,
    clips: int,
    frames: Sequence[int],
    report: Sequence[int | str],
    provenance: Mapping[str, object],
) -> pd.DataFrame:
    """The rows of one model: per metric, sampling and reported frame the mean over clips with its 95% interval.

    scores: metric -> sampling -> (N clips, T frames); (N, 1) for a metric with one score a future, which gets one row,
    under the last frame's number or "mean"; () for a distance between all clips and all predictions, which has no
    interval. samples: K, the futures a clip; `single` rows say 1, and metrics of fewer futures how many. clips: N.
    frames: the T predicted frames' numbers, 1-based. report: which of them get a row, and "mean" for the mean over all
    T. provenance: what else decides the numbers or says where they come from (seed, fingerprint, machine ...), a
    column each, as text.
    Columns: COLUMNS, then the provenance's in its order; `clips` counts those that have a value.
    Raises ValueError where shapes, frames or names do not fit, and InputError for an unknown metric or sampling.
    """
    taken = set(provenance) & set(COLUMNS)
    if taken:
        raise ValueError(f"provenance may not use the columns' own names: {sorted(taken)}")
    about = [str(value) for value in provenance.values()]
    found = []
    for metric, by_sampling in scores.items():
        for sampling, values in by_sampling.items():
            _check_sampling(sampling)
            k = 1 if sampling == "single" else min(samples, metrics.find(metric).futures or samples)
            name = (model, protocol, preset, metric, sampling, k)
            if metrics.find(metric).of == "set":
                found.append((*name, "mean", float(values), math.nan, math.nan, clips, *about))
                continue
            names, columns = reported(metric, np.asarray(values, np.float64), frames, report)
            found += [(*name, frame, *figures, *about) for frame, figures in zip(names, _figures(columns), strict=True)]
    return pd.DataFrame(found, columns=[*COLUMNS, *provenance])


def reported(
    metric: str, values: Floats, frames: Sequence[int], report: Sequence[int | str]
) -> tuple[list[str], Floats]:
    """Names of the reported frames and their scores, (N, one column a name)."""
    each_frame = metrics.find(metric).frames == "all"
    width = len(frames) if each_frame else 1
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(f"{metric}: scores (clips, {width}) wanted, not {values.shape}")
    if not each_frame:
        return [str(frames[-1]) if metrics.find(metric).frames == "last" else "mean"], values
    unknown = [frame for frame in report if frame != "mean" and frame not in frames]
    if unknown or len(set(report)) < len(report):
        raise ValueError(f"frames to report must be predicted, each once: {list(report)} of {list(frames)}")
    columns = [_mean_over_frames(values) if frame == "mean" else values[:, frames.index(frame)] for frame in report]
    return [str(frame) for frame in report], np.stack(columns, 1)


def _mean_over_frames(values: Floats) -> Floats:
    return mean_over_clips(values.T)  # the same mean that leaves NaN out, along the other axis


def _figures(columns: Floats) -> Iterator[tuple[float, ...]]:
    """FIGURES of every column of (N, columns)."""
    interval = bootstrap_interval(columns)
    return zip(mean_over_clips(columns), interval.low, interval.high, (~np.isnan(columns)).sum(0), strict=True)


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows to a CSV file, whole or not at all; the same rows give the same bytes.

    Floats have nine significant digits. Raises ValueError if columns are missing, or if two rows have one name but
    not the same figures.
    """
    if tuple(rows.columns[: len(COLUMNS)]) != COLUMNS:
        raise ValueError(f"columns must begin with {', '.join(COLUMNS)}: {', '.join(rows.columns)}")
    clash = _name_clash(rows)
    if clash is not None:
        raise ValueError(f"two different results share one name: {rows.iloc[clash[1]].to_dict()}")
    with written_whole(path) as part:
        rows.to_csv(part, index=False, float_format="%.9g", na_rep="nan", lineterminator="\n", encoding="utf-8")


def _name_clash(rows: pd.DataFrame) -> tuple[int, int] | None:
    """Two places whose rows have the same name but not the same figures; None if there are none."""
    name = [column for column in rows.columns if column not in FIGURES]
    seen: dict[tuple[object, ...], int] = {}
    keys = rows[name].itertuples(index=False, name=None)
    figures = list(rows[list(FIGURES)].map("{:.9g}".format).itertuples(index=False, name=None))
    for place, key in enumerate(keys):
        first = seen.setdefault(key, place)
        if figures[first] != figures[place]:
            return first, place
    return None


def read_rows(path: Path) -> pd.DataFrame:
    """Read rows that `write_rows` wrote. Provenance is text.

    Raises InputError with file, line and reason for whatever is not as it should be.
    """
    lines, found = [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = _checked_header(next(reader, []), path)
            for fields in reader:
                found.append(_parsed(header, fields, f"{path}, line {reader.line_num}"))
                lines.append(reader.line_num)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}, after line {lines[-1] if lines else 0}: not CSV in UTF-8 ({error})") from error
    rows = pd.DataFrame(found, columns=header)
    clash = _name_clash(rows)
    if clash is not None:
        first, second = (lines[place] for place in clash)
        raise InputError(f"{path}, line {second}: same name as line {first}, other figures")
    return rows


def _checked_header(header: list[str], path: Path) -> list[str]:
    for place, wanted in enumerate(COLUMNS):
        found = header[place] if place < len(header) else ""
        if found != wanted:
            raise InputError(f"{path}, line 1: column {place + 1} must be '{wanted}', not '{found}'")
    if len(set(header)) < len(header):
        raise InputError(f"{path}, line 1: a column appears twice: {', '.join(header)}")
    return header


def _parsed(header: list[str], fields: list[str], where: str) -> dict[str, object]:
    """One line's fields by column, numbers as numbers; InputError that names the line for anything impossible."""
    if len(fields) != len(header):
        raise InputError(f"{where}: {len(header)} fields wanted, {len(fields)} found")
    row: dict[str, object] = dict(zip(header, fields, strict=True))
    for column in NAME:
        if not row[column]:
            raise InputError(f"{where}: {column} is empty")
    try:
        metrics.find(str(row["metric"]))
        _check_sampling(str(row["sampling"]))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if row["frame"] != "mean":
        _count(row, "frame", where, least=1)
    row |= {"k": _count(row, "k", where, least=1), "clips": _count(row, "clips", where, least=0)}
    scored = row["clips"] != 0
    row["value"] = _figure(row, "value", where, wanted=scored)
    for column in ("low", "high"):
        row[column] = _figure(row, column, where, wanted=scored and metrics.find(str(row["metric"])).of != "set")
    return row


def _check_sampling(sampling: str) -> None:
    if sampling not in SAMPLINGS:
        raise unknown_name("sampling", sampling, SAMPLINGS)


def _count(row: Mapping[str, object], column: str, where: str, least: int) -> int:
    text = str(row[column])
    if not (text.isascii() and text.isdigit() and int(text) >= least and str(int(text)) == text):
        raise InputError(f"{where}: {column} must be a whole number from {least}, not '{text}'")
    return int(text)


def _figure(row: Mapping[str, object], column: str, where: str, wanted: bool) -> float:
    """A finite number, or NaN (only) in a row of no clips."""
    try:
        number = float(str(row[column]))
    except ValueError:
        raise InputError(f"{where}: {column} must be a number, not '{row[column]}'") from None
    if math.isfinite(number) != wanted:
        reason = "must be finite" if wanted else "must be nan where clips is 0, and a distance of sets has no interval"
        raise InputError(f"{where}: {column} {reason}, not '{row[column]}'")
    return number


def wide_console() -> "Console":
    """The terminal; where there is none, plain text of PLAIN_WIDTH."""
    from rich.console import Console  # here, because it takes a tenth of a second

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH, force_terminal=False, color_system=None)


def print_table(rows: pd.DataFrame, console: "Console | None" = None) -> None:
    """Print one table per protocol, dataset and metric: a line per model and sampling, a column per reported frame.

    Each figure is `value [low, high]`. On anything but a terminal the text is plain and at most PLAIN_WIDTH wide.
    """
    from rich.text import Text

    console = console or wide_console()
    board = [column for column in ("protocol", "fingerprint", "metric") if column in rows]
    for _, own in rows.groupby(board, sort=False, dropna=False):
        console.print(Text(_title(own), style="bold"))
        console.print(_table(own, console.width), "")


def _table(rows: pd.DataFrame, width: int) -> "Table":
    """One metric's table; figures in two lines where one would be wider than `width`."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    frames = sorted(rows["frame"].unique(), key=lambda frame: (frame == "mean", int(frame) if frame != "mean" else 0))
    rows = rows.assign(model=_line_names(rows), futures=_futures(rows))
    names = rows["model"].str.len().max() + rows["futures"].str.len().max() + 4
    gap = " " if names + len(frames) * (len(_cell(rows.iloc[0], " ")) + 2) <= width else "\n"
    table = Table("model", "futures", box=box.ASCII_DOUBLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for frame in frames:
        table.add_column(frame if frame == "mean" else f"frame {frame}")
    for (model, futures), own in rows.groupby(["model", "futures"], sort=False):
        cells = {row["frame"]: _cell(row, gap) for _, row in own.iterrows()}
        table.add_row(escape(str(model)), str(futures), *(cells.get(frame, "") for frame in frames))
    return table


def _futures(rows: pd.DataFrame) -> pd.Series:
    """How futures became one number: "mean of 100", or "single"."""
    sampled = rows["sampling"] + " of " + rows["k"].astype(str)
    return sampled.where(rows["sampling"] != "single", "single")


def _title(rows: pd.DataFrame) -> str:
    metric = metrics.find(rows["metric"].iloc[0])
    clips = "-".join(str(count) for count in sorted({rows["clips"].min(), rows["clips"].max()}))
    facts = [metric.name, *([metric.unit] if metric.unit else []), f"{metric.better} is better"]
    presets = f", {' and '.join(rows['preset'].unique())}"
    dataset = f", dataset {rows['fingerprint'].iloc[0][:12]}" if "fingerprint" in rows else ""
    return f"{', '.join(facts)}; {rows['protocol'].iloc[0]}{presets}{dataset}; {clips} clips, value [95% interval]"


def _line_names(rows: pd.DataFrame) -> pd.Series:
    """The model, and in brackets whatever else tells lines of one model and sampling apart (preset, seed ...)."""
    others = [column for column in rows.columns if column not in (*COLUMNS, "fingerprint") or column == "preset"]
    kinds = rows.groupby(["model", "sampling", "k"])[others].nunique(dropna=False)
    varied = [column for column in others if (kinds[column] > 1).any()]
    if not varied:
        return rows["model"]
    return rows["model"] + rows[varied].apply(lambda row: f" ({', '.join(f'{c} {row[c]}' for c in varied)})", axis=1)


def _cell(row: pd.Series, gap: str) -> str:
    if row["clips"] == 0:
        return "-"
    digits = 2 if metrics.find(row["metric"]).unit else 4  # hundredths of a dB or px; pure numbers are below 1
    if metrics.find(row["metric"]).of == "set":
        return f"{row['value']:.{digits}f}"
    return f"{row['value']:.{digits}f}{gap}[{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
