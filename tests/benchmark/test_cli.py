"""avbench as a user types it."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from baselines import registry
from baselines.names import FLOORS, REFERENCES, SAMPLED_FLOORS
from benchmark.catalogue import METRICS, PROTOCOLS
from benchmark.cli import NoteFormatter, main
from benchmark.report import tables
from benchmark.runs.seal import seal
from benchmark.training import loop as training
from benchmark.training.loop import Diverged
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from narrow import THIN


def avbench(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--model", "pug"], "unknown model 'pug': did you mean puq?"),
        (["run", "--model", "puq", "--protocol", "m3so-nbb"], "unknown protocol 'm3so-nbb': did you mean m3so-nb"),
        (["run", "--model", "puq", "--preset", "demmo"], "unknown preset 'demmo': did you mean demo?"),
        (["run", "--model", "puq", "--metrics", "psnr,lpips"], "--metrics lpips: it needs published weights: give "),
        (["run", "--model", "puq", "--smaples", "3"], "unknown option '--smaples': did you mean --samples"),
        (["run", "--model", "puq", "--set", "etta2=3"], "unknown setting of puq 'etta2': did you mean eta2"),
        (["run", "--model", "puq", "--set", "eta2"], "--set eta2: must be name=value"),
        (["run", "--model", "puq", "--set", "k=4", "--set", "k=5"], "--set k=5: k is given twice, 4 and 5"),
        (["run", "--model", "puq", "--samples", "0"], "Invalid value for '--samples': 0 is not in the range x>=1"),
        (["run", "--model", "puq", "--data", "nowhere"], "nowhere"),
        (["run", "--model", "puq", "--out", ""], "a path is expected, not an empty text"),
        (["run", "--model", "puq", "--weights", ""], "a path is expected, not an empty text"),
        (["run", "--model", "puq", "--metrics", "standard,fooling_rate"], "`standard` and `all` stand alone"),
        (["check", "puq", "--weights", "nowhere"], "--weights nowhere: there is no such folder"),
        (
            ["score", "--predictions", "a", "--data", "b", "--out", "c", "--weights", "nowhere"],
            "--weights nowhere: there is no such folder",
        ),
        (["sweep", "--models", ""], "--models: a name is expected, `avbench models` lists them"),
        (["sweep", "--models", ","], "--models: a name is expected, `avbench models` lists them"),
        (["compare", "a", "b", "--metric", ","], "--metric: a name is expected"),
        (["sweep", "--models", "black", "--", "--nope", "3"], "unknown option '--nope'"),
        (["sweep", "--models", "black", "--", "garbage"], "unexpected extra argument (garbage)"),
        (["sweep", "--models", "black,puq", "--", "--set", "bta=1"], "model 'black' has no settings"),
        (["sweep", "--models", "puq", "--", "--set", "bta=1"], "did you mean beta"),
        (["sweep", "--models", "black", "--gpus", "1"], "--gpus 1: a number for --engine ray"),
        (["sweep", "--models", "black", "--gpus", "nan"], "--gpus nan: a number for --engine ray"),
        (["sweep", "--models", "black", "--data", "m3so-nb=a", "--data", "m3so-nb=b"], "m3so-nb=... is given twice"),
        (["run"], "Missing option '--model'"),
        (["rum"], "unknown command 'rum': did you mean run?"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = avbench(*arguments)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("run --model black --out loop", "loop is a link to loop, which is no folder"),
        ("run --model puq --trained loop", "--trained loop: no finished training there"),
        ("sweep --models black --out loop", "which is no folder: make that folder, or remove the link"),
        ("report loop", "loop holds no run"),
        ("compare loop loop/../loop", "a run is given twice"),
    ],
)
def test_a_circular_link_is_no_folder(command, line, tmp_path, monkeypatch, small_dataset):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    words = command.split()
    result = avbench(*words, *(["--data", small_dataset.path, "--protocol", "m3so"] if words[0] == "run" else []))
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert line in result.stderr


@pytest.mark.parametrize(
    ("said", "begun", "line"),
    [
        ("", False, "nothing was written yet"),
        ("", True, "the same command continues from what {folder} holds"),
        ("the training stopped after step 7 of 120", True, "the training stopped after step 7 of 120"),
    ],
)
def test_ctrl_c_says_what_is_kept_and_how_to_continue(said, begun, line, tmp_path, monkeypatch):
    folder = tmp_path / "mine"

    def press(job):
        if begun:
            folder.mkdir()
        raise KeyboardInterrupt(said)

    monkeypatch.setattr("benchmark.run.run", press)
    result = avbench("run", "--model", "puq", "--out", folder)
    assert result.exit_code == 130
    assert result.stderr.strip() == f"Stopped: {line.format(folder=folder)}"


@pytest.mark.parametrize("model", ["bayes-v", "bayes-av"])
@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"bounce": "specular"}, "needs bounce random, {data} has bounce specular: generate a dataset with bounce r"),
        ({"amplitude": "linear"}, "needs amplitude inverse, {data} has amplitude linear: generate a dataset with "),
        ({"speeds": 2}, "needs speeds 5, {data} has speeds 2: generate a dataset with speeds 5, or choose another --m"),
        ({"digits_per_clip": 2}, "needs digits_per_clip 1, {data} has digits_per_clip 2: generate a dataset with "),
    ],
)
def test_a_reference_refuses_a_world_whose_rules_it_does_not_know(model, rule, line, tmp_path):
    data = generate(tmp_path / "data", Spec(**rule), {"test": 1}, seed=0).path
    result = avbench("run", "--model", model, "--data", data, "--out", tmp_path / "run", "--device", "cpu")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: {model} {line.format(data=data)}")
    assert not (tmp_path / "run").exists()


def test_models_are_listed_with_their_papers():
    listed = avbench("models")
    assert listed.exit_code == 0
    for word in ("puq", "sound2sight", "copy-last", "ECCV 2020"):
        assert word in listed.output
    words = [line.split() for line in listed.output.splitlines() if re.search("deterministic|stochastic", line)]
    kinds = {each[0]: each[3].strip(":") for each in words if each[3].strip(":") in ("floor", "reference")}
    assert kinds == dict.fromkeys((*FLOORS, *SAMPLED_FLOORS), "floor") | dict.fromkeys(REFERENCES, "reference")
    assert "only their `mean_frame` bounds PSNR" in " ".join(listed.output.split())


def test_protocols_are_listed_with_their_frames_on_one_screen():
    listed = avbench("protocols")
    assert listed.exit_code == 0
    lines = listed.output.splitlines()
    for name, protocol in PROTOCOLS.items():
        shown = any(line.startswith(f"{name} ") and ", ".join(map(str, protocol.reported)) in line for line in lines)
        assert shown != protocol.mismatched
    assert lines[-1].startswith("NAME-av-mismatch: ")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", ["models", "metrics", "protocols"])
def test_lists_fold_no_name_at_80_columns(command, monkeypatch):
    monkeypatch.setattr(tables, "wide_console", lambda: Console(width=80, force_terminal=False, color_system=None))
    listed = avbench(command).output.splitlines()
    assert max(map(len, listed)) <= 80
    rows = {"models": registry.MODELS, "metrics": METRICS, "protocols": {"m3so-nb-long": None}}[command]
    assert {*rows} <= {line.split()[0] for line in listed if line.strip()}


def test_h_is_help_everywhere():
    for arguments in ([], *([name] for name in main.commands)):
        short, long = avbench(*arguments, "-h"), avbench(*arguments, "--help")
        assert (short.exit_code, short.output) == (0, long.output)
        assert "Usage:" in short.output


def test_metrics_are_listed_with_what_they_are():
    listed = avbench("metrics")
    assert listed.exit_code == 0
    for name, metric in METRICS.items():
        line = next(line for line in listed.output.splitlines() if line.split()[:1] == [name])
        assert ("standard" in line) == metric.standard


def test_finished_runs_are_verified_and_a_changed_file_is_named(small_dataset, tmp_path, drawn):
    out = tmp_path / "run"
    avbench("run", "--model", "black", "--protocol", "m3so", "--data", small_dataset.path, "--out", out)
    whole = avbench("verify", out)
    assert (whole.exit_code, whole.output) == (0, f"{out}: every file is as it was written\n")
    (out / "report/index.html").write_text("<p>other</p>")
    changed = avbench("verify", out)
    assert changed.exit_code == 2
    assert "report/index.html has changed: move it away to have it made again" in changed.stderr
    unfinished = avbench("verify", small_dataset.path)
    assert unfinished.exit_code == 2
    assert "is not a finished run: it has no files.json" in unfinished.stderr


def test_a_run_that_lacks_files_of_its_seal_is_named_and_its_command_makes_them_again(small_dataset, tmp_path):
    command = ["run", "--model", "black", "--protocol", "m3so", "--data", small_dataset.path, "--out", tmp_path / "run"]
    avbench(*command)
    (tmp_path / "run/results.csv").unlink()
    incomplete = avbench("verify", tmp_path / "run")
    assert (incomplete.exit_code, incomplete.stdout) == (2, "")
    assert "results.csv is missing: give the run's command again to have it made again" in incomplete.stderr
    avbench(*command)
    assert avbench("verify", tmp_path / "run").exit_code == 0


def test_every_run_is_verified_and_every_bad_one_named(tmp_path):
    names = ("changed", "whole", "unfinished", "incomplete")
    for name in names:
        (tmp_path / name).mkdir()
        for file in ("config.json", "results.csv"):
            (tmp_path / name / file).write_text("{}")
        seal(tmp_path / name)
    (tmp_path / "changed/config.json").write_text("{ }")
    (tmp_path / "unfinished/files.json").unlink()
    (tmp_path / "incomplete/results.csv").unlink()
    verified = avbench("verify", *(tmp_path / name for name in names))
    assert verified.exit_code == 2
    assert verified.stdout == f"{tmp_path / 'whole'}: every file is as it was written\n"
    bad = [line.split()[1] for line in verified.stderr.splitlines()]
    assert bad == [str(tmp_path / name) for name in ("changed", "unfinished", "incomplete")]


def test_a_run_begins_with_what_it_works_with_and_ends_with_a_summary(small_dataset, tmp_path):
    out = tmp_path / "run"
    options = ["--protocol", "m3so", "--data", small_dataset.path, "--out", out, "--device", "cpu"]
    result = avbench("run", "--model", "black", *options)
    assert result.exit_code == 0
    first, title, *_, last = result.stdout.splitlines()
    precision = json.loads((out / "config.json").read_text())["precision"]
    assert first == f"black, no parameters; data {small_dataset.path}; cpu in {precision}; folder {out}"
    assert title == "black, m3so, demo, seed 0: means over 3 test clips"
    assert last == f"all tables: avbench show {out}"
    assert result.stderr == (
        "Note: lpips, fid, fvd left out for black: no published weights: "
        "name their folder with --weights DIR, or use --weights download\n"
        "Note: no clip of black has a value of self_similarity: there is none for a single sample\n"
        "Note: no clip of black has a value of position_error, digit_accuracy: "
        "there is none where no digit is visible\n"
    )


def test_divergence_is_one_line_and_exit_code_1(small_dataset, tmp_path, monkeypatch):
    def diverge(*_):
        raise Diverged("training diverged at step 7")

    monkeypatch.setattr(training, "check_finite", diverge)
    thin = [f"--set={name}={value}" for name, value in THIN.items()]
    out = tmp_path / "run"
    result = avbench("run", "--model", "puq", "--protocol", "m3so", "--data", small_dataset.path, "--out", out, *thin)
    assert result.exit_code == 1
    assert result.stderr == "Error: training diverged at step 7\n"


def test_a_typo_in_a_name_does_not_wait_for_torch():
    code = """
