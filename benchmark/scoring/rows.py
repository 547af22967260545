"""Results as tidy rows: one number per row, named by everything that decides it; to CSV and back. No torch.

The first columns are COLUMNS, in this order; those after them are the provenance, as text.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.catalogue import METRICS, ROUNDING, SAMPLINGS, Protocol, find_metric
from benchmark.csv_tables import as_csv, check_columns, check_fields, is_number, read_text
from benchmark.scoring.statistics import bootstrap_interval, mean_over_clips
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import written_whole

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

NAME = ("model", "protocol", "preset", "metric", "sampling", "k", "frame")  # with the provenance: a result's full name
FIGURES = ("value", "low", "high", "clips")
COLUMNS = (*NAME, *FIGURES)

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Result:
    """What all rows of one model's scores share."""

    model: str
    protocol: Protocol
    preset: str
    samples: int  # K, samples per clip
    clips: int
    provenance: Mapping[str, object]  # where the numbers come from (seed, fingerprint, machine ...): a column each

    def __post_init__(self) -> None:
        taken = set(self.provenance) & set(COLUMNS)
        if taken:
            raise ValueError(f"provenance may not use the columns' own names: {sorted(taken)}")


def make_rows(scores: Mapping[str, Mapping[str, Floats]], result: Result) -> pd.DataFrame:
    """Return a row per metric, sampling and reported frame: the mean over clips with its 95% interval.

    scores: metric -> sampling -> (N clips, T predicted frames); (N, 1) for a metric with one score per sample, which
    has one row, for the last frame or "mean"; () for a distance between sets, which has no interval.
    Column k is 1 for `single`, and the number of scored samples for metrics that score only the first ones. Column
    clips counts the clips that have a value. Raises ValueError where shapes do not fit, InputError for an unknown
    metric or sampling.
    """
    provenance = [str(value) for value in result.provenance.values()]
    rows: list[tuple] = []
    for metric, by_sampling in scores.items():
        facts = find_metric(metric)
        for sampling, values in by_sampling.items():
            if sampling not in SAMPLINGS:
                raise unknown_name("sampling", sampling, SAMPLINGS)
            k = 1 if sampling == "single" else min(result.samples, facts.max_samples or result.samples)
            name = (result.model, result.protocol.name, result.preset, metric, sampling, k)
            if facts.score_of == "set":
                rows.append((*name, "mean", float(values), math.nan, math.nan, result.clips, *provenance))
                continue
            frames, columns = reported_scores(metric, np.asarray(values, np.float64), result.protocol)
            rows += [
                (*name, frame, *figures, *provenance) for frame, figures in zip(frames, _figures(columns), strict=True)
            ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *result.provenance])


def reported_scores(metric: str, values: Floats, protocol: Protocol) -> tuple[list[str], Floats]:
    """Return the names of the reported frames, and a metric's scores of them: (N, frames) to (N, one column per name).

    Raises ValueError where `values` has another number of frames than the protocol predicts.
    """
    frames, facts = protocol.predicted_frames, find_metric(metric)
    width = len(frames) if facts.frames == "all" else 1
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(f"{metric}: scores (clips, {width}) expected, not {values.shape}")
    if facts.frames != "all":
        return [str(frames[-1]) if facts.frames == "last" else "mean"], values
    columns = [
        mean_over_clips(values.T) if frame == "mean" else values[:, frames.index(int(frame))]
        for frame in protocol.reported_frames
    ]
    return [str(frame) for frame in protocol.reported_frames], np.stack(columns, 1)


