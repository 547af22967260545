"""A sweep does every run once, survives those that fail, and summarises over seeds."""

import errno
import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmark import child_processes
from benchmark import sweep as sweep_module
from benchmark.cli import main
from benchmark.report import tables
from benchmark.scoring.rows import read_rows
from benchmark.sweep import Sweep, over_seeds, rows_of, sweep, write_summary
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system import files
from mmnist_av.system.errors import InputError

QUICK = ["--no-report", "--metrics", "psnr"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"train": 2, "test": 3}, seed=2).path


@pytest.fixture
def in_place(monkeypatch):
    do_in_place(monkeypatch)


def do_in_place(monkeypatch):
    """Do a sweep's runs in this process, because the start of a process takes longer than all else."""

    def call(command, log):
        assert command[:3] == [sys.executable, "-m", "benchmark.cli"]
        result = CliRunner().invoke(main, command[3:])
        log.write(result.output)
        return result.exit_code

    monkeypatch.setattr(sweep_module, "call", call)


def requested(folder, out, **changes):
    sweep = Sweep(["black", "bayes-v"], ["m3so-nb"], [0, 1], data={"m3so-nb": folder}, out=out, options=QUICK)
    return replace(sweep, **changes)


def test_a_ray_cluster_does_the_runs_and_skips_what_is_done(data, tmp_path):
    one = requested(data, tmp_path / "runs", models=["black"], seeds=[0], engine="ray")
    assert [each.state for each in sweep(one)] == ["done"]
    assert [each.state for each in sweep(replace(one, engine="local"))] == ["skipped"]


def test_a_sweep_writes_nothing_into_a_dataset_or_a_file(data, tmp_path, in_place):
    files = sorted(data.rglob("*"))
    with pytest.raises(InputError, match="lies in the dataset"):
        sweep(requested(data, data))
    assert sorted(data.rglob("*")) == files
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        sweep(requested(data, tmp_path / "file"))


def test_every_run_is_done_and_then_skipped(data, tmp_path, in_place):
    small = requested(data, tmp_path / "runs", models=["black"], options=[*QUICK, "--device", "cpu"])
    outcomes = sweep(small)
    assert [each.state for each in outcomes] == ["done", "done"]
    assert [each.folder.name for each in outcomes] == [f"black-m3so-nb-demo-seed{seed}" for seed in (0, 1)]
    assert [each.state for each in sweep(small)] == ["skipped", "skipped"]
    (outcomes[1].folder / "config.json").write_text("{}")  # damaged: not taken for done, and refused by the run
    assert [each.state for each in sweep(small)] == ["skipped", "failed"]
    assert "config.json has changed" in sweep(small)[1].message


def test_a_reference_that_does_not_know_a_datasets_rules_fails_and_the_others_run(tmp_path, in_place):
    specular = generate(tmp_path / "data", Spec(bounce="specular"), {"test": 2}, seed=2).path
    refused, done = sweep(requested(specular, tmp_path / "runs", models=["bayes-v", "black"], seeds=[0]))
    assert (refused.state, done.state) == ("failed", "done")
    assert "bayes-v needs bounce random" in refused.message


def test_runs_of_other_options_are_not_taken_for_done(data, tmp_path, in_place):
    two = requested(data, tmp_path / "runs", models=["bayes-v"], seeds=[0], options=[*QUICK, "--samples", "2"])
    assert [each.state for each in sweep(two)] == ["done"]
    for _ in range(2):  # a run that failed is not done the second time either
        (other,) = sweep(replace(two, options=[*QUICK, "--samples", "3"]))
        assert other.state == "failed"
        assert "holds another run (samples: 2 found, 3 requested)" in other.message
        assert other.message.endswith("(exit code 2)")
    assert [each.state for each in sweep(two)] == ["done"]
    (other.folder / "results.csv").unlink()
    assert [each.state for each in sweep(two)] == ["done"]
    assert (other.folder / "results.csv").exists()
    assert [each.state for each in sweep(two)] == ["skipped"]


def test_a_run_that_fails_does_not_stop_the_others(data, tmp_path, monkeypatch):
    command = sweep_module.command
    monkeypatch.setattr(
        sweep_module, "command", lambda job, options: command(job, ["--samples", "0"] if job.seed == 0 else options)
    )
    out = tmp_path / "runs"
    options = ["--models", "black", "--seeds", "0,1", "--data", f"m3so-nb={data}", "--out", str(out)]
    result = CliRunner().invoke(main, ["sweep", *options, "--", *QUICK])
    assert result.exit_code == 1
    assert "failed" in result.output
    assert "'--samples': 0 is not in the range x>=1" in result.output
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["seed"]) == {1}
    assert len(rows) == len(read_rows(out / "black-m3so-nb-demo-seed1/results.csv"))


