"""The table of docs/numbers.md: every run once, the floors of the first, nothing from an unfinished run."""

import pandas as pd
import pytest
from click.testing import CliRunner

import tabulate_runs
from benchmark.job import Job
from benchmark.run import run
from benchmark.scoring.rows import read_rows
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = generate(folder / "nb", Spec(), {"test": 3}, seed=2).path
    chosen = {"data": data, "samples": 3, "device": "cpu", "report": False}
    return [run(Job("scatter", out=folder / f"scatter-{seed}", seed=seed, **chosen))[1] for seed in (0, 1)]


def invoke(*arguments):
    return CliRunner().invoke(tabulate_runs.main, [str(each) for each in arguments])


def test_runs_of_two_seeds_are_two_lines_and_the_floors_stand_once(runs, tmp_path):
    file = tmp_path / "rows.csv"
    said = invoke(file, "--add", runs[0], "--add", runs[1])
    assert said.exit_code == 0, said.output
    first = read_rows(runs[0] / "results.csv").set_index(["model", "metric", "sampling", "frame"])["value"]
    psnr = [f"{first['scatter', 'psnr', 'best_frame', frame]:.2f}" for frame in ("6", "15", "25")]
    lines = said.output.splitlines()
    assert any(line.startswith("| `scatter` | 0 |") and f"| {', '.join(psnr)} |" in line for line in lines)
    assert sum(line.startswith("| `scatter` | 1 |") for line in lines) == len(tabulate_runs.TABLES)
    assert sum(line.startswith("| `black` |") for line in lines) == len(tabulate_runs.TABLES)
    assert invoke(file).output == said.output  # the file holds all that is printed
    again = invoke(file, "--add", runs[0])
    assert again.exit_code == 2
    assert "rows of scatter, seed 0 are there" in again.output


def test_an_unfinished_run_is_not_added(runs, tmp_path):
    (runs[1] / "files.json").rename(tmp_path / "files.json")
    said = invoke(tmp_path / "rows.csv", "--add", runs[1])
    (tmp_path / "files.json").rename(runs[1] / "files.json")
    assert said.exit_code == 2
    assert "is not finished" in said.output
    assert not (tmp_path / "rows.csv").exists()


def test_a_metric_without_a_value_is_a_dash():
    rows = pd.DataFrame({"metric": "ink", "sampling": "single", "frame": ["6", "15", "25"], "value": [1, None, 0.5]})
    assert tabulate_runs.field(rows, "ink", "mean", 2) == "1.00, -, 0.50"


def test_learned_models_stand_above_floors_and_references():
    runs = [("bayes-av", "0"), ("black", "0"), ("svg-lp", "10"), ("puq", "0"), ("svg-lp", "2"), ("zigzag", "0")]
    ordered = sorted(runs, key=lambda run: tabulate_runs.order(*run))
    assert [model for model, _ in ordered] == ["puq", "svg-lp", "svg-lp", "black", "zigzag", "bayes-av"]
    assert [seed for _, seed in ordered[1:3]] == ["2", "10"]
