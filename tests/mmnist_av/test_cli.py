"""The command line mmnist-av: its output, its error messages and its exit codes."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mmnist_av import dataset
from mmnist_av.cli import main
from mmnist_av.dataset import ClipFormat, open_dataset, open_dataset_or_shard
from mmnist_av.families import Family
from mmnist_av.m3so.family import spec_of
from mmnist_av.m3so.spec import Spec
from mmnist_av.preview.pictures import sheet
from mmnist_av.writing import Clips, SingleClips, request, write_once

SMALL = ["--train", "2", "--val", "1", "--test", "1"]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_generate_info_verify(tmp_path):
    out = tmp_path / "data"
    generated = run("generate", "--obstacle", *SMALL, "--out", out)
    assert generated.exit_code == 0
    assert "m3so, 2 train, 1 val, 1 test, fingerprint " in generated.output
    again = run("generate", "--obstacle", *SMALL, "--out", out)
    assert again.exit_code == 0
    assert again.output == generated.output
    info = run("info", out)
    assert info.exit_code == 0
    assert open_dataset(out).fingerprint in info.output
    whole = run("verify", out)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert "every file is as it was written" in whole.output


def test_without_the_flag_there_is_no_block(tmp_path):
    run("generate", *SMALL, "--out", tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.manifest["dataset"] == "m3so-nb"
    assert (dataset.split("train").record("truth")["block_first_frame"] == -1).all()


def test_a_world_is_chosen_by_options_and_printed_by_info(tmp_path):
    world = ["--canvas", "40", "--frames", "12", "--bounce", "specular", "--amplitude", "linear", "--fps", "25"]
    assert run("generate", *SMALL, *world, "--out", tmp_path / "data").exit_code == 0
    dataset = open_dataset(tmp_path / "data")
    assert spec_of(dataset) == Spec(canvas=40, frames=12, fps=25, bounce="specular", amplitude="linear")
    assert dataset.split("train").frames.shape == (2, 12, 40, 40)
    assert dataset.split("train").audio.shape == (2, 12 * 320)
    info = run("info", tmp_path / "data").output
    assert "world        canvas=40 frames=12 fps=25 bounce=specular amplitude=linear" in info


DRUMS = """
import numpy as np
from mmnist_av.families import Family
from mmnist_av.writing import Clips, SingleClips, request, write_once
from mmnist_av.dataset import ClipFormat

class Drums(Family):
    def make(self, out, world, sizes, seed, source, root):
        return drums(out, sizes, seed, **world)

def drums(out, sizes, seed, kit, bpm=90):
    format = ClipFormat(frames=5, channels=1, height=8, width=8, fps=10, sample_rate=100)
    requested = request("drums", format, sizes, family="drums", spec={"kit": kit, "bpm": bpm}, seed=seed)
    clip = Clips(np.full((1, 5, 8, 8), bpm, np.uint8), np.zeros((1, 50), np.int16))
    return write_once(out, requested, SingleClips("drums 1", lambda split, number: clip, requested))
