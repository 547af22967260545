"""training.csv and validation.csv of a run, read for its report."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.catalogue import SAMPLINGS, sampling_name
from benchmark.csv_tables import check_columns, check_fields, is_number, read_text
from mmnist_av.system.errors import InputError

if TYPE_CHECKING:
    import pandera.pandas as pandera

Columns = dict[str, NDArray[np.float64]]

TRAINING = ("step", "epoch", "seconds")  # the first columns of training.csv; those after them are losses and terms
VALIDATION = ("step", "metric", "sampling", "frame", "value", "low", "high")  # columns that validation.csv must have
FIGURES = ("step", "value", "low", "high")  # those of VALIDATION that are numbers


def read_training(path: Path) -> Columns:
    """Return training.csv's steps, losses and terms by column.

    A loss or term is NaN where the player of another stage was trained, and where it was not finite. Raises InputError
    with file, line and column for what is missing, no number, or out of order.
    """
    if not path.stat().st_size:  # a training of 0 steps
        return {}
    table = read_text(path)
    check_columns(path, table, TRAINING)
    check_fields(path, table, _training_schema())
    numbers = table.replace("", "nan").astype(np.float64).replace([np.inf, -np.inf], np.nan)
    return {str(name): numbers[name].to_numpy() for name in numbers if name not in ("epoch", "seconds")}


def read_validation(path: Path) -> pd.DataFrame | None:
    """Return validation.csv with numbers as numbers and one more column, samples ("mean of 10"); None for an empty one.

    Raises InputError with file, line and column for what is missing or impossible.
    """
    if not path.stat().st_size:  # a training of 0 steps
        return None
    table = read_text(path)
    if not set(VALIDATION) <= set(table.columns):
        expected, found = ", ".join(VALIDATION), ",".join(table.columns)
        raise InputError(f"{path}, line 1: expected the columns {expected}, found {found}")
    check_fields(path, table, _validation_schema())
    table = table.astype(dict.fromkeys(FIGURES, np.float64)).reset_index(drop=True)
    samples = table["sampling"]
    if "k" in table:
        samples = pd.Series([sampling_name(*row) for row in zip(samples, table["k"], strict=True)], dtype=object)
    return table.assign(samples=samples)


def _training_schema() -> "pandera.DataFrameSchema":
    import pandera.pandas as pandera  # here, because it takes half a second

    finite = pandera.Check(_is_finite, element_wise=True, error="a finite number")
    or_empty = pandera.Check(lambda text: not text or is_number(text), element_wise=True, error="a number")
    rising = pandera.Check(_is_rising, error="a step after the step of the line before")
    losses = rf"^(?!({'|'.join(TRAINING)})$)"
    return pandera.DataFrameSchema(
        {
            "step": pandera.Column(checks=[finite, rising]),
            "epoch": pandera.Column(checks=finite),
            "seconds": pandera.Column(checks=finite),
            losses: pandera.Column(checks=or_empty, regex=True, required=False),
        }
    )


def _validation_schema() -> "pandera.DataFrameSchema":
    import pandera.pandas as pandera

    number = pandera.Check(is_number, element_wise=True, error="a number")
    finite = pandera.Check(_is_finite, element_wise=True, error="a finite number")
    rule = pandera.Check.isin([*SAMPLINGS], error="a sampling rule of this version")
    frame = pandera.Check(lambda text: text == "mean" or text.isdigit(), element_wise=True, error="a frame or 'mean'")
    return pandera.DataFrameSchema(
        {
            "step": pandera.Column(checks=finite),
            "metric": pandera.Column(checks=pandera.Check.str_length(min_value=1, error="a metric's name")),
            "sampling": pandera.Column(checks=rule),
            "frame": pandera.Column(checks=frame),
            **{name: pandera.Column(checks=number) for name in ("value", "low", "high")},
        }
    )


def _is_rising(steps: pd.Series) -> pd.Series:
    return pd.to_numeric(steps, errors="coerce").diff().fillna(1) > 0


def _is_finite(text: str) -> bool:
    return is_number(text) and math.isfinite(float(text))
