"""A run's folder holds a run or nothing: no run touches what no run has written."""

import json
import os
from pathlib import Path

import pytest

from benchmark.runs.folder import MARKS, check_folder, claim, read_config
from benchmark.runs.seal import check_seal, is_sealed, seal
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


@pytest.mark.parametrize(
    "name", ["results.csv", "training.csv", "validation.csv", "examples.npz", "tensorboard/events", "report/index.html"]
)
def test_whatever_another_run_has_left_is_not_taken_over(tmp_path, name):
    folder = claimed(tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("of a finished run whose large files are kept elsewhere")
    with pytest.raises(InputError, match=r"holds another run \(settings: settings found, other requested\)"):
        claimed(folder, CONFIG | {"settings": "other"})
    assert (folder / name).read_text() == "of a finished run whose large files are kept elsewhere"
    assert json.loads((folder / "config.json").read_text()) == CONFIG


def test_a_sealed_folder_is_not_taken_over_although_its_scores_are_gone(tmp_path):
    seal(claimed(tmp_path))
    with pytest.raises(InputError, match="holds another run"):
        claimed(tmp_path, CONFIG | {"settings": "other"})
    assert is_sealed(tmp_path)


def test_a_run_that_has_left_nothing_makes_room_for_another(tmp_path):
    for name in ("training.csv", "validation.csv"):  # as a training that failed in its first step leaves them
        (claimed(tmp_path) / name).touch()
    claimed(tmp_path, CONFIG | {"settings": "other"})
    assert json.loads((tmp_path / "config.json").read_text())["settings"] == "other"


def test_a_full_disk_leaves_a_finished_run_its_seal(tmp_path, monkeypatch):
    seal(claimed(tmp_path))

    def full(path, text, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            claimed(tmp_path)
    assert is_sealed(tmp_path)
    check_seal(tmp_path)
    claimed(tmp_path)
    assert not is_sealed(tmp_path)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_lost_environment_is_unknown_and_no_reason_to_lose_the_run(tmp_path, text):
    folder = claimed(tmp_path)
    (folder / "checkpoint.safetensors").write_text("of hours")
    (folder / "environment.json").unlink()
    if text is not None:
        (folder / "environment.json").write_text(text)
    claimed(folder)
    assert json.loads((folder / "environment.json").read_text()) == {"torch": "unknown, then 2.1"}


def test_no_damaged_file_is_a_reason_to_delete_a_folder(tmp_path):
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"is damaged.* restore it$"):
            read_config(tmp_path)


def test_a_pipe_in_the_configs_place_is_refused(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        check_folder(tmp_path)
