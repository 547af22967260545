"""Generation gives the same bytes whatever interrupts it, and an unfinished dataset cannot be opened."""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmnist_av import sources, writing
from mmnist_av.dataset import open_dataset
from mmnist_av.exchange.card import CARD, CROISSANT
from mmnist_av.journal import Journal, open_journal
from mmnist_av.m3so import generate as module
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.manifest import JOURNAL, MANIFEST
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import PART, GrowingArray, sha256, sole_writer

SPEC, SIZES = Spec(obstacle=True), {"train": 11, "val": 0, "test": 4}


def contents(out: Path) -> dict[str, str]:
    return {str(file.relative_to(out)): sha256(file) for file in sorted(out.rglob("*")) if file.is_file()}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(sources, "BYTES_AT_ONCE", 3 * SPEC.format.clip_bytes)


@pytest.fixture
def unbroken(tmp_path):
    return contents(generate(tmp_path / "unbroken", SPEC, SIZES, seed=5).path)


def test_the_files_hold_what_was_rendered(tmp_path):
    dataset = generate(tmp_path / "new", SPEC, SIZES, seed=5)
    assert sorted(contents(dataset.path)) == sorted(
        [MANIFEST, CARD, CROISSANT] + [f"{split}/{file}" for split in ("train", "test") for file in FILES]
    )
    for split in ("train", "test"):
        pool = load_pool("embedded")[split]
        truth = simulate(pool, SPEC, 5, split, np.arange(SIZES[split]))
        stored = dataset.split(split)
        np.testing.assert_array_equal(stored.frames, render_frames(truth, pool, SPEC))
        np.testing.assert_array_equal(stored.audio, render_audio(truth, SPEC))
        for name, array in truth.arrays().items():
            np.testing.assert_array_equal(stored.record("truth")[name], array)
    assert not len(dataset.split("val"))


FILES = "frames.npy", "audio.npy", "truth.npz"


def test_the_size_of_shards_changes_no_byte(tmp_path, unbroken, monkeypatch):
    monkeypatch.setattr(sources, "BYTES_AT_ONCE", 128 * SPEC.format.clip_bytes)
    assert contents(generate(tmp_path / "new", SPEC, SIZES, seed=5).path) == unbroken


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_no_byte(tmp_path, unbroken, workers):
    assert contents(generate(tmp_path / "new", SPEC, SIZES, seed=5, workers=workers).path) == unbroken


def test_no_more_clips_are_held_than_there_are(tmp_path, unbroken, monkeypatch):
    held, empty = [], module._empty
    monkeypatch.setattr(module, "_empty", lambda clips, spec: held.append(clips) or empty(clips, spec))
    assert contents(generate(tmp_path / "new", SPEC, SIZES, seed=5, workers=100_000).path) == unbroken
    assert held == [3] * 4 + [3] * 2  # 11 train and 4 test clips, 3 at a time


def test_a_ray_cluster_gives_the_same_bytes(tmp_path, unbroken):
    pytest.importorskip("ray", reason="needs Ray: pip install mmnist-av[ray]")
    assert contents(generate(tmp_path / "new", SPEC, SIZES, seed=5, engine="ray", workers=2).path) == unbroken


def test_a_finished_dataset_is_not_written_again(tmp_path, monkeypatch):
    out = tmp_path / "new"
    generate(out, SPEC, SIZES, seed=5)
    (tmp_path / "journal").mkdir()
    with open_journal(tmp_path / "journal", module.describe(SPEC, SIZES, 5, "embedded"), "mmnist-av"):
        (tmp_path / "journal" / JOURNAL).rename(out / JOURNAL)  # as a process leaves it that is killed at its very end
    monkeypatch.setattr(module, "load_pool", None)
    assert generate(out, SPEC, SIZES, seed=5).fingerprint == open_dataset(out).fingerprint
    assert not (out / JOURNAL).exists()


