"""No file of a sealed folder changes unnoticed."""

import json
import os
from pathlib import Path

import pytest

from benchmark.runs.seal import SEAL, check_complete, check_seal, find_damage, remove_seal, seal
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK

FILES = ("config.json", "checkpoint.safetensors", "scores.npz", "report/report.html")


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    seal(tmp_path, drawn=("report.html",))
    return tmp_path


def test_a_whole_folder_passes_and_one_without_a_seal_too(folder):
    check_seal(folder)
    (folder / LOCK).touch()
    check_seal(folder)
    remove_seal(folder)
    (folder / "config.json").write_text("other")
    check_seal(folder)
    remove_seal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[3] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"has changed since its run ended: {name} has changed"):
        check_seal(folder)


def test_files_of_the_training_must_be_there_and_those_that_can_be_remade_need_not(folder):
    (folder / "scores.npz").unlink()
    (folder / "report/report.html").unlink()
    check_seal(folder)
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(InputError, match=r"checkpoint.safetensors is missing: restore it, or run again"):
        check_seal(folder)


def test_a_complete_run_has_every_file_that_its_seal_lists(folder):
    check_complete(folder)
    again = "give the run's command again to have"
    for name, said in (
        ("scores.npz", f"scores.npz is missing: {again} it made again"),
        ("report/report.html", f"report/report.html, scores.npz are missing: {again} them made again"),
    ):
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"is not complete: {said}"):
            check_complete(folder)


def test_of_many_missing_files_the_first_are_named(tmp_path):
    names = [f"{number}.svg" for number in range(9)]
    (tmp_path / "report").mkdir()
    for name in names:
        (tmp_path / "report" / name).touch()
    seal(tmp_path, drawn=names)
    for name in names:
        (tmp_path / "report" / name).unlink()
    with pytest.raises(InputError, match=r"report/0\.svg, report/1\.svg, report/2\.svg, 6 more are missing"):
        check_complete(tmp_path)


def test_the_users_own_files_are_not_sealed(tmp_path):
    for name in ("config.json", "notes.txt", "mine/figure.png", "report/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    seal(tmp_path, drawn=("index.html",))
    for name in ("notes.txt", "report/notes.txt"):
        (tmp_path / name).write_text("more")
    (tmp_path / "mine/figure.png").unlink()
    check_seal(tmp_path)


def test_any_flipped_bit_of_the_seal_is_noticed(folder):
    whole = (folder / SEAL).read_bytes()
    spaces = 0
    for place in range(len(whole)):
        (folder / SEAL).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            same = json.loads((folder / SEAL).read_text()) == json.loads(whole)
        except ValueError:
            same = False
        spaces += same
        assert bool(find_damage(folder)) != same
    assert spaces < len(whole) / 4  # JSON may be indented by other blanks


@pytest.mark.parametrize("name", ["training.csv", "validation.csv", "scores/puq"])
def test_a_file_of_a_runs_own_names_that_came_after_the_seal_is_named(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("of another run")
    with pytest.raises(InputError, match=f"{name} was not there when the run ended: move it away"):
        check_seal(folder)


def test_a_changed_environment_costs_nobody_the_run(folder):
    (folder / "environment.json").write_text("{}")
    seal(folder)
    (folder / "environment.json").write_text("{")
    assert find_damage(folder) == ["environment.json has changed: move it away to have it made again"]


def test_a_pipe_in_the_seals_place_is_damage(folder):
    (folder / SEAL).unlink()
    os.mkfifo(folder / SEAL)
    assert find_damage(folder) == ["files.json is damaged: delete it, if the rest can be trusted"]


def test_a_seal_that_may_not_be_read_is_not_called_damaged(folder, monkeypatch):
    def refuse(*given, **options):
        raise PermissionError(13, "Permission denied", str(folder / SEAL))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError):
        check_seal(folder)