"""


@pytest.fixture
def drums(install):
    install("their-package", "mmnist_av.families", {"drums": "drums:Drums"}, drums=DRUMS)


def test_generate_makes_a_dataset_of_another_packages_family(drums, tmp_path):
    options = ["--family", "drums", "--set", "kit=jazz", "--set", "bpm=120", "--seed", "7", *SMALL]
    result = run("generate", *options, "--out", tmp_path / "data")
    assert "data: drums, 2 train, 1 val, 1 test, fingerprint " in result.output
    dataset = open_dataset(tmp_path / "data")
    assert dataset.manifest["spec"] == {"kit": "jazz", "bpm": 120}
    assert dataset.manifest["seed"] == 7
    assert run("generate", *options, "--out", tmp_path / "data").output == result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--family drmus", "unknown family of datasets 'drmus': did you mean drums?"),
        ("--family plain", "this family of datasets has no generator"),
        ("--family drums --set kit", "--set kit is not like NAME=VALUE"),
        (
            "--family drums --set kti=jazz",
            "the family drums cannot generate this world (kti=jazz): drums() got an ",
        ),
        ("--family drums --canvas 40", "--canvas is an option of M3SO: a world of the family drums is chosen by --set"),
        ("--family drums --obstacle", "--obstacle is an option of M3SO"),
        ("--set canvas=40", "--set is for other families: M3SO has options of its own"),
        ("--family m3so --set canvas=40", "--set is for other families"),
    ],
)
def test_mistakes_in_another_familys_world_are_one_line(drums, tmp_path, options, message):
    result = run("generate", *options.split(), "--out", tmp_path / "data")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return world['bpm']", "KeyError: 'bpm' (their_family.py, line 4)"),
        ("import numpy; numpy.zeros(2) @ numpy.zeros(3)", "ValueError: matmul: "),
        ("raise RuntimeError", "RuntimeError (their_family.py, line 4)"),
    ],
)
def test_an_error_in_a_familys_code_is_one_line_that_names_its_package(line, message, install, tmp_path):
    source = (
        f"from mmnist_av.families import Family\nclass Drums(Family):\n  def make(self, out, world, *rest):\n    {line}"
    )
    install("their-package", "mmnist_av.families", {"broken-drums": "their_family:Drums"}, their_family=source)
    result = run("generate", "--family", "broken-drums", "--out", tmp_path / "data")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"Error: their-package failed with {message}")


def test_an_error_in_our_own_code_keeps_its_traceback(install, tmp_path, monkeypatch):
    source = "from mmnist_av.families import Family\nclass Drums(Family): pass"
    install("their-package", "mmnist_av.families", {"broken-drums": "their_family:Drums"}, their_family=source)
    monkeypatch.setattr(Family, "make", lambda family, *rest: {}["ours"])
    result = run("generate", "--family", "broken-drums", "--out", tmp_path / "data")
    assert isinstance(result.exception, KeyError)


def test_a_pipe_in_an_arrays_place_and_a_cut_manifest_are_called_what_they_are(tmp_path):
    out = tmp_path / "data"
    run("generate", *SMALL, "--out", out)
    (out / "test" / "frames.npy").unlink()
    os.mkfifo(out / "test" / "frames.npy")
    for command in ("verify", "info"):
        assert "test/frames.npy is no regular file" in run(command, out).stderr
    (out / "dataset.json").write_text("{")
    damaged = f"Error: {out / 'dataset.json'} is damaged: it is no JSON (Expecting property name"
    assert run("verify", out).stderr.startswith(damaged)


def test_no_changed_frame_is_drawn(tmp_path):
    out = tmp_path / "data"
    run("generate", *SMALL, "--out", out)
    frames = out / "test/frames.npy"
    content = bytearray(frames.read_bytes())
    content[-1] ^= 1
    frames.write_bytes(content)
    result = run("preview", out, "--out", tmp_path / "preview")
    assert result.exit_code == 2
    assert "test/frames.npy has changed" in result.stderr
    assert not (tmp_path / "preview").exists()


def test_an_array_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    out = tmp_path / "data"
    run("generate", *SMALL, "--out", out)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(dataset, "map_npy", refuse)
    result = run("preview", out, "--out", tmp_path / "preview")
    assert result.exit_code == 2
    assert result.stderr == f"Error: [Errno 13] Permission denied: '{out / 'test' / 'frames.npy'}'\n"


def test_info_shows_the_family_and_the_entries_of_any_dataset(tmp_path):
    format = ClipFormat(frames=5, channels=1, height=8, width=8, fps=10, sample_rate=100)
    requested = request("drums", format, {"test": 1}, spec={"kit": "jazz", "bpm": 90}, seed=7, rooms=["a", "b"])
    clip = Clips(np.zeros((1, 5, 8, 8), np.uint8), np.zeros((1, 50), np.int16))
    write_once(tmp_path / "data", requested, SingleClips("none", lambda split, number: clip, requested))
    lines = [line.split(maxsplit=1) for line in run("info", tmp_path / "data").output.splitlines()[1:]]
    assert lines[:4] == [["family", "plain"], ["rooms", "a, b"], ["seed", "7"], ["spec", "bpm=90 kit=jazz"]]
    run("generate", *SMALL, "--seed", "3", "--out", tmp_path / "m3so")
    info = run("info", tmp_path / "m3so").output
    assert "family       m3so\n" in info
    assert "seed         3\n" in info
    assert "spec" not in info


def test_info_shows_the_control_characters_of_names_as_escapes(tmp_path):
    format = ClipFormat(frames=5, channels=1, height=8, width=8, fps=10, sample_rate=100)
    requested = request("drums\nverified", format, {"test": 1}, spec={"kit": "\x1b[2Jjazz"}, rooms=["a\nb"])
    clip = Clips(np.zeros((1, 5, 8, 8), np.uint8), np.zeros((1, 50), np.int16))
    write_once(tmp_path / "data", requested, SingleClips("none", lambda split, number: clip, requested))
    lines = run("info", tmp_path / "data").stdout.splitlines()
    assert lines[0].startswith(r"drums\nverified, 0 train, 0 val, 1 test")
    assert lines[1:4] == ["family       plain", r"rooms        a\nb", r"spec         kit=\x1b[2Jjazz"]
    assert all(line.isprintable() for line in lines)


def test_a_current_folder_that_was_deleted_is_said_to_be_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = run("generate", *SMALL, "--out", "data")
    assert result.exit_code == 2
    assert result.stderr == "Error: the current folder does not exist any more: change to another one\n"


def test_a_shard_is_described_and_shown_as_one_and_not_exported(tmp_path):
    part, out = tmp_path / "part", tmp_path / "out"
    assert run("generate", *SMALL, "--frames", "4", "--shard", "1/2", "--out", part).exit_code == 0
    assert run("verify", part).exit_code == 0
    assert run("info", part).output.startswith("shard 1 of 2 of m3so-nb, 1 train, 0 val, 0 test, fingerprint ")
    title = sheet(open_dataset_or_shard(part), "train").axes[0].get_title()
    assert title == "shard 1 of 2 of m3so-nb · M3SO-NB digits=embedded frames=4 · train"
    refused = run("export", part, "--to", "clips", "--out", out)
    assert refused.stderr.startswith(f"Error: {part} is shard 1 of 2 of m3so-nb: `mmnist-av merge` makes the dataset")
    assert not out.exists()


def test_verify_names_every_damaged_file(tmp_path):
    out = tmp_path / "data"
    run("generate", *SMALL, "--out", out)
    (out / "val" / "audio.npy").unlink()
    with (out / "train" / "truth.npz").open("ab") as file:
        file.write(b"more")
    message = run("verify", out)
    assert message.exit_code == 2
    assert "val/audio.npy is missing" in message.stderr
    assert "train/truth.npz has" in message.stderr
    assert message.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("genrate", "unknown command 'genrate': did you mean generate?"),
        ("generate --out x --trian 3", "unknown option '--trian': did you mean --train"),
        ("generate --out x --digits mnst", "unknown digit source 'mnst': did you mean mnist?"),
        ("generate --out x --train many", "'many' is not a valid integer"),
        ("generate --out x --train -3", "sizes.train must be at least 0, not -3"),
        ("generate --out x --obstacle --block 32", "a block of 32 px beside a digit of 20 px can never fit"),
        ("generate --out x --bounce specula", "unknown bounce 'specula': did you mean specular?"),
        ("generate --out x --digits-per-clip 0", "digits_per_clip must be at least 1, not 0"),
        ("generate --out x --seed -1", "seed must be at least 0, not -1"),
        ("generate --out x --digits mnist --mnist-root nowhere", "the MNIST folder nowhere does not exist"),
        ("generate --out x --digits mnist --mnist-root thesis.txt", "the MNIST folder thesis.txt is not a folder"),
        ("generate --out dangling", "dangling is a link to nowhere, which is no folder: make that folder, or remove"),
        ("generate --out x --shard 2", "'2' is not like 2/4, the second of four"),
        ("generate --out x --test 5 --train 0 --val 0 --shard 1/6", "6 shards are too many, the largest split has 5"),
        (f"generate --out x --shard 1/{'9' * 99}", "9999 shards are too many, the largest split has 8000 clips"),
        (f"generate --out x --shard 1/{'9' * 5000}", "is not like 2/4"),
        (
            "generate --out x --mnist-root nowhere",
            "--mnist-root is for --digits mnist; the embedded digits are part of",
        ),
        ("generate --out x --mnist-root ''", "a path is expected, not an empty text"),
        ("merge '' --out x", "a path is expected, not an empty text"),
        ("generate --out thesis.txt", "thesis.txt is a file"),
        ("generate --out /dev/null/x", "Not a directory"),
        ("generate", "Missing option '--out'"),
        ("info nowhere", "nowhere is not a dataset"),
        ("verify nowhere", "nowhere is not a dataset"),
        ("--nonsense", "unknown option '--nonsense'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("thesis.txt").touch()
    Path("dangling").symlink_to("nowhere")
    result = run(*shlex.split(line))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


FEW = ["--train", "0", "--val", "0", "--test", "2", "--frames", "4"]


def test_no_command_writes_into_a_finished_dataset_or_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("generate", *FEW, "--out", "data")
    for shard in ("1/2", "2/2"):
        run("generate", *FEW, "--shard", shard, "--out", f"part{shard[0]}")
    run("export", "data", "--to", "webdataset", "--out", "export")
    Path("link").symlink_to("data", target_is_directory=True)
    before = sorted(Path().rglob("*"))
    for target in ("data/new", "data/test/deep/new", "link/new", "part1/new", "export/new"):
        for command in (
            ["generate", *FEW],
            ["merge", "part1", "part2"],
            ["preview", "data"],
            ["export", "data", "--to", "clips"],
            ["import", "export"],
        ):
            refused = run(*command, "--out", target)
            assert refused.exit_code == 2
            assert "lies in the dataset" in refused.stderr
    assert "choose another --out" in run("preview", "data", "--out", "data").stderr
    assert sorted(Path().rglob("*")) == before
    assert run("generate", *FEW, "--out", "data").exit_code == 0


def test_a_circular_link_as_the_folder_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    result = run("generate", *FEW, "--out", tmp_path / "loop")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("root", ["", "nowhere"])
def test_the_environments_mnist_folder_does_not_concern_embedded_digits(tmp_path, monkeypatch, root):
    monkeypatch.setenv("MMNIST_AV_MNIST_ROOT", root)
    assert run("generate", *SMALL, "--frames", "4", "--out", tmp_path / "data").exit_code == 0


def test_an_empty_environment_variable_names_no_mnist_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMNIST_AV_MNIST_ROOT", "")
    result = run("generate", *SMALL, "--digits", "mnist", "--out", tmp_path / "data")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "the digits 'mnist' need --mnist-root DIR" in result.stderr


def test_no_command_shows_the_help():
    result = run()
    assert result.exit_code == 2
    assert "generate" in result.stderr


def test_help_waits_for_no_array_library():
    check = "import sys, mmnist_av.cli; sys.exit(bool({'numpy', 'torch', 'pandas', 'rich'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_opening_and_generating_do_not_import_torch():
    modules = "mmnist_av.cli, mmnist_av.dataset, mmnist_av.m3so.generate"
    check = f"import sys, {modules}; sys.exit(bool({{'torch', 'pandas', 'rich'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", check], check=True)