def test_a_finished_dataset_with_changed_bytes_has_no_good_fingerprint(tmp_path):
    out = generate(tmp_path / "new", SPEC, SIZES, seed=5).path
    with (out / "test" / "audio.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x55")
    with pytest.raises(InputError, match=r"new is damaged: test/audio\.npy has changed"):
        generate(out, SPEC, SIZES, seed=5)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (GrowingArray, "append"),
        (GrowingArray, "finish"),
        (Journal, "add"),
        (writing, "write_record"),
        (writing, "remove_leftovers"),
        (writing, "write_manifest"),
    ],
)
def test_a_run_interrupted_at_any_step_is_resumed(tmp_path, unbroken, monkeypatch, owner, name):
    out, whole, calls = tmp_path / "new", getattr(owner, name), []

    def breaking(*arguments):
        calls.append(name)
        if len(calls) in (1, 3, 6, 10, 15, 21):
            raise OSError(errno.EIO, "interrupted")
        return whole(*arguments)

    monkeypatch.setattr(owner, name, breaking)
    for _ in range(30):
        try:
            generate(out, SPEC, SIZES, seed=5)
            break
        except OSError:
            if not (out / MANIFEST).exists():
                begun = (
                    "is not a dataset yet: the command that began" if (out / JOURNAL).exists() else "is not a dataset:"
                )
                with pytest.raises(InputError, match=begun):
                    open_dataset(out)
    assert contents(out) == unbroken


def interrupted(out, monkeypatch, after=3):
    with monkeypatch.context() as patch:
        add = Journal.add
        shards = iter(range(after))

        def stop(*arguments):
            if next(shards, None) is None:
                raise KeyboardInterrupt
            add(*arguments)

        patch.setattr(Journal, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            generate(out, SPEC, SIZES, seed=5)


@pytest.mark.parametrize("at", [3, 200, 4 * 230400, 8 * 230400])
@pytest.mark.parametrize("name", [f"frames.npy{PART}", f"audio.npy{PART}"])
def test_changed_bytes_of_an_interrupted_run_are_written_again(tmp_path, unbroken, monkeypatch, at, name):
    out = tmp_path / "new"
    interrupted(out, monkeypatch)
    with (out / "train" / name).open("rb+") as file:
        file.seek(at)
        file.write(b"\x55\xaa")
    assert contents(generate(out, SPEC, SIZES, seed=5).path) == unbroken


def test_an_array_that_the_journal_does_not_know_is_the_users_and_stays(tmp_path, unbroken, monkeypatch):
    out, other = tmp_path / "new", generate(tmp_path / "other", SPEC, SIZES, seed=6).path
    interrupted(out, monkeypatch)
    (out / "test").mkdir(exist_ok=True)
    theirs = Path(shutil.copy(other / "test" / "frames.npy", out / "test" / "frames.npy"))
    content = theirs.read_bytes()
    with pytest.raises(InputError, match=r"test/frames\.npy exists and is something else: move it away"):
        generate(out, SPEC, SIZES, seed=5)
    assert theirs.read_bytes() == content
    theirs.unlink()
    assert contents(generate(out, SPEC, SIZES, seed=5).path) == unbroken


@pytest.mark.parametrize("torn", [b'{"split": "train", "cli', b"\0\0\0\0\n", b""])
def test_an_incomplete_line_of_the_journal_is_dropped(tmp_path, unbroken, monkeypatch, torn):
    out = tmp_path / "new"
    interrupted(out, monkeypatch)
    with (out / JOURNAL).open("ab") as file:
        file.write(torn)
    assert contents(generate(out, SPEC, SIZES, seed=5).path) == unbroken


def test_complete_shards_are_not_rendered_again(tmp_path, monkeypatch):
    out, rendered = tmp_path / "new", []
    interrupted(out, monkeypatch, after=2)
    render = module._render
    monkeypatch.setattr(module, "_render", lambda shard, *rest: rendered.append(len(shard)) or render(shard, *rest))
    generate(out, SPEC, SIZES, seed=5)
    assert sorted(rendered) == [1, 2, 3, 3], "train clips 6 to 10, then test"


LARGE = {"train": 400, "val": 0, "test": 40}
FORKS = multiprocessing.get_context("forkserver")  # processes that start at once, because their imports are done
FORKS.set_forkserver_preload(["mmnist_av.m3so.generate", "pytest"])


def shards_noted(out: Path) -> int:
    journal = out / JOURNAL
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def start_generating(out: Path):
    process = FORKS.Process(target=generate, args=(out, SPEC, LARGE, 0))
    process.start()
    return process


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    """25 kills between start and end of the generation; after a finished dataset, a new one is started."""
    start_generating(tmp_path / "first").join()  # starts the server of processes, too
    start = time.monotonic()
    start_generating(tmp_path / "unbroken").join()
    whole_time, expected = time.monotonic() - start, contents(tmp_path / "unbroken")
    moments, kills, finished, while_writing = random.Random(0), 0, 0, 0
    while kills < 25:
        out = tmp_path / f"killed {finished}"
        process = start_generating(out)
        if kills % 2:  # wait until it writes
            before = shards_noted(out)
            while shards_noted(out) == before and process.is_alive():
                time.sleep(0.001)
        process.join(moments.uniform(0, 0.05) if kills % 2 else moments.uniform(0, whole_time))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if (out / MANIFEST).exists():
            generate(out, SPEC, LARGE, seed=0)  # tidies up
            assert contents(out) == expected
            finished += 1
        elif out.exists():
            while_writing += shards_noted(out) > 0
            with pytest.raises(InputError):
                open_dataset(out)
    assert while_writing >= 5
    process = start_generating(tmp_path / f"killed {finished}")
    process.join()
    assert process.exitcode == 0
    assert contents(tmp_path / f"killed {finished}") == expected


def command(out: Path) -> list[str]:
    sizes = [word for split, clips in LARGE.items() for word in (f"--{split}", str(clips))]
    return [sys.executable, "-m", "mmnist_av.cli", "generate", "--obstacle", *sizes, "--out", str(out)]


def test_generators_that_start_together_do_not_disturb_each_other(tmp_path):
    subprocess.run(command(tmp_path / "unbroken"), check=True, stdout=subprocess.DEVNULL)
    lines = [command(tmp_path / "new")] * 3
    together = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for line in lines]
    message = [process.communicate()[1] for process in together]
    assert {process.returncode for process in together} <= {0, 2}
    assert any(process.returncode == 0 for process in together)
    for process, line in zip(together, message, strict=True):
        assert (line == "") if process.returncode == 0 else ("is being written by another process: wait" in line)
    assert contents(tmp_path / "new") == contents(tmp_path / "unbroken")


