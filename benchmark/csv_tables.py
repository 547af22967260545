"""CSV files: written alike, read whole, checked by a schema; errors name file, line, column, expected and found."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mmnist_av.system.errors import InputError

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


def as_csv(table: pd.DataFrame, header: bool = True) -> bytes:
    """Return a table as the contents of a CSV file, floats with nine significant digits; equal tables, equal bytes.

    Not written by pandas, which takes a path that begins with ~ for one in the user's home.
    """
    text: str = table.to_csv(header=header, index=False, float_format="%.9g", na_rep="nan", lineterminator="\n")
    return text.encode()


def read_text(path: Path) -> pd.DataFrame:
    """Return the fields of a CSV file in UTF-8 as text; the index holds their lines in the file.

    Raises InputError, with the line, for a file that is not CSV, a column that appears twice, and a line that has more
    or fewer fields than the first.
    """
    line = 0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            lines = []
            for fields in reader:
                line = reader.line_num
                lines.append((line, fields))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}, after line {line}: not CSV in UTF-8 ({error})") from error
    if len(set(header)) < len(header):
        raise InputError(f"{path}, line 1: a column appears twice: {', '.join(header)}")
    for line, fields in lines:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} fields, found {len(fields)}")
    index = pd.Index([line for line, _ in lines], name="line")
    return pd.DataFrame([fields for _, fields in lines], columns=header, index=index, dtype=str)


def check_columns(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise InputError where the first columns are not `columns`, in this order."""
    for number, column in enumerate(columns):
        found = rows.columns[number] if number < len(rows.columns) else ""
        if found != column:
            raise InputError(f"{path}, line 1, column {number + 1}: expected '{column}', found '{found}'")


def check_fields(path: Path, rows: pd.DataFrame, schema: "DataFrameSchema") -> None:
    """Raise InputError for the first field that does not fit the schema; the rows' index holds their lines.

    A column's check has as its `error` what is expected; a check of whole rows "column: what is expected".
    """
    from pandera.errors import SchemaErrors

    try:
        schema.validate(rows, lazy=True)
    except SchemaErrors as error:
        # "Column" sorts before "DataFrameSchema": what a single field says comes first
        wrong = error.failure_cases.sort_values(["index", "schema_context"], kind="stable").iloc[0]
        column, expected = wrong["column"], str(wrong["check"])
        if wrong["schema_context"] != "Column":
            column, _, expected = expected.partition(": ")
        found = rows.loc[wrong["index"], column]
        raise InputError(
            f"{path}, line {wrong['index']}, column {column}: expected {expected}, found '{found}'"
        ) from None


def is_number(text: str) -> bool:
    """Return whether a field is a number, which may be nan or infinite."""
    try:
        float(text)
    except ValueError:
        return False
    return True