import sys
from click.testing import CliRunner
from rich.console import Console
from benchmark.cli import NoteFormatter, main
from benchmark.report import tables

for line in sys.argv[1:]:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert "did you mean" in result.stderr, result.stderr
assert not {"torch", "pandas", "matplotlib", "numpy"} & set(sys.modules)
"""
    typos = (
        "run --model puk",
        "run --model puq --protocol m3so-bn --data data --weights weights",
        "run --model puq --preset smal --data stream --weights download",
        "run --model puq --metrics psnr,psnrr",
        "sweep --models puk",
        "sweep --models puq --protocols m3so-bn",
        "check puk",
        "compare one other --metric psnrr",
        "score --predictions theirs --data data --out out --protocol m3so-bn",
    )
    assert subprocess.run([sys.executable, "-c", code, *typos], env=os.environ, check=False).returncode == 0


def test_help_does_not_wait_for_torch():
    code = "import sys; import benchmark.cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_notes_break_between_words_on_a_terminal_and_nowhere_else(terminal, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "18")
    record = logging.LogRecord("any", logging.WARNING, "", 0, "a note of %s words", ("several",), None)
    lines = NoteFormatter("Note: %(message)s").format(record).splitlines()
    assert lines == (["Note: a note of", "several words"] if terminal else ["Note: a note of several words"])
