"""The logs of a training: training.csv, validation.csv, and the same numbers for TensorBoard."""

import csv
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from baselines.predictor import Loss
from benchmark.csv_tables import as_csv
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import regular, written_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

RESTORE = "restore it, or move it away to continue without its rows"
TAG = ("metric", "sampling", "frame")  # the columns that name a validation's number for TensorBoard


class TrainingLog:
    """training.csv: one row per step, a column per player and term of its loss, empty where a step has no such value.

    Opened after `first` steps, it keeps the rows of these steps and drops the rest. Columns that are added later, for
    the players of a later stage, are empty in the rows before. Of a lost file the rows stay missing, which a note says.
    Raises InputError where the last of these rows are missing.
    """

    def __init__(self, path: Path, first: int) -> None:
        header, *rows = (read_lines(path) if first else []) or [""]
        try:
            start = int(rows[0].split(",")[0]) if rows else first
            kept = rows[: max(first - start, 0)]
            seconds = float(kept[-1].split(",")[2]) if kept else 0.0
            if header and not header.startswith("step,epoch,seconds"):
                raise ValueError("another file")
        except (ValueError, IndexError):
            raise InputError(f"{path} is damaged: {RESTORE}") from None
        if start < first and (len(kept) < first - start or not kept[-1].startswith(f"{first - 1},")):
            raise InputError(f"{path} lacks steps before {first}: {RESTORE}")
        if first and start:
            log.warning("%s has no rows of the steps before %d: they stay missing", path, min(start, first))
        self._path = path
        self._columns = header.split(",") if kept else []
        self._started = time.monotonic() - seconds
        self._rewrite([header, *kept] if kept else [])

    def write(self, step: int, epoch: int, losses: Mapping[str, Loss]) -> dict[str, float]:
        """Add a row with every player's loss and its terms; return them by column."""
        row: dict[str, float] = {"step": step, "epoch": epoch, "seconds": round(time.monotonic() - self._started, 3)}
        values = scalars(losses)
        row.update(values)
        if not row.keys() <= set(self._columns):
            self._widen([column for column in row if column not in self._columns])
        csv.DictWriter(self._file, self._columns, lineterminator="\n").writerow(row)
        self._file.flush()
        return values

    def _widen(self, columns: Sequence[str]) -> None:
        """Add columns, which are empty in the rows written so far."""
        self._file.close()
        self._columns += columns
        rows = [f"{row}{',' * len(columns)}" for row in read_lines(self._path)[1:]]
        self._rewrite([",".join(self._columns), *rows])

    def _rewrite(self, lines: Sequence[str]) -> None:
        write_lines(self._path, lines)
        self._file = self._path.open("a", newline="")

    def sync(self) -> None:
        """Write everything to the disk, so that it survives a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path) -> list[str]:
    """Return the lines of a log, none of a missing one. Raises InputError where it is no text."""
    try:
        return regular(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): {RESTORE}") from None


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write the lines of a log, whole or not at all."""
    with written_whole(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def scalars(losses: Mapping[str, Loss]) -> dict[str, float]:
    """Return every player's loss as "player", and its terms as "player/term"."""
    values = {}
    for player, loss in losses.items():
        values[player] = loss.total.item()
        values.update({f"{player}/{term}": value.item() for term, value in loss.terms.items()})
    return values


class ValidationLog:
    """validation.csv: the rows of every validation; their column `step` is the number of steps taken before it.

    Opened after `first` steps, it keeps the validations up to there and drops the rest. due(steps) says whether there
    is a validation after so many steps. Of a lost file the rows stay missing, which a note says. Raises InputError
    where one that must be kept is missing or not whole.
    """

    def __init__(self, path: Path, first: int, due: Callable[[int], bool]) -> None:
        lines = read_lines(path) if first else []
        header = lines[0].split(",") if lines else []
        rows = [(line, fields) for line in lines[1:] if len(fields := next(csv.reader([line]))) == len(header)]
        try:
            kept = [(line, int(fields[header.index("step")])) for line, fields in rows]
            if lines and "step" not in header:
                raise ValueError("another file")
        except ValueError:
            raise InputError(f"{path} is damaged: {RESTORE}") from None
        kept = [(line, step) for line, step in kept if step <= first]
        rows_of = Counter(step for _, step in kept)
        past = [step for step in range(1, first + 1) if due(step)]
        expected = [step for step in past if step >= min(rows_of, default=first + 1)]
        if sorted(rows_of) != expected or len(set(rows_of.values())) > 1:
            raise InputError(f"{path} lacks validations before step {first}: {RESTORE}")
        if len(expected) < len(past):
            lost = f"the first {len(past) - len(expected)} of {len(past)} validations"
            log.warning("%s has no rows of %s: they stay missing", path, lost)
        write_lines(path, [*lines[:1], *(line for line, _ in kept)] if kept else [])
        self._file = path.open("ab")

    def write(self, rows: pd.DataFrame) -> None:
        """Add the rows of a validation, and write them to the disk."""
        self._file.write(as_csv(rows, header=self._file.tell() == 0))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_board(folder: Path, first: int) -> "SummaryWriter":
    """Return a TensorBoard log in `folder` over the number of steps taken, without what it had after `first` steps."""
    return find_tensorboard()(str(folder), purge_step=first + 1)


def find_tensorboard() -> "type[SummaryWriter]":
    """Return the class that writes for TensorBoard; InputError where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard needs a package: pip install tensorboard") from error
    return SummaryWriter


class Logs:
    """All logs of a training, continued after `first` steps.

    due(steps): whether there is a validation after so many steps; None: the training has no validation.
    """

    def __init__(self, folder: Path, first: int, due: Callable[[int], bool] | None, tensorboard: bool) -> None:
        self._training = TrainingLog(folder / "training.csv", first)
        self._validation = None if due is None else ValidationLog(folder / "validation.csv", first, due)
        self._board = open_board(folder / "tensorboard", first) if tensorboard else None

    def write(self, step: int, epoch: int, losses: Mapping[str, Loss]) -> None:
        """Add a step's losses."""
        values = self._training.write(step, epoch, losses)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step + 1)

    def write_validation(self, steps: int, rows: pd.DataFrame) -> None:
        """Add the rows of a validation after `steps` steps."""
        if self._validation is not None:
            self._validation.write(rows)
        if self._board is not None:
            for name, value in zip(rows[list(TAG)].itertuples(index=False), rows["value"], strict=True):
                self._board.add_scalar("/".join(("validation", *map(str, name))), value, steps)

    def sync(self) -> None:
        """Write everything to the disk, so that it survives a power cut."""
        self._training.sync()
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        for log in (self._training, self._validation, self._board):
            if log is not None:
                log.close()
