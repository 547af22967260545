"""Any source of clips can be written: colour or grey, at any rates, with and without annotations."""

import json

import numpy as np
import pytest

from mmnist_av.clips import StoredClips
from mmnist_av.dataset import ClipFormat, open_dataset, verify
from mmnist_av.families import ArrayType, Family, find
from mmnist_av.journal import Journal
from mmnist_av.system.errors import InputError
from mmnist_av.writing import Clips, SingleClips, Source, request, write_once
from plain_clips import COLOUR, make_plain

SMALL = ClipFormat(frames=6, channels=3, height=16, width=24, fps=30, sample_rate=44100)


def test_a_colour_dataset_without_annotations_is_written_in_ten_lines(tmp_path):
    def noise(split, number):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 256, (1, 90, 64, 64, 3), np.uint8)
        return Clips(frames, rng.integers(-9, 9, (1, 132300), np.int16))

    requested = request("noise", COLOUR, {"train": 2, "test": 1})
    dataset = write_once(tmp_path / "data", requested, SingleClips("noise", noise, requested))
    assert (dataset.family, dataset.format, dataset.annotations) == ("plain", COLOUR, frozenset())
    np.testing.assert_array_equal(dataset.split("train").frames[1], noise("train", 1).frames[0])
    assert verify(dataset.path) == []


def test_torch_reads_colour_clips_with_the_channels_first(tmp_path):
    split = make_plain(tmp_path / "data").split("train")
    clip = StoredClips(split, 20)[1]
    assert clip["frames"].shape == (20, 3, 64, 64)
    assert clip["audio"].shape == (20, 1470)
    np.testing.assert_array_equal(clip["frames"].permute(0, 2, 3, 1), split.frames[1, :20])
    assert clip["frames"].data_ptr() == split.frames[1].ctypes.data


def test_a_stored_annotation_is_given_cut_to_the_requested_frames(tmp_path):
    dataset = make_plain(tmp_path / "data", {"test": 2}, SMALL, flow=True)
    family = find(dataset.family)
    assert family.annotations(dataset) == dataset.annotations == {"flow"}
    flow = family.annotate(dataset, "test", 1, "flow", 4)
    assert flow.shape == (4, 2, 16, 24)
    np.testing.assert_array_equal(flow, dataset.split("test").array("flow")[1, :4])
    with pytest.raises(InputError, match="unknown annotation 'flwo': did you mean flow"):
        family.annotate(dataset, "test", 1, "flwo", 4)


def test_an_annotation_that_is_as_long_as_the_clip_may_say_that_it_is_not_of_its_frames(tmp_path):
    def clip(split, number):
        frames, audio = np.zeros((1, 6, 16, 24, 3), np.uint8), np.zeros((1, 8820), np.int16)
        return Clips(frames, audio, {name: np.arange(6, dtype="f4")[None] for name in types})

    types = {
        "classes": ArrayType((6,), "float32", per_frame=False),
        "speed": ArrayType([6], np.float32),
        "pace": ArrayType((6,), "<f4", per_frame=True),
    }
    requested = request("votes", SMALL, {"test": 1}, arrays=types)
    dataset = write_once(str(tmp_path / "data"), requested, SingleClips("votes", clip, requested))
    found = {name: len(find("plain").annotate(dataset, "test", 0, name, 4)) for name in types}
    assert found == {"classes": 6, "speed": 4, "pace": 4}
    assert open_dataset(dataset.path).manifest["arrays"]["speed"] == {"shape": [6], "dtype": "<f4"}


@pytest.mark.parametrize("kind", ["uint8", np.uint8, np.dtype(np.uint8), "u1"])
def test_types_of_arrays_are_given_as_numpy_takes_them(kind):
    assert ArrayType((2,), kind) == ArrayType((2,), np.dtype(np.uint8))


def test_the_stored_flow_finds_every_pixel_one_frame_earlier(tmp_path):
    split = make_plain(tmp_path / "data", {"test": 1}, SMALL, flow=True).split("test")
    moved = split.frames[0].any(axis=-1)[1:]
    t, row, column = np.nonzero(moved)
    dx, dy = split.array("flow")[0, 1:].astype(int)[t, :, row, column].T
    np.testing.assert_array_equal(split.frames[0][t, row + dy, column + dx], split.frames[0][t + 1, row, column])


