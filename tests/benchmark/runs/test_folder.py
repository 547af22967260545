"""A run's folder holds a run or nothing: no run touches what no run has written."""

import json

import pytest

from benchmark.runs.folder import MARKS, check_folder, claim
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK, PART
from plain_clips import make_plain

CONFIG = {name: name for name in MARKS}


def claimed(folder, config=CONFIG):
    folder.mkdir(exist_ok=True)
    claim(folder, config, {"torch": "2.1"})
    return folder


def test_files_that_no_run_has_written_are_left_alone(tmp_path):
    files = {"config.json": '{"arch": "gpt"}', "training.csv": "x", "validation.csv": "y", "environment.json": "{}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for use in (check_folder, claimed):
        with pytest.raises(InputError, match="is not empty and holds no run: choose another --out"):
            use(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_a_run_is_continued_and_what_its_death_left_makes_no_difference(tmp_path):
    (tmp_path / f".config.json.7{PART}").write_text('{"mod')
    (tmp_path / LOCK).touch()
    folder = claimed(tmp_path)
    assert json.loads((folder / "config.json").read_text()) == CONFIG
    check_folder(folder)
    claimed(folder)


def test_a_folder_inside_a_run_or_a_dataset_is_refused(tmp_path):
    run = claimed(tmp_path / "run")
    with pytest.raises(InputError, match=r"lies in the run .*run: choose another --out"):
        check_folder(run / "again")
    dataset = make_plain(tmp_path / "clips", sizes={"train": 0, "val": 0, "test": 1})
    with pytest.raises(InputError, match=r"lies in the dataset .*clips: choose another --out"):
        check_folder(dataset.path / "test" / "mine")
