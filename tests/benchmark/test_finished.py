"""A finished run of the same command says so at once; whatever may have changed is looked at by the run itself."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmark import finished
from benchmark.finished import rows_of_finished
from benchmark.job import Job
from benchmark.options import Download
from benchmark.run import run
from benchmark.runs.seal import seal


@pytest.fixture(scope="module")
def done(small_dataset, tmp_path_factory):
    """A finished job, of psnr only, and its rows; its folder is to be read only."""
    out = tmp_path_factory.mktemp("runs") / "black"
    job = Job("black", protocol="m3so", data=small_dataset.path, out=out, metrics="psnr", report=False)
    return job, run(job)[0]


def test_a_finished_runs_rows_are_read_from_its_folder(done, tmp_path):
    job, rows = done
    pd.testing.assert_frame_equal(rows_of_finished(job), rows)
    shutil.copytree(job.folder, tmp_path / "copy")
    assert rows_of_finished(replace(job, out=tmp_path / "copy")) is not None  # the folder is no part of the job


def test_another_command_is_done(done, tmp_path):
    job, _ = done
    for changes in (
        {"out": tmp_path},
        {"metrics": "standard"},
        {"seed": 1},
        {"settings": {"latent": "4"}},
        {"report": True},
        {"trained": tmp_path},
    ):
        assert rows_of_finished(replace(job, **changes)) is None


def test_a_run_that_may_be_another_is_done_again(done, tmp_path, monkeypatch):
    job = replace(done[0], out=tmp_path / "copy")
    config = job.folder / "config.json"

    def changed(**values):
        config.write_text(json.dumps({**json.loads(config.read_text()), **values}))
        seal(job.folder)

    for change in (
        lambda: (job.folder / "results.csv").write_text("changed"),
        lambda: (job.folder / "scores.npz").unlink(),
        lambda: (job.folder / "files.json").unlink(),
        lambda: (job.folder / "job.json").unlink(),
        lambda: changed(fingerprint="0" * 64),
        lambda: monkeypatch.setattr(finished, "code_version", lambda: "another"),
    ):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(done[0].folder, tmp_path / "copy")
        assert rows_of_finished(job) is not None
        change()
        assert rows_of_finished(job) is None


def test_weights_that_may_have_come_since_are_looked_for(done, tmp_path):
    job = replace(done[0], out=tmp_path / "copy", weights=Download())
    shutil.copytree(done[0].folder, tmp_path / "copy")
    for metrics, whole in (("psnr", True), ("standard", False), ("psnr,lpips", False)):
        again = replace(job, metrics=metrics)
        finished.keep_job(again)
        seal(job.folder)
        assert (rows_of_finished(again) is not None) == whole


def test_the_command_says_so_without_torch(done):
    job, _ = done
    code = """
import sys
from benchmark.cli import main

try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""
    options = ["--model", "black", "--protocol", "m3so", "--data", job.data, "--out", job.out, "--metrics", "psnr"]
    command = [sys.executable, "-c", code, "run", *options, "--no-report"]
    environment = {name: value for name, value in os.environ.items() if name != "MMNIST_AV_MNIST_ROOT"}  # an option
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    first, title, *_, last = found.stdout.splitlines()
    assert first == f"{Path(job.out)} is finished: nothing is left to do"
    assert title.startswith("black, m3so, demo, seed 0: means over ")
    assert last == "False"
    assert found.returncode == 0