def test_two_writes_are_equal_and_a_second_write_changes_nothing(tmp_path):
    first, second = (make_plain(tmp_path / name, {"train": 3}, SMALL, flow=True) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    before = (first.path / "dataset.json").stat().st_mtime_ns
    assert make_plain(first.path, {"train": 3}, SMALL, flow=True).fingerprint == first.fingerprint
    assert (first.path / "dataset.json").stat().st_mtime_ns == before


def test_an_interrupted_write_resumes_with_annotations_too(tmp_path, monkeypatch):
    monkeypatch.setattr("mmnist_av.sources.BYTES_AT_ONCE", SMALL.clip_bytes)
    whole = make_plain(tmp_path / "whole", {"train": 5}, SMALL, flow=True)
    add, lines = Journal.add, iter(range(3))
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", lambda *facts: add(*facts) if next(lines, None) is not None else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_plain(tmp_path / "again", {"train": 5}, SMALL, flow=True)
    assert make_plain(tmp_path / "again", {"train": 5}, SMALL, flow=True).fingerprint == whole.fingerprint
    with pytest.raises(InputError, match="holds another dataset: sizes train is 5, not 6"):
        make_plain(tmp_path / "again", {"train": 6}, SMALL, flow=True)


@pytest.mark.parametrize(
    "line",
    [
        {"clips": 1, "sha256": []},
        {"split": "train", "clips": "1", "sha256": []},
        {"split": "train", "clips": -1, "sha256": ["0"] * 3},
        {"split": "train", "clips": 1, "sha256": ["0"]},
        {"split": "train", "clips": 1, "sha256": [0, 0, 0]},
    ],
)
def test_a_line_of_the_journal_that_is_not_ours_is_not_resumed_from(tmp_path, monkeypatch, line):
    whole = make_plain(tmp_path / "whole", {"train": 2}, SMALL, flow=True)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", lambda *facts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_plain(tmp_path / "again", {"train": 2}, SMALL, flow=True)
    with (tmp_path / "again" / "unfinished.jsonl").open("a") as journal:
        journal.write(json.dumps(line) + "\n")
    assert make_plain(tmp_path / "again", {"train": 2}, SMALL, flow=True).fingerprint == whole.fingerprint


def test_a_finished_dataset_with_changed_bytes_is_refused(tmp_path):
    dataset = make_plain(tmp_path / "data", {"train": 2}, SMALL)
    with (dataset.path / "train" / "frames.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x55")
    with pytest.raises(InputError, match=r"data is damaged: train/frames\.npy has changed; delete the folder"):
        make_plain(tmp_path / "data", {"train": 2}, SMALL)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "the source has 0 clips of train, not 1"),
        ([Clips(np.zeros((1, 6, 16, 24), np.uint8), np.zeros((1, 8820), np.int16))], "clip 0 of train has frames of"),
        ([Clips(np.zeros((1, 6, 16, 24, 3), np.uint8), np.zeros((1, 10), np.int16))], "clip 0 of train has audio of"),
        (
            [Clips(np.zeros((1, 6, 16, 24, 3), np.uint8), np.zeros((1, 8820), np.int16), {"flow": np.zeros(1)})],
            "has frames, audio, flow, not frames, audio",
        ),
    ],
)
def test_a_source_that_gives_other_clips_than_requested_is_refused(tmp_path, clips, message):
    class Wrong(Source):
        provenance = "wrong"

        def clips(self, split, first):
            yield from clips

    with pytest.raises(InputError, match=message):
        write_once(tmp_path / "data", request("wrong", SMALL, {"train": 1}), Wrong())
    with pytest.raises(InputError, match="is not a dataset"):
        open_dataset(tmp_path / "data")


def test_a_plain_dataset_has_no_generator_and_no_stream(tmp_path):
    dataset = make_plain(tmp_path / "data", {"train": 1}, SMALL)
    with pytest.raises(InputError, match="no generator: name an existing dataset"):
        Family().make(tmp_path / "new", {}, {"train": 1}, 0, "", None)
    with pytest.raises(InputError, match="the family plain of datasets has no stream of clips"):
        Family().stream(dataset, 1, 1, 0, 1, None)
    assert find("plain").label(dataset.manifest) == "squares"
