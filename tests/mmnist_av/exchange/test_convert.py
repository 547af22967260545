"""Exports are imported without loss, and changed exports are refused."""

import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from forged import forge
from mmnist_av import sources
from mmnist_av.dataset import ClipFormat, open_dataset, verify
from mmnist_av.exchange import layout, separate_files
from mmnist_av.exchange.convert import export, import_
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.preview.movie import write_movie
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK, PART, sole_writer
from plain_clips import make_plain

SPEC = Spec(obstacle=True, digits_per_clip=2, canvas=51, frames=12, block_frame=4)
FORMS = ["clips", "clips-png", "webdataset", "hf"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two digits, short clips, an odd canvas."""
    return generate(tmp_path_factory.mktemp("data") / "data", SPEC, {"train": 5, "val": 0, "test": 3}, seed=1)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(layout, "FILE", 2 * SPEC.format.clip_bytes)
    monkeypatch.setattr(sources, "BYTES_AT_ONCE", 2 * SPEC.format.clip_bytes)


@pytest.mark.parametrize("form", FORMS)
def test_export_then_import_is_the_same_dataset(dataset, tmp_path, form):
    export(dataset, form, tmp_path / "out")
    again = import_(tmp_path / "out", tmp_path / "again")
    assert again.fingerprint == dataset.fingerprint
    for split in ("train", "test"):
        np.testing.assert_array_equal(again.split(split).frames, dataset.split(split).frames)
        np.testing.assert_array_equal(again.split(split).audio, dataset.split(split).audio)
        for name, values in dataset.split(split).record("truth").items():
            np.testing.assert_array_equal(again.split(split).record("truth")[name], values)
    assert (tmp_path / "again" / "dataset.json").read_bytes() == (dataset.path / "dataset.json").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_folders_may_have_colons(dataset, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    export(dataset, form, Path("a:out"))
    assert import_(Path("a:out"), Path("b:again")).fingerprint == dataset.fingerprint


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flow", [False, True])
def test_colour_clips_with_and_without_an_annotation_come_back(tmp_path, form, flow):
    format = ClipFormat(frames=5, channels=3, height=18, width=25, fps=30, sample_rate=44100)
    dataset = make_plain(tmp_path / "data", {"train": 3, "test": 2}, format, flow=flow)
    export(dataset, form, tmp_path / "out")
    again = import_(tmp_path / "out", tmp_path / "again")
    assert (tmp_path / "again" / "dataset.json").read_bytes() == (dataset.path / "dataset.json").read_bytes()
    np.testing.assert_array_equal(again.split("test").frames, dataset.split("test").frames)
    assert again.annotations == ({"flow"} if flow else set())


def test_separate_files_hold_the_sound_and_the_record(dataset, tmp_path):
    export(dataset, "clips", tmp_path / "out")
    audio, rate = soundfile.read(tmp_path / "out" / "test" / "000002.wav", dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(audio, dataset.split("test").audio[2])
    record = json.loads((tmp_path / "out" / "test" / "000002.json").read_text())
    assert record["label"] == dataset.split("test").record("truth")["label"][2].tolist()
    assert (tmp_path / "out" / "test" / "000002.mp4").stat().st_size > 0


def test_tars_hold_one_key_per_clip_in_order(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("train-*.tar")) == [
        f"train-{number:06d}.tar" for number in range(3)
    ]
    with tarfile.open(tmp_path / "out" / "train-000001.tar") as tar:
        names = tar.getnames()
    assert names == [f"{clip:06d}.{kind}" for clip in (2, 3) for kind in ("frames.npy", "audio.wav", "truth.json")]


def test_parquet_names_the_features_that_hugging_face_decodes(dataset, tmp_path):
    export(dataset, "hf", tmp_path / "out")
    schema = pq.read_schema(tmp_path / "out" / "data" / "train-00000.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["frames"]["feature"]["_type"] == "Image"
    assert features["audio"] == {"sampling_rate": 8000, "_type": "Audio"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "  - split: train\n    path: data/train-*.parquet\n" in card


def test_hugging_faces_own_loader_reads_it(dataset, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    export(dataset, "hf", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 5, "test": 3}
    rows = loaded["train"].cast_column("audio", datasets.Audio(decode=False))  # decoding wants torchcodec
    clip = rows[3]
    audio, rate = soundfile.read(io.BytesIO(clip["audio"]["bytes"]), dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(audio, dataset.split("train").audio[3])
    np.testing.assert_array_equal(np.stack([np.array(f) for f in clip["frames"]]), dataset.split("train").frames[3])
    np.testing.assert_array_equal(clip["position"], dataset.split("train").record("truth")["position"][3])


def test_webdatasets_own_loader_reads_it(dataset, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    export(dataset, "webdataset", tmp_path / "out")
    urls = [str(path) for path in sorted((tmp_path / "out").glob("train-*.tar"))]
    clips = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(clips) == 5
    np.testing.assert_array_equal(clips[3]["frames.npy"], dataset.split("train").frames[3])


def edit_truth(path, edit):
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


DAMAGES = {
    "another image": lambda folder: edit_truth(
        folder / "000001.json", lambda record: record["image"].__setitem__(0, 1)
    ),
    "no such label": lambda folder: edit_truth(
        folder / "000001.json", lambda record: record["label"].__setitem__(0, 300)
    ),
    "a digit more": lambda folder: edit_truth(folder / "000001.json", lambda record: record["label"].append(1)),
    "no object": lambda folder: (folder / "000001.json").write_text("[]"),
    "no movie": lambda folder: (folder / "000001.mp4").write_bytes(b"nothing"),
    "a short sound": lambda folder: soundfile.write(folder / "000001.wav", np.zeros(10, np.int16), 8000),
    "another sound": lambda folder: soundfile.write(folder / "000001.wav", np.zeros(9600, np.int16), 8000),
    "no sound": lambda folder: (folder / "000001.wav").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_file_is_refused_and_a_repaired_one_accepted(dataset, tmp_path, damage):
    out, again = tmp_path / "out", tmp_path / "again"
    export(dataset, "clips", out)
    kept = {path: path.read_bytes() for path in (out / "train").iterdir()}
    DAMAGES[damage](out / "train")
    with pytest.raises(InputError) as message:
        import_(out, again)
    assert "\n" not in str(message.value)
    with pytest.raises(InputError, match="is not a dataset"):
        open_dataset(again)
    for path, content in kept.items():
        path.write_bytes(content)
    assert import_(out, again).fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("form", "name", "message"),
    [
        ("clips", "test/000001.json", "clip 1 of test in .* cannot be read: it has no 'label'"),
        ("clips-png", "test/000001/0003.png", "a picture has the mode RGBA, not L"),
        ("clips-png", "test/000001/0012.png", "clip 1 of test in .* has more than 12 pictures"),
        ("clips", "test/000003.mp4", "test has more than the 3 clips of the dataset: move the others away"),
        ("webdataset", "test-000000.tar", r"000000\.frames\.npy and the like are expected, not a member \./test\.txt"),
    ],
)
def test_what_is_wrong_with_an_export_is_said_in_words(dataset, tmp_path, form, name, message):
    export(dataset, form, tmp_path / "out")
    path = tmp_path / "out" / name
    if path.suffix == ".json" or form == "clips":
        path.write_text("{}")
    elif form == "clips-png":
        imageio.imwrite(path, np.zeros((51, 51, 4), np.uint8))
    else:
        (tmp_path / "test.txt").write_text("mine")
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "test.txt", "./test.txt")
    with pytest.raises(InputError, match=message):
        import_(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("clips", "dataset.json"),
        ("clips", "test/000001.wav"),
        ("clips", "test/000001.mp4"),
        ("clips", "test/000001.json"),
        ("clips-png", "test/000001/0003.png"),
        ("webdataset", "test-000001.tar"),
        ("hf", "data/test-00001.parquet"),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused_at_once(dataset, tmp_path, form, name):
    export(dataset, form, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    os.mkfifo(tmp_path / "out" / name)
    with pytest.raises(InputError, match=rf"{name} is not a regular file"):
        import_(tmp_path / "out", tmp_path / "again")


def test_an_annotation_that_claims_terabytes_is_refused(tmp_path):
    format = ClipFormat(frames=5, channels=1, height=18, width=25, fps=30, sample_rate=44100)
    export(make_plain(tmp_path / "data", {"test": 2}, format, flow=True), "clips", tmp_path / "out")
    flow = tmp_path / "out" / "test" / "000001.flow.npy"
    flow.write_bytes(flow.read_bytes().replace(b"(5, 2, 18, 25)", b"(9999999999,) "))
    with pytest.raises(InputError, match=r"clip 1 of test in .*: by its \.npy header it has 40000000124 bytes"):
        import_(tmp_path / "out", tmp_path / "again")


def picture(width, height):
    """Return the bytes of a .png picture that claims a size and has no pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def in_parquet(form, column, value):
    """Return a function that gives the second clip of an export in parquet another value of a column."""

    def change(out):
        path = out / "data" / "test-00000.parquet"
        table = pq.read_table(path)
        values = table[column].to_pylist()
        values[1] = value(values[1])
        at = table.schema.get_field_index(column)
        pq.write_table(
            table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path
        )

    return form, change


def in_folder(form, name, content):
    """Return a function that gives the second clip of an export in separate files another file."""
    return form, lambda out: (out / "test" / f"000001{name}").write_bytes(content)


def sound(samples, channels=1, format="WAV"):
    """Return the bytes of a silent file of sound."""
    content = io.BytesIO()
    soundfile.write(content, np.zeros((samples, channels), np.int16), 8000, format=format)
    return content.getvalue()


def in_tar(mode, kind, size):
    """Return a function that writes a tar whose first clip has a member of zeros of a size."""

    def change(out):
        path = out / "test-000000.tar"
        member = tarfile.TarInfo(f"000000.{kind}")
        member.size = size
        path.unlink()
        with tarfile.open(path, mode) as tar, Path("/dev/zero").open("rb") as zeros:
            tar.addfile(member, zeros)

    return "webdataset", change


def long_movie(out):
    path = out / "test" / "000001.mp4"
    path.unlink()
    write_movie(path, np.zeros((500, 51, 51), np.uint8), 10, separate_files.LOSSLESS[1])


LARGE = {
    "a picture of 400 megapixels": (*in_folder("clips-png", "/0003.png", picture(20_000, 20_000)), "20000x20000 px"),
    "a picture of another size": (*in_folder("clips-png", "/0003.png", picture(52, 51)), "52x51 px, not 51x51"),
    "no picture": (*in_folder("clips-png", "/0003.png", b"GIF89a nothing"), "cannot be read"),
    "a picture of 400 megapixels in parquet": (
        *in_parquet("hf", "frames", lambda frames: [{"bytes": picture(20_000, 20_000)}, *frames[1:]]),
        "a picture has 20000x20000 px, not 51x51",
    ),
    "as many pictures as memory holds": (*in_parquet("hf", "frames", lambda frames: frames * 999), "has 11988 frames"),
    "a row of zeros": (
        *in_parquet("hf", "audio", lambda audio: {"bytes": bytes(5_000_000)}),
        "a row has [0-9]+ bytes; those of a clip of this format are [0-9]+ at most",
    ),
    "no number of a clip": (*in_parquet("hf", "index", lambda index: None), "cannot be read"),
    "a compressed sound": (*in_folder("clips", ".wav", sound(1_000_000, format="FLAC")), "sound has 1000000 samples"),
    "a sound of many channels": (
        *in_folder("clips", ".wav", sound(9_600, 8)),
        "9600 samples of 8 channels, not 9600 of",
    ),
    "a large sound": (*in_folder("clips", ".wav", bytes(5_000_000)), r"000001\.wav has 5000000 bytes"),
    "a large record": (*in_folder("clips", ".json", b" " * 5_000_000), r"000001\.json has 5000000 bytes"),
    "a long movie": ("clips", long_movie, r"has frames of \(13, 51, 51\)"),
    "a large member": (
        *in_tar("w", "frames.npy", 5_000_000),
        r"000000\.frames\.npy has 5000000 bytes; those of a clip",
    ),
    "a compressed member": (*in_tar("w:gz", "frames.npy", 5_000_000), "if it is compressed, decompress it first"),
}


@pytest.mark.parametrize("case", LARGE)
def test_what_is_larger_than_the_format_is_refused_before_it_is_read(dataset, tmp_path, case):
    form, change, message = LARGE[case]
    export(dataset, form, tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        import_(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize(
    ("index", "message"),
    [(0, "clip 0 of test is there twice"), (3, "has more clips of test than the dataset's 3")],
)
@pytest.mark.parametrize("form", ["webdataset", "hf"])
def test_a_clip_too_many_is_told_from_a_missing_one(dataset, tmp_path, form, index, message):
    out = tmp_path / "out"
    export(dataset, form, out)
    if form == "hf":
        table = pq.read_table(out / "data" / "test-00000.parquet").slice(0, 1)
        pq.write_table(table.set_column(0, "index", pa.array([index])), out / "data" / "test-00002.parquet")
    else:
        with tarfile.open(out / "test-000000.tar") as old, tarfile.open(out / "test-000002.tar", "w") as new:
            for member in old.getmembers()[:3]:
                content = old.extractfile(member)
                member.name = member.name.replace("000000", f"{index:06d}")
                new.addfile(member, content)
    with pytest.raises(InputError, match=message):
        import_(out, tmp_path / "again")


@pytest.mark.parametrize(("form", "pattern"), [("webdataset", "train-*.tar"), ("hf", "data/train-*.parquet")])
def test_a_flipped_byte_anywhere_is_refused_or_changes_nothing(dataset, tmp_path, form, pattern):
    export(dataset, form, tmp_path / "out")
    path = next(iter(sorted((tmp_path / "out").glob(pattern))))
    content = path.read_bytes()
    for number, at in enumerate(np.linspace(0, len(content) - 1, 25).astype(int)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        try:
            again = import_(tmp_path / "out", tmp_path / f"again {number}")
        except InputError:
            with pytest.raises(InputError, match="is not a dataset"):
                open_dataset(tmp_path / f"again {number}")
        else:
            assert again.fingerprint == dataset.fingerprint


def test_an_export_that_names_files_elsewhere_writes_none_of_them(tmp_path):
    format = ClipFormat(frames=4, channels=3, height=8, width=8, fps=10, sample_rate=8000)
    export(make_plain(tmp_path / "data", {"train": 2}, format, flow=True), "webdataset", tmp_path / "out")
    elsewhere = "../../victim"

    def rename(entries):
        entries["arrays"] = {elsewhere: entries["arrays"]["flow"]}
        entries["files"][f"train/{elsewhere}.npy"] = entries["files"].pop("train/flow.npy")
        entries["annotations"] = [elsewhere]

    forge(tmp_path / "out", rename)
    tar = tmp_path / "out" / "train-000000.tar"
    with tarfile.open(tar) as old:
        members = [(member, old.extractfile(member).read()) for member in old]
    with tarfile.open(tar, "w") as new:
        for member, content in members:
            member.name = member.name.replace("flow", elsewhere)
            new.addfile(member, io.BytesIO(content))
    (tmp_path / "victim.npy").write_bytes((tmp_path / "data" / "train" / "flow.npy").read_bytes()[:-1] + b"\x55")
    before = (tmp_path / "victim.npy").read_bytes()
    with pytest.raises(InputError, match=r"out/dataset\.json is damaged, or of another version: files: the file"):
        import_(tmp_path / "out", tmp_path / "again")
    assert (tmp_path / "victim.npy").read_bytes() == before
    assert not (tmp_path / "again").exists()


def test_generate_does_not_resume_an_import(dataset, tmp_path):
    export(dataset, "clips", tmp_path / "out")
    (tmp_path / "out" / "test" / "000002.wav").unlink()
    with pytest.raises(InputError, match="clip 2 of test"):
        import_(tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match=r"provenance is the export of \w+, not mmnist-av"):
        generate(tmp_path / "again", SPEC, {"train": 5, "test": 3}, seed=1)


@pytest.mark.parametrize(("form", "lost"), [("clips", "train/000003.wav"), ("hf", "data/train-00001.parquet")])
def test_missing_clips_are_named(dataset, tmp_path, form, lost):
    export(dataset, form, tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    with pytest.raises(InputError, match=r"clip 3 of train in .* cannot be read|clip 2 of train is missing"):
        import_(tmp_path / "out", tmp_path / "again")


def test_an_export_appears_complete_or_not_at_all(dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(separate_files, "record_to_json", None)
        with pytest.raises(TypeError):
            export(dataset, "clips", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f".out{PART}" / "train").mkdir(parents=True)  # as an export leaves it that is killed
    with sole_writer(tmp_path / f".out{PART}"), pytest.raises(InputError, match="being written by another process"):
        export(dataset, "clips", tmp_path / "out")
    export(dataset, "clips", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not (tmp_path / "out" / LOCK).exists()


def test_an_export_deletes_nothing_of_another_making(dataset, tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "notes.txt").write_text("mine")
    export(dataset, "webdataset", tmp_path / "out")
    assert (tmp_path / ".out.part" / "notes.txt").read_text() == "mine"


def test_opening_an_export_says_to_import_it(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    with pytest.raises(InputError, match="if it was exported, mmnist-av import writes the dataset again"):
        open_dataset(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "train-000000.tar" in card
    assert "train/frames.npy" not in card


def test_an_export_is_not_taken_for_a_damaged_dataset(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    export(dataset, "clips", tmp_path / "other")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "other").rglob("*")}
    message = r"other has no arrays: if it was exported, mmnist-av import writes the dataset again, to another folder"
    for use in (
        lambda: import_(tmp_path / "out", tmp_path / "other"),
        lambda: generate(tmp_path / "other", SPEC, {"train": 5, "val": 0, "test": 3}, seed=1),
        lambda: verify(tmp_path / "other"),
    ):
        with pytest.raises(InputError, match=message):
            use()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "other").rglob("*")} == before


def test_mistakes_are_reported(dataset, tmp_path):
    with pytest.raises(InputError, match="unknown form 'webdatset': did you mean webdataset"):
        export(dataset, "webdatset", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("out", "dangling", "new/.."):
        with pytest.raises(InputError, match="exists: choose another"):
            export(dataset, "clips", tmp_path / name)
    with pytest.raises(InputError, match="is not a dataset"):
        import_(tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match="is no export"):
        import_(dataset.path, tmp_path / "again")
