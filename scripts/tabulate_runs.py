"""The table of docs/numbers.md: python scripts/tabulate_runs.py docs/thousand-steps.csv --add RUN --add RUN.

Adds the rows of finished runs to a CSV file of rows, then prints its tables in Markdown: a line per model and seed, at
frames 6, 15 and 25; learned models first, then floors and references. Of the floors that every run scores, the first
run's rows are taken.
"""

from pathlib import Path

import click
import pandas as pd

from baselines.names import FLOORS, REFERENCES, SAMPLED_FLOORS
from benchmark.runs.folder import RESULTS
from benchmark.runs.seal import check_seal, is_sealed
from benchmark.scoring.rows import read_rows, write_rows
from mmnist_av.system.errors import InputError

FRAMES = ("6", "15", "25")
RULES = ("mean", "best_frame", "mean_frame")
# Of each table: its caption, its columns (heading, metric, sampling), and decimals
TABLES = (
    ("PSNR, dB", [(rule, "psnr", rule) for rule in RULES], 2),
    ("`ssim_uniform`", [(rule, "ssim_uniform", rule) for rule in RULES], 3),
    (
        "the digit (`mean`)",
        [(name, name, "mean") for name in ("ink", "digit_visible", "position_error", "bounce_f1", "sync_lag")],
        2,
    ),
)
LAST = (*FLOORS, *SAMPLED_FLOORS, *REFERENCES)  # below the learned models, in this order
SCORED = {(metric, sampling) for _, columns, _ in TABLES for _, metric, sampling in columns}


def tabulated(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the tables show: their metrics and samplings, at their frames."""
    shown = pd.Series([pair in SCORED for pair in zip(rows["metric"], rows["sampling"], strict=True)], rows.index)
    single = rows["sampling"].eq("single") & rows["metric"].isin([metric for metric, _ in SCORED])
    return rows[(shown | single) & rows["frame"].isin([*FRAMES, "mean"])]


def add(rows: pd.DataFrame, run: Path) -> pd.DataFrame:
    """Return the rows with those of a finished run; InputError for an unfinished one and for a model that is there."""
    check_seal(run)
    if not is_sealed(run):
        raise InputError(f"{run} is not finished: give its `avbench run` again")
    new = tabulated(read_rows(run / RESULTS))
    taken = set(zip(rows["model"], rows["seed"], strict=True)) if len(rows) else set()
    floors = set(rows["model"]) & set(FLOORS) if len(rows) else set()
    new = new[~new["model"].isin(floors)]
    again = taken & set(zip(new["model"], new["seed"], strict=True))
    if again:
        raise InputError(f"{run}: rows of {', '.join(f'{model}, seed {seed}' for model, seed in again)} are there")
    return pd.concat([rows, new], ignore_index=True)


def table(rows: pd.DataFrame, caption: str, columns: list[tuple[str, str, str]], decimals: int) -> str:
    """Return a table in Markdown: a line per model and seed, a column per heading."""
    lines = [
        f"| {caption} | seed | {' | '.join(heading for heading, _, _ in columns)} |",
        "| --- " * (len(columns) + 2) + "|",
    ]
    by_run = dict(iter(rows.groupby(["model", "seed"], sort=False)))
    for (model, seed), own in sorted(by_run.items(), key=lambda each: order(*each[0])):
        fields = [field(own, metric, sampling, decimals) for _, metric, sampling in columns]
        lines.append(f"| `{model}` | {'' if model in FLOORS else seed} | {' | '.join(fields)} |")
    return "\n".join(lines)


def order(model: str, seed: str) -> tuple[int, str, int]:
    """Return the place of a line: learned models by name, then LAST in its order; each by seed."""
    return (LAST.index(model) + 1, "", int(seed)) if model in LAST else (0, model, int(seed))


def field(rows: pd.DataFrame, metric: str, sampling: str, decimals: int) -> str:
    """Return the values at FRAMES, or the one value of a metric that has one; a model of one sample has them once."""
    one_sample = "single" if sampling == "mean" else sampling
    own = rows[rows["metric"].eq(metric) & rows["sampling"].isin([sampling, one_sample])].set_index("frame")["value"]
    frames = [frame for frame in FRAMES if frame in own.index] or [frame for frame in ("mean",) if frame in own.index]
    return ", ".join("-" if pd.isna(own[frame]) else f"{own[frame]:.{decimals}f}" for frame in frames)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--add", "runs", multiple=True, type=click.Path(path_type=Path), help="A finished run to add.")
def main(file: Path, runs: tuple[Path, ...]) -> None:
    """Add the rows of runs to FILE, and print its tables."""
    try:
        rows = read_rows(file) if file.exists() else pd.DataFrame()
        for run in runs:
            rows = add(rows, run)
        if runs:
            write_rows(rows, file)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    for caption, columns, decimals in TABLES:
        print(table(rows, caption, columns, decimals), end="\n\n")


if __name__ == "__main__":
    main()
