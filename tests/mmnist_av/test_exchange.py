"""What is exported comes back as it was; what was changed on the way is refused."""

import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from mmnist_av import exchange
from mmnist_av.errors import InputError
from mmnist_av.exchange import export, import_
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.store import open_dataset

WAYS = [("clips", "mp4"), ("clips", "png"), ("webdataset", "mp4"), ("hf", "mp4")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two digits, short clips, an odd canvas."""
    spec = Spec(obstacle=True, digits_per_clip=2, canvas=51, frames=12, block_frame=4)
    return generate(tmp_path_factory.mktemp("data") / "data", spec, {"train": 5, "val": 0, "test": 3}, seed=1)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(exchange, "CLIPS_A_FILE", 2)
    monkeypatch.setattr(exchange, "_AT_ONCE", 2)


@pytest.mark.parametrize(("form", "video"), WAYS)
def test_export_then_import_is_the_same_dataset(dataset, tmp_path, form, video):
    export(dataset, form, tmp_path / "out", video)
    again = import_(tmp_path / "out", tmp_path / "again")
    assert again.fingerprint == dataset.fingerprint
    for split in ("train", "test"):
        np.testing.assert_array_equal(again.split(split).frames, dataset.split(split).frames)
        np.testing.assert_array_equal(again.split(split).audio, dataset.split(split).audio)
        for name, values in dataset.split(split).truth.items():
            np.testing.assert_array_equal(again.split(split).truth[name], values)
    assert (tmp_path / "again" / "dataset.json").read_bytes() == (dataset.path / "dataset.json").read_bytes()


def test_separate_files_are_what_they_say(dataset, tmp_path):
    export(dataset, "clips", tmp_path / "out")
    audio, rate = soundfile.read(tmp_path / "out" / "test" / "000002.wav", dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(audio, dataset.split("test").audio[2])
    told = json.loads((tmp_path / "out" / "test" / "000002.json").read_text())
    assert told["label"] == dataset.split("test").truth["label"][2].tolist()
    assert (tmp_path / "out" / "test" / "000002.mp4").stat().st_size > 0


def test_tars_hold_one_key_a_clip_in_order(dataset, tmp_path):
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
    clip = loaded["train"].select_columns(["index", "frames", "position"])[3]
    np.testing.assert_array_equal(np.stack([np.array(f) for f in clip["frames"]]), dataset.split("train").frames[3])
    np.testing.assert_array_equal(clip["position"], dataset.split("train").truth["position"][3])


def test_webdatasets_own_loader_reads_it(dataset, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    export(dataset, "webdataset", tmp_path / "out")
    urls = [str(path) for path in sorted((tmp_path / "out").glob("train-*.tar"))]
    clips = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(clips) == 5
    np.testing.assert_array_equal(clips[3]["frames.npy"], dataset.split("train").frames[3])


def damage(folder, form):
    """Change one pixel, tone or truth in an export."""
    if form == "clips":
        path = folder / "train" / "000001.json"
        path.write_text(path.read_text().replace('"image": [', '"image": [1'))
    else:
        path = next(iter(sorted(folder.rglob("train-*.tar" if form == "webdataset" else "train-*.parquet"))))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("form", ["clips", "webdataset", "hf"])
def test_a_changed_export_is_refused(dataset, tmp_path, form):
    export(dataset, form, tmp_path / "out")
    damage(tmp_path / "out", form)
    with pytest.raises(InputError, match=r"cannot be read|are not those of|is missing|has frames"):
        import_(tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match="is not a dataset"):
        open_dataset(tmp_path / "again")


@pytest.mark.parametrize(("form", "lost"), [("clips", "train/000003.wav"), ("hf", "data/train-00001.parquet")])
def test_missing_clips_are_told(dataset, tmp_path, form, lost):
    export(dataset, form, tmp_path / "out")
    (tmp_path / "out" / lost).unlink()
    with pytest.raises(InputError, match=r"clip 3 of train in .* cannot be read|clip 2 of train is missing"):
        import_(tmp_path / "out", tmp_path / "again")


def test_an_export_appears_whole_or_not_at_all(dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "_truth_json", None)
        with pytest.raises(TypeError):
            export(dataset, "clips", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(dataset, "clips", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_mistakes_are_told(dataset, tmp_path):
    with pytest.raises(InputError, match="unknown form 'webdatset': did you mean webdataset"):
        export(dataset, "webdatset", tmp_path / "out")
    with pytest.raises(InputError, match="unknown video 'mp5': did you mean mp4"):
        export(dataset, "clips", tmp_path / "out", "mp5")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists: choose another"):
        export(dataset, "clips", tmp_path / "out")
    with pytest.raises(InputError, match="is not a dataset"):
        import_(tmp_path / "out", tmp_path / "again")
    with pytest.raises(InputError, match="is no export"):
        import_(dataset.path, tmp_path / "again")
