"""The forms that clips are exported in and read back from: each writes and reads a split, losing nothing."""

import functools
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from numpy.typing import NDArray

from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import FIELDS, Truth
from mmnist_av.preview.movie import read_movie, write_movie
from mmnist_av.system.errors import InputError

FILE = 200_000_000  # bytes of frames and sound in a tar or parquet file, at most
LOSSLESS = ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "gray"]  # ffmpeg's options

# What reading a damaged file raises, beside the form's own errors
UNREADABLE = OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, SyntaxError


@dataclass(frozen=True)
class Clip:
    """One clip on its way."""

    index: int
    frames: NDArray[np.uint8]  # (T, H, W)
    audio: NDArray[np.int16]  # (samples,)
    truth: Truth  # of this clip alone


def _wav(audio: NDArray[np.int16], rate: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, audio, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def _unwav(content: bytes) -> NDArray[np.int16]:
    audio, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    return audio


def _truth_json(truth: Truth) -> dict[str, Any]:
    return {name: values[0].tolist() for name, values in truth.arrays().items()}


def _untruth_json(told: Mapping[str, Any]) -> Truth:
    return Truth(**{name: np.array([told[name]], kind) for name, (_, kind) in FIELDS.items()})


# ------------------------------------------------------------------------------------------------ clips


def _write_clips(out: Path, spec: Spec, split: str, clips: Iterator[Clip], video: str) -> None:
    """split/000003.mp4 (or the folder split/000003 of pictures), split/000003.wav and split/000003.json (the truth)."""
    folder = out / split
    folder.mkdir()
    for clip in clips:
        path = folder / f"{clip.index:06d}"
        if video == "mp4":
            write_movie(path.with_suffix(".mp4"), clip.frames, spec.fps, LOSSLESS)
        else:
            path.mkdir()
            for number, frame in enumerate(clip.frames):
                imageio.imwrite(path / f"{number:04d}.png", frame)
        path.with_suffix(".wav").write_bytes(_wav(clip.audio, spec.sample_rate))
        path.with_suffix(".json").write_text(json.dumps(_truth_json(clip.truth)) + "\n")


def _read_clips(folder: Path, spec: Spec, split: str, count: int) -> Iterator[Clip]:
    for index in range(count):
        path = folder / split / f"{index:06d}"
        try:
            truth = _untruth_json(json.loads(path.with_suffix(".json").read_text()))
            audio = _unwav(path.with_suffix(".wav").read_bytes())
            if path.with_suffix(".mp4").exists():
                frames = read_movie(path.with_suffix(".mp4"), spec.canvas, spec.canvas)
            else:
                frames = np.stack([imageio.imread(path / f"{number:04d}.png") for number in range(spec.frames)])
        except UNREADABLE as error:
            raise InputError(f"clip {index} of {split} in {folder} cannot be read: {error}") from error
        yield Clip(index, frames, audio, truth)


# ------------------------------------------------------------------------------------------------ webdataset


def _write_tars(out: Path, spec: Spec, split: str, clips: Iterator[Clip]) -> None:
    """split-000000.tar and on, of members 000003.frames.npy, 000003.audio.wav and 000003.truth.json."""
    for number, some in enumerate(_batched(clips, spec)):
        with tarfile.open(out / f"{split}-{number:06d}.tar", "w") as tar:
            for clip in some:
                frames = io.BytesIO()
                np.save(frames, clip.frames)
                for kind, content in (
                    ("frames.npy", frames.getvalue()),
                    ("audio.wav", _wav(clip.audio, spec.sample_rate)),
                    ("truth.json", json.dumps(_truth_json(clip.truth)).encode()),
                ):
                    member = tarfile.TarInfo(f"{clip.index:06d}.{kind}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def _read_tars(folder: Path, spec: Spec, split: str, count: int) -> Iterator[Clip]:
    for path in sorted(folder.glob(f"{split}-*.tar")):
        found: dict[str, bytes] = {}
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    key, kind = member.name.split(".", 1)
                    content = tar.extractfile(member)
                    found[kind] = b"" if content is None else content.read()
                    if len(found) == 3:
                        frames = np.load(io.BytesIO(found["frames.npy"]), allow_pickle=False)
                        truth = _untruth_json(json.loads(found["truth.json"]))
                        yield Clip(int(key), frames, _unwav(found["audio.wav"]), truth)
                        found = {}
        except (tarfile.TarError, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _batched(clips: Iterator[Clip], spec: Spec) -> Iterator[list[Clip]]:
    """As many clips at a time as a file may hold."""
    some: list[Clip] = []
    for clip in clips:
        some.append(clip)
        if (len(some) + 1) * spec.clip_bytes > FILE:
            yield some
            some = []
    if some:
        yield some


# ------------------------------------------------------------------------------------------------ Hugging Face


def _write_parquet(out: Path, spec: Spec, split: str, clips: Iterator[Clip]) -> None:
    """data/split-00000.parquet and on: a row a clip, its frames as PNG, its sound as WAV, its truth as lists."""
    (out / "data").mkdir(exist_ok=True)
    for number, some in enumerate(_batched(clips, spec)):
        rows = [
            {
                "index": clip.index,
                "frames": [{"bytes": _png(frame), "path": None} for frame in clip.frames],
                "audio": {"bytes": _wav(clip.audio, spec.sample_rate), "path": None},
                **_truth_json(clip.truth),
            }
            for clip in some
        ]
        table = pa.Table.from_pylist(rows, schema=parquet_schema(spec))
        pq.write_table(table, out / "data" / f"{split}-{number:05d}.parquet", row_group_size=50)


def parquet_schema(spec: Spec) -> Any:
    """Arrow's schema, with the features that Hugging Face's `datasets` decodes pictures and sound by."""
    blob = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"index": pa.int64(), "frames": pa.list_(blob), "audio": blob}
    features: dict[str, Any] = {
        "index": {"dtype": "int64", "_type": "Value"},
        "frames": {"feature": {"_type": "Image"}, "_type": "List"},
        "audio": {"sampling_rate": spec.sample_rate, "_type": "Audio"},
    }
    for name, (axes, kind) in FIELDS.items():
        column = pa.from_numpy_dtype(kind)
        feature: dict[str, Any] = {"dtype": np.dtype(kind).name, "_type": "Value"}
        for _ in axes:
            column, feature = pa.list_(column), {"feature": feature, "_type": "List"}
        columns[name], features[name] = column, feature
    return pa.schema(columns.items(), {"huggingface": json.dumps({"info": {"features": features}})})


def _read_parquet(folder: Path, spec: Spec, split: str, count: int) -> Iterator[Clip]:
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    for row in file.read_row_group(group).to_pylist():
                        frames = np.stack([imageio.imread(frame["bytes"], extension=".png") for frame in row["frames"]])
                        yield Clip(row["index"], frames, _unwav(row["audio"]["bytes"]), _untruth_json(row))
        except (pa.ArrowException, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _png(frame: NDArray[np.uint8]) -> bytes:
    return imageio.imwrite("<bytes>", frame, extension=".png")


# ------------------------------------------------------------------------------------------------ the forms

Writer = Callable[[Path, Spec, str, Iterator[Clip]], None]
Reader = Callable[[Path, Spec, str, int], Iterator[Clip]]


@dataclass(frozen=True)
class Form:
    """How clips are written and read."""

    writer: Writer
    reader: Reader
    mark: str  # a pattern that a file of this form, and of no other, has
    files: str  # what its files are, a row each of the card's table


MP4 = "| `train/000000.mp4`, and so on | a clip's frames: H.264 without loss, grey |\n"
PNG = "| `train/000000/0000.png`, and so on | a clip's frames |\n"
EACH = """| `train/000000.wav` | its sound, 16 bit |
| `train/000000.json` | what happened: label, image, position, size, event, block_place, block_size, block_first_frame |
"""
TAR = """| `train-000000.tar`, and so on | clips 000000.frames.npy, 000000.audio.wav and 000000.truth.json, and so on |
"""
PARQUET = """| `data/train-00000.parquet`, and so on | a row a clip: frames (PNG), audio (WAV), and what happened |
"""

FORMS = {
    "clips": Form(functools.partial(_write_clips, video="mp4"), _read_clips, "*/*.wav", MP4 + EACH),
    "clips-png": Form(functools.partial(_write_clips, video="png"), _read_clips, "*/*.wav", PNG + EACH),
    "webdataset": Form(_write_tars, _read_tars, "*.tar", TAR),
    "hf": Form(_write_parquet, _read_parquet, "data/*.parquet", PARQUET),
}
