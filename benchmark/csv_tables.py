"""CSV files in and out: read whole, checked against a schema; every error names file, line, column and value."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mmnist_av.system.errors import InputError

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


def read_table(path: Path, schema: "DataFrameSchema") -> pd.DataFrame:
    """Return the rows of a CSV file in UTF-8, as text, checked against the schema of its columns.

    A check's `error` is "column: what is expected". Raises InputError, with the line, for a file that is not CSV, for
    columns that are missing, and for the first row that does not fit.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            lines = [(reader.line_num, fields) for fields in reader]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV in UTF-8 ({error})") from error
    _check_header(path, header, list(schema.columns))
    for line, fields in lines:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: {len(header)} fields expected, {len(fields)} found")
    rows = pd.DataFrame([fields for _, fields in lines], columns=header, dtype=str)
    rows.index = pd.Index([line for line, _ in lines], name="line")
    check_table(path, rows, schema)
    return rows


def _check_header(path: Path, header: list[str], columns: list[str]) -> None:
    for number, column in enumerate(columns):
        found = header[number] if number < len(header) else ""
        if found != column:
            raise InputError(f"{path}, line 1: column {number + 1} must be '{column}', not '{found}'")
    if len(set(header)) < len(header):
        raise InputError(f"{path}, line 1: a column appears twice: {', '.join(header)}")


def check_table(path: Path, rows: pd.DataFrame, schema: "DataFrameSchema") -> None:
    """Raise InputError, with file, line, column, found and expected, for the first row that does not fit the schema.

    The rows' index holds their lines in the file.
    """
    from pandera.errors import SchemaErrors

    try:
        schema.validate(rows, lazy=True)
    except SchemaErrors as error:
        # A check's error is "column: what is expected". Column checks come before those of whole rows.
        first = error.failure_cases.sort_values(["index", "schema_context"], kind="stable").iloc[0]
        column, _, expected = str(first["check"]).partition(": ")
        found = rows.loc[first["index"], column]
        raise InputError(f"{path}, line {first['index']}: {column} must be {expected}, not '{found}'") from error