def test_a_full_disk_is_reported_in_one_line_and_the_run_resumes(tmp_path, unbroken, monkeypatch):
    pwrite, calls = os.pwrite, []

    def full_at_the_fifth(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(*arguments)

    monkeypatch.setattr(os, "pwrite", full_at_the_fifth)
    with pytest.raises(InputError, match=r"no room in .* \(No space left on device\).* start the same command again"):
        generate(tmp_path / "new", SPEC, SIZES, seed=5)
    assert contents(generate(tmp_path / "new", SPEC, SIZES, seed=5).path) == unbroken


def test_an_unfinished_dataset_of_another_version_is_not_resumed(tmp_path, monkeypatch):
    interrupted(tmp_path / "new", monkeypatch)
    monkeypatch.setattr(module, "__version__", "9.9")
    with pytest.raises(InputError, match=r"provenance is mmnist-av .*, not mmnist-av 9\.9; choose another --out"):
        generate(tmp_path / "new", SPEC, SIZES, seed=5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 6}, "seed is 5, not 6"),
        ({"spec": Spec(obstacle=False)}, "dataset is m3so, not m3so-nb"),
        ({"spec": Spec(True, 2)}, "spec digits_per_clip is 1, not 2"),
        ({"sizes": {"train": 12, "test": 4}}, "sizes train is 11, not 12"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_dataset_is_not_overwritten(tmp_path, monkeypatch, changed, message, finished):
    out, requested = tmp_path / "new", {"spec": SPEC, "sizes": SIZES, "seed": 5}
    if finished:
        generate(out, **requested)
    else:
        interrupted(out, monkeypatch)
    before = contents(out)
    with pytest.raises(InputError, match=message):
        generate(out, **{**requested, **changed})
    assert contents(out) == before


FOREIGN = "dataset.json", "README.md", "croissant.json", ".lock", ".notes.part", "test/frames.npy", JOURNAL


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("content", ["mine", '{"mine": 1}\nand mine'])
def test_a_folder_with_a_file_of_a_datasets_names_is_not_changed(tmp_path, name, content):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"choose another --out|dataset\.json is damaged"):
        generate(tmp_path, SPEC, SIZES, seed=5)
    assert (tmp_path / name).read_text() == content
    assert list(contents(tmp_path)) == [name]


@pytest.mark.parametrize("name", ["README.md", "croissant.json", "test/frames.npy", "test/truth.npz"])
def test_a_resumed_run_replaces_no_file_of_another_making(tmp_path, monkeypatch, name):
    out = tmp_path / "new"
    interrupted(out, monkeypatch)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    (out / ".notes.part").write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists and is something else: move it away"):
        generate(out, SPEC, SIZES, seed=5)
    assert (out / name).read_text() == "mine"
    (out / name).unlink()
    generate(out, SPEC, SIZES, seed=5)
    assert (out / ".notes.part").read_text() == "mine"


def test_nothing_of_another_making_is_removed_from_a_finished_dataset(tmp_path):
    out = generate(tmp_path / "new", SPEC, SIZES, seed=5).path
    names = JOURNAL, ".lock", ".notes.part"
    for name in names:
        (out / name).write_text("mine")
    generate(out, SPEC, SIZES, seed=5)
    assert [(out / name).read_text() for name in names] == ["mine"] * 3