def test_a_summary_is_mean_and_deviation_over_seeds():
    values = {0: 1.0, 1: 4.0, 2: 7.0}
    name = {"model": "a", "protocol": "p", "preset": "small", "fingerprint": "f", "metric": "psnr", "k": 1}
    rows = pd.DataFrame(
        [{**name, "sampling": "mean", "frame": "6", "seed": seed, "value": value} for seed, value in values.items()]
        + [{**name, "sampling": "mean", "frame": "15", "seed": 0, "value": 2.0}]
    )
    summary = over_seeds(pd.concat([rows, rows]))  # a floor's row comes with every model's run
    assert summary["mean"].tolist() == [4.0, 2.0]
    assert summary["sd"][0] == pytest.approx(np.std(list(values.values()), ddof=1))
    assert np.isnan(summary["sd"][1])
    assert summary["seeds"].tolist() == [3, 1]


def test_names_are_checked_before_anything_is_done(data, tmp_path):
    out = tmp_path / "runs"
    for changes, message in (
        ({"models": ["black", "pug"]}, "unknown model 'pug'"),
        ({"protocols": ["m3so-bn"]}, "unknown protocol"),
        ({"models": ["black", "black"]}, "each once"),
        ({"seeds": []}, "one or more"),
        ({"options": ["--seed=5"]}, "--seed behind `--`: the sweep sets it for every run, by --seeds before `--`"),
        ({"options": ["--data", "x"]}, "--data behind `--`: .*, by --data PROTOCOL=FOLDER before `--`"),
        ({"engine": "cloud"}, "cloud"),
        ({"data": {"m3so": data}}, "--data m3so=...: the sweep has the protocols m3so-nb"),
    ):
        with pytest.raises(InputError, match=message):
            sweep(requested(data, out, **changes))
    assert not out.exists()


def test_runs_of_a_sweep_are_those_of_the_command(data, tmp_path):
    one = sweep(requested(data, tmp_path / "runs", models=["bayes-v"], seeds=[1], options=[*QUICK, "--samples", "2"]))[
        0
    ]
    out = tmp_path / "alone"
    options = ["--model", "bayes-v", "--seed", "1", "--samples", "2", "--data", str(data), "--out", str(out), *QUICK]
    assert CliRunner().invoke(main, ["run", *options]).exit_code == 0
    assert (out / "results.csv").read_bytes() == (one.folder / "results.csv").read_bytes()
    assert json.loads((one.folder / "config.json").read_text()) == json.loads((out / "config.json").read_text())
    assert len(rows_of([one.folder])) == len(read_rows(out / "results.csv"))


def run_sweep(data, out, *options):
    named = ["--models", "black", "--data", f"m3so-nb={data}", "--out", out, *options, "--", *QUICK]
    return CliRunner().invoke(main, ["sweep", *map(str, named)])


def test_a_second_sweep_keeps_the_rows_of_the_first(data, tmp_path, monkeypatch, capsys):
    notes = []
    monkeypatch.setattr(sweep_module.log, "warning", lambda text, *values: notes.append(text % values))

    def run_here(command, folder):
        assert CliRunner().invoke(main, command[3:]).exit_code == 0
        return 0

    monkeypatch.setattr(sweep_module, "run_process", run_here)
    out = tmp_path / "runs"
    for seed in (0, 1):
        outcomes = sweep(requested(data, out, models=["black"], seeds=[seed]))
        summary = write_summary(outcomes, out)
        assert set(summary["seeds"]) == {1}  # of this sweep alone
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {0, 1}
    tables.print_sweep(summary)
    shown = capsys.readouterr().out
    assert "one seed" in shown
    assert "nan" not in shown
    assert "+-" not in shown
    (out / "black-m3so-nb-demo-seed0/results.csv").write_text("changed")
    write_summary(outcomes, out)
    assert len(notes) == 1
    name = "black-m3so-nb-demo-seed0"
    assert f"{out / 'rows.csv'} leaves out {name}: {out / name} has changed" in notes[0]
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {1}
    check_seal = sweep_module.check_seal

    def forbid(folder):
        if folder.name == name:
            raise PermissionError(13, "Permission denied", "files.json")
        check_seal(folder)

    monkeypatch.setattr(sweep_module, "check_seal", forbid)
    write_summary(outcomes, out)
    assert notes[1] == f"{out / 'rows.csv'} leaves out {name}: [Errno 13] Permission denied: 'files.json'"
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {1}