def _figures(columns: Floats) -> Iterator[tuple[float, ...]]:
    """Yield FIGURES of every column of (N, columns)."""
    interval = bootstrap_interval(columns)
    return zip(mean_over_clips(columns), interval.low, interval.high, (~np.isnan(columns)).sum(0), strict=True)


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows to a CSV file, whole or not at all; the same rows give the same bytes.

    Floats have nine significant digits. Raises ValueError if columns are missing, or if two rows have one name but
    different figures.
    """
    if tuple(rows.columns[: len(COLUMNS)]) != COLUMNS:
        raise ValueError(f"columns must begin with {', '.join(COLUMNS)}: {', '.join(rows.columns)}")
    clash = _name_clash(rows)
    if clash is not None:
        raise ValueError(f"two different results share one name: {rows.iloc[clash[1]].to_dict()}")
    with written_whole(path) as part:
        part.write_bytes(as_csv(rows))


def _name_clash(rows: pd.DataFrame) -> tuple[int, int] | None:
    """Return the positions of two rows with the same name but different figures; None where there are none."""
    name = [column for column in rows.columns if column not in FIGURES]
    seen: dict[tuple[object, ...], int] = {}
    keys = rows[name].itertuples(index=False, name=None)
    figures = list(rows[list(FIGURES)].map("{:.9g}".format).itertuples(index=False, name=None))
    for position, key in enumerate(keys):
        first = seen.setdefault(key, position)
        if figures[first] != figures[position]:
            return first, position
    return None


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows that `write_rows` wrote; numbers as numbers, provenance as text.

    Metrics that this version does not know are kept, unchecked: `catalogue.known_metrics` leaves them out with a note.
    Raises InputError with file, line, column, expected and found for whatever does not fit.
    """
    rows = read_text(path)
    check_columns(path, rows, COLUMNS)
    if rows.empty:
        raise InputError(f"{path} has no row below its header: delete it, and score the run again")
    check_fields(path, rows, rows_schema())
    lines = rows.index
    numbers = {"k": int, "clips": int, "value": float, "low": float, "high": float}
    rows = rows.astype(numbers).reset_index(drop=True)
    clash = _name_clash(rows)
    if clash is not None:
        first, second = (lines[position] for position in clash)
        raise InputError(f"{path}, line {second}: the same name as line {first}, but other figures")
    return rows


def rows_schema() -> "DataFrameSchema":
    """Return the schema of results.csv, whose fields are text."""
    import pandera.pandas as pa  # here, because it takes half a second

    name = pa.Check.str_length(min_value=1, error="a name, not empty")
    number = pa.Check(is_number, element_wise=True, error="a number")

    def one_of(kind: str, names: Mapping[str, object]) -> pa.Check:
        return pa.Check.isin(list(names), error=f"a known {kind} ({', '.join(names)})")

    def pattern(text: str, expected: str) -> pa.Check:
        return pa.Check.str_matches(f"^(?:{text})$", error=expected)

    return pa.DataFrameSchema(
        {
            **{column: pa.Column(str, name) for column in ("model", "protocol", "preset", "metric")},
            "sampling": pa.Column(str, one_of("sampling", SAMPLINGS)),
            "k": pa.Column(str, pattern(r"[1-9]\d*", "a whole number from 1")),
            "frame": pa.Column(str, pattern(r"mean|[1-9]\d*", "'mean' or a whole number from 1")),
            **{column: pa.Column(str, number) for column in ("value", "low", "high")},
            "clips": pa.Column(str, pattern(r"0|[1-9]\d*", "a whole number from 0")),
        },
        checks=[
            pa.Check(_value_fits, error="value: a finite number that its metric can have, or nan where clips is 0"),
            *(pa.Check(_bound_check(bound), error=f"{bound}: {_BOUND}") for bound in ("low", "high")),
        ],
    )


_BOUND = "a finite number, or nan where clips is 0 or 1 and for a distance of sets"


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce")


def _value_fits(rows: pd.DataFrame) -> pd.Series:
    values = _numbers(rows["value"])
    lowest = rows["metric"].map({name: metric.lowest for name, metric in METRICS.items()}) - ROUNDING
    highest = rows["metric"].map({name: metric.highest for name, metric in METRICS.items()}) + ROUNDING
    possible = np.isfinite(values) & (values >= lowest) & (values <= highest)
    return possible.where(rows["clips"] != "0", values.isna()) | ~rows["metric"].isin(METRICS)


def _bound_check(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    def check(rows: pd.DataFrame) -> pd.Series:
        of_set = rows["metric"].isin([name for name, metric in METRICS.items() if metric.score_of == "set"])
        values = _numbers(rows[column])
        fits = pd.Series(np.isfinite(values)).where((rows["clips"] != "0") & ~of_set, values.isna())
        return fits | (values.isna() & (rows["clips"] == "1")) | ~rows["metric"].isin(METRICS)

    return check