def test_a_folder_or_file_of_something_else_is_not_changed(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no dataset"):
        generate(tmp_path, SPEC, SIZES, seed=5)
    with pytest.raises(InputError, match="is a file"):
        generate(tmp_path / "notes.txt", SPEC, SIZES, seed=5)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": {"train": -1}}, "sizes.train must be at least 0, not -1"),
        ({"sizes": {"train": 2**32 + 1}}, "sizes.train must be at most 4294967296, not 4294967297"),
        ({"sizes": {"train": 0}}, "needs at least one clip"),
        ({"sizes": {"trian": 3}}, "unknown split 'trian': did you mean train"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"seed": 2**63}, "seed must be less than 9223372036854775808"),
        ({"shard": (0, 3)}, "there is no shard 0 of 3"),
        ({"shard": (4, 3)}, "there is no shard 4 of 3"),
        ({"shard": (1, 99)}, "--shard: 99 shards are too many, the largest split has 11 clips"),
        ({"workers": 0}, "--workers 0: at least one is needed"),
        ({"engine": "rey"}, "unknown engine 'rey': did you mean ray"),
        ({"digits": "embeded"}, "did you mean embedded"),
        ({"digits": "mnist"}, "need --mnist-root"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        generate(tmp_path / "new", **{"spec": SPEC, "sizes": SIZES, "seed": 5, **changed})
    assert not (tmp_path / "new").exists()


def test_a_disk_without_room_is_reported_before_it_is_filled(tmp_path):
    with pytest.raises(InputError, match=r"no room in .*: the dataset needs 1676755\.232 GB, of which 0\.000 GB are"):
        generate(tmp_path / "new", SPEC, {"train": 2**32}, seed=5)


def test_a_disk_that_fills_up_is_reported_and_the_run_resumes(tmp_path, unbroken):
    sizes = [word for split, clips in SIZES.items() for word in (f"--{split}", str(clips))]
    line = [sys.executable, "-m", "mmnist_av.cli", "generate", "--obstacle", "--seed", "5", *sizes]
    out = tmp_path / "new"
    limit = 2_000_000  # bytes a file: the kernel refuses more, as it does on a full disk

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = subprocess.run([*line, "--out", out], preexec_fn=limited, capture_output=True, text=True)
    assert full.returncode == 2
    assert full.stderr.startswith(
        f"Error: no room in {out} (File too large): the dataset needs 0.006 GB; the shell (ul"
    )
    assert full.stderr.count("\n") == 1
    assert not (out / MANIFEST).exists()
    assert contents(generate(out, SPEC, SIZES, seed=5).path) == unbroken


def test_two_processes_do_not_write_one_dataset(tmp_path, monkeypatch):
    out = tmp_path / "new"
    interrupted(out, monkeypatch)
    before = contents(out)
    with sole_writer(out), pytest.raises(InputError, match="being written by another process"):
        generate(out, SPEC, SIZES, seed=5)
    assert contents(out) == before


def test_another_seed_gives_another_dataset(tmp_path):
    fingerprints = {generate(tmp_path / str(seed), SPEC, {"test": 2}, seed).fingerprint for seed in (0, 1, 2**63 - 1)}
    assert len(fingerprints) == 3


def test_the_manifest_says_what_was_requested(tmp_path):
    out = generate(tmp_path / "new", SPEC, SIZES, seed=5).path
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["seed"] == 5
    assert manifest["sizes"] == SIZES
    assert manifest["spec"] == SPEC.as_dict()
    assert manifest["digits"]["source"] == "embedded"
    assert {name: facts["sha256"] for name, facts in manifest["files"].items()} == {
        name: digest for name, digest in contents(out).items() if name not in (MANIFEST, CARD, CROISSANT)
    }


@pytest.mark.parametrize(
    ("obstacle", "fingerprint"),
    [
        (True, "df0c7d1bd7c8127c249c7189cf17ea25429db314db30812bdedb9834cbf379fc"),
        (False, "376d16c8263859bb993b6dde913984bb5024fdb4f4b714c5a1b47480c80f3750"),
    ],
)
def test_the_bytes_of_a_dataset_are_the_same_everywhere(tmp_path, obstacle, fingerprint):
    """Includes headers and truth.npz; needs no MNIST."""
    dataset = generate(tmp_path / "new", Spec(obstacle), {"train": 2, "val": 1, "test": 2}, seed=0)
    assert dataset.fingerprint == fingerprint