@pytest.fixture
def interruptible():
    """Take SIGINT as a terminal's programs do: a shell lets its background jobs, such as these tests, ignore it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_running_run_starts_no_other_and_writes_the_rows_of_those_that_are_done(
    data, tmp_path, monkeypatch, stop
):
    out, call, started = tmp_path / "runs", child_processes.call, []
    with monkeypatch.context() as patch:
        do_in_place(patch)
        sweep(requested(data, out, models=["black"], seeds=[0]))
    run = f"import os, time; os.kill(os.getppid(), {int(stop)}); time.sleep(60)"

    def begin(command, log):
        started.append(call([sys.executable, "-c", run], log))
        return started[-1]

    monkeypatch.setattr(sweep_module, "call", begin)
    monkeypatch.setattr(
        child_processes, "GRACE", 20 if stop == signal.SIGTERM else 0.2
    )  # no terminal interrupts the run
    result = run_sweep(data, out, "--seeds", "0,1,2")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Stopped: runs done: 1 of 3; the same command continues"
    states = [line.split()[0] for line in result.stdout.splitlines() if "black-m3so-nb-demo-seed" in line]
    assert states == ["skipped", "stopped", "stopped"]
    # SIGTERM reaches the run as Ctrl-C, which lets it write a checkpoint
    assert started == [-signal.SIGINT if stop == signal.SIGTERM else -signal.SIGTERM]
    assert not (out / "black-m3so-nb-demo-seed2.log").exists()
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {0}
    assert set(pd.read_csv(out / "sweep.csv")["seeds"]) == {1}
    with monkeypatch.context() as patch:
        do_in_place(patch)
        assert run_sweep(data, out, "--seeds", "0,1,2").exit_code == 0
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("rows.csv", "mine\n", "is not as a sweep wrote it"),
        ("sweep.csv", "mine\n", "is not as a sweep wrote it"),
        ("sweep.json", '{"mine": 1}', "is not as a sweep wrote it"),
        ("sweep.json", "[]", "is damaged: an object is expected;"),
        ("sweep.json", "{", "is damaged"),
        ("black-m3so-nb-demo-seed0.log", "step 1: loss 0.3\n", "is not the log of a run"),
    ],
)
def test_a_file_that_no_sweep_wrote_is_left_alone(data, tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    result = run_sweep(data, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path / name} {why}")
    assert result.stderr.endswith(" move it, or choose another --out\n")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("name", ["rows.csv", "sweep.csv"])
def test_a_folder_in_a_tables_place_is_refused(data, tmp_path, name):
    (tmp_path / name).mkdir()
    result = run_sweep(data, tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path / name} is not as a sweep wrote it: move it, or choose another --out\n"


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_sweep_that_was_killed_while_it_wrote_its_tables_continues(data, tmp_path, in_place, monkeypatch, written):
    out = tmp_path / "runs"
    assert run_sweep(data, out, "--seeds", "0").exit_code == 0
    renames, publish = [], files.publish

    def publish_some(part, path):
        if path.parent == out:
            if len(renames) == written:
                raise SystemExit(137)
            renames.append(path.name)
        publish(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "publish", publish_some)
        assert run_sweep(data, out, "--seeds", "0,1").exit_code == 137
    assert renames == ["sweep.json", "rows.csv", "sweep.csv"][:written]
    assert run_sweep(data, out, "--seeds", "0,1").exit_code == 0
    assert set(pd.read_csv(out / "rows.csv")["seed"]) == {0, 1}
    (out / "rows.csv").write_text("mine")
    assert run_sweep(data, out, "--seeds", "0,1").exit_code == 2
    assert (out / "rows.csv").read_text() == "mine"


def test_a_runs_log_keeps_what_earlier_calls_printed(data, tmp_path, in_place):
    one = requested(data, tmp_path / "runs", models=["black"], seeds=[0])
    log = tmp_path / "runs" / "black-m3so-nb-demo-seed0.log"
    assert [each.state for each in sweep(one)] == ["done"]
    command, *rest = log.read_text().splitlines()
    killed = "\n".join([command, *rest[:-1], "a line that was cut"])
    log.write_text(killed)
    assert [each.state for each in sweep(one)] == ["done"]
    assert log.read_text().startswith(f"{killed}\n{command}\n")
    assert log.read_text().endswith("\ndone\n")
    assert [each.state for each in sweep(one)] == ["skipped"]


def test_a_full_disk_is_said_with_the_name_of_the_runs_log(data, tmp_path, monkeypatch):
    def call(command, log):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sweep_module, "call", call)
    result = run_sweep(data, tmp_path / "runs")
    assert result.exit_code == 2
    assert f"{tmp_path / 'runs' / 'black-m3so-nb-demo-seed0.log'}: No space left on device" in result.stderr


@pytest.mark.parametrize("name", ["sweep.json", "black-m3so-nb-demo-seed0.log"])
def test_a_pipe_in_a_files_place_is_refused(data, tmp_path, name):
    os.mkfifo(tmp_path / name)
    result = run_sweep(data, tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path / name) in result.stderr


@pytest.mark.parametrize("options", [("--gpus", "-1"), ("--workers", "0")])
def test_impossible_numbers_are_refused_in_one_line(data, tmp_path, options):
    result = run_sweep(data, tmp_path / "runs", *options)
    assert result.exit_code == 2
    assert f"Invalid value for '{options[0]}': {options[1]}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_log_of_a_run_in_a_folder_whose_name_is_no_utf_8_begins_with_its_command(data, tmp_path, in_place):
    odd = requested(data, tmp_path / os.fsdecode(b"caf\xe9"), models=["black"], seeds=[0])
    assert [each.state for each in sweep(odd)] == ["done"]
    assert [each.state for each in sweep(odd)] == ["skipped"]
