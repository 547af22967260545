"""The forms of an export. Each form writes and reads the clips of a split without loss."""

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

from mmnist_av.clip_format import ClipFormat
from mmnist_av.families import ArrayType, Record, find
from mmnist_av.manifest import array_types, format_of
from mmnist_av.preview.movie import read_movie, write_movie
from mmnist_av.system.errors import InputError

FILE = 200_000_000  # bytes of frames and sound in a tar or parquet file, at most
LOSSLESS = {  # ffmpeg's options by channels
    1: ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "gray"],
    3: ["-c:v", "libx264rgb", "-qp", "0", "-pix_fmt", "rgb24"],
}

# Exceptions from reading a damaged file, beside the form's own errors
UNREADABLE = OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, SyntaxError


@dataclass(frozen=True)
class Clip:
    """One clip that is exported or imported."""

    index: int
    frames: NDArray[np.uint8]  # (T, H, W) or (T, H, W, 3)
    audio: NDArray[np.int16]  # (samples,)
    arrays: Mapping[str, NDArray[Any]]  # stored annotations by name
    record: Mapping[str, NDArray[Any]]  # fields of the family's record; {} without one


@dataclass(frozen=True)
class Layout:
    """What each clip of a dataset consists of."""

    format: ClipFormat
    arrays: tuple[str, ...]  # names of stored annotations
    record: Record | None
    types: Mapping[str, ArrayType]  # of frames, audio, stored annotations and the record's fields, by name


def layout_of(manifest: Mapping[str, Any]) -> Layout:
    """Return the layout of the clips of a manifest's dataset."""
    clips, types = format_of(manifest), array_types(manifest)
    record = find(manifest["family"]).record(manifest)
    arrays = tuple(name for name in types if name not in clips.arrays)
    return Layout(clips, arrays, record, {**types, **(record.fields if record else {})})


def _wav(audio: NDArray[np.int16], rate: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, audio, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def _unwav(content: bytes) -> NDArray[np.int16]:
    audio, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    return audio


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _unnpy(content: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def record_to_json(record: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the fields of a record as numbers and lists."""
    return {name: values.tolist() for name, values in record.items()}


def record_from_json(entries: Mapping[str, Any], record: Record | None) -> dict[str, NDArray[Any]]:
    """Return the fields of a record from numbers and lists. Raises KeyError or ValueError if they do not fit."""
    return {name: np.array(entries[name], kind.dtype) for name, kind in (record.fields.items() if record else ())}


# ------------------------------------------------------------------------------------------------ clips


def _write_clips(out: Path, layout: Layout, split: str, clips: Iterator[Clip], video: str) -> None:
    """Write the files of each clip to the folder `split`.

    000003.mp4 (or the folder 000003 of pictures), 000003.wav, 000003.json (the record), 000003.flow.npy (annotations).
    """
    folder = out / split
    folder.mkdir()
    for clip in clips:
        path = folder / f"{clip.index:06d}"
        if video == "mp4":
            write_movie(path.with_suffix(".mp4"), clip.frames, layout.format.fps, LOSSLESS[layout.format.channels])
        else:
            path.mkdir()
            for number, frame in enumerate(clip.frames):
                imageio.imwrite(path / f"{number:04d}.png", frame)
        path.with_suffix(".wav").write_bytes(_wav(clip.audio, layout.format.sample_rate))
        if layout.record is not None:
            path.with_suffix(".json").write_text(json.dumps(record_to_json(clip.record)) + "\n")
        for name, array in clip.arrays.items():
            path.with_suffix(f".{name}.npy").write_bytes(_npy(array))


def _read_clips(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    for index in range(count):
        try:
            clip = _read_clip(folder / split / f"{index:06d}", layout, index)
        except UNREADABLE as error:
            raise InputError(f"clip {index} of {split} in {folder} cannot be read: {error}") from error
        yield clip


def _read_clip(path: Path, layout: Layout, index: int) -> Clip:
    clips, record = layout.format, {}
    if layout.record is not None:
        record = record_from_json(json.loads(path.with_suffix(".json").read_text()), layout.record)
    audio = _unwav(path.with_suffix(".wav").read_bytes())
    if path.with_suffix(".mp4").exists():
        frames = read_movie(path.with_suffix(".mp4"), clips.height, clips.width, clips.channels)
    else:
        frames = np.stack([imageio.imread(path / f"{number:04d}.png") for number in range(clips.frames)])
    arrays = {name: _unnpy(path.with_suffix(f".{name}.npy").read_bytes()) for name in layout.arrays}
    return Clip(index, frames, audio, arrays, record)


# ------------------------------------------------------------------------------------------------ webdataset


def _write_tars(out: Path, layout: Layout, split: str, clips: Iterator[Clip]) -> None:
    """Write split-000000.tar and on, with members 000003.frames.npy, 000003.audio.wav, 000003.truth.json and so on."""
    for number, some in enumerate(_batched(clips, layout)):
        with tarfile.open(out / f"{split}-{number:06d}.tar", "w") as tar:
            for clip in some:
                members = {"frames.npy": _npy(clip.frames), "audio.wav": _wav(clip.audio, layout.format.sample_rate)}
                if layout.record is not None:
                    members[f"{layout.record.name}.json"] = json.dumps(record_to_json(clip.record)).encode()
                members |= {f"{name}.npy": _npy(array) for name, array in clip.arrays.items()}
                for kind, content in members.items():
                    member = tarfile.TarInfo(f"{clip.index:06d}.{kind}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def _read_tars(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    members_per_clip = 2 + (layout.record is not None) + len(layout.arrays)
    for path in sorted(folder.glob(f"{split}-*.tar")):
        found: dict[str, bytes] = {}
        try:
            with tarfile.open(path) as tar:
                for member in tar:
                    key, kind = member.name.split(".", 1)
                    content = tar.extractfile(member)
                    found[kind] = b"" if content is None else content.read()
                    if len(found) == members_per_clip:
                        yield _clip_of_members(int(key), found, layout)
                        found = {}
        except (tarfile.TarError, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _clip_of_members(index: int, members: Mapping[str, bytes], layout: Layout) -> Clip:
    record = {}
    if layout.record is not None:
        record = record_from_json(json.loads(members[f"{layout.record.name}.json"]), layout.record)
    arrays = {name: _unnpy(members[f"{name}.npy"]) for name in layout.arrays}
    return Clip(index, _unnpy(members["frames.npy"]), _unwav(members["audio.wav"]), arrays, record)


def _batched(clips: Iterator[Clip], layout: Layout) -> Iterator[list[Clip]]:
    """Yield as many clips at a time as a file may hold."""
    some: list[Clip] = []
    for clip in clips:
        some.append(clip)
        if (len(some) + 1) * layout.format.clip_bytes > FILE:
            yield some
            some = []
    if some:
        yield some


# ------------------------------------------------------------------------------------------------ Hugging Face


def _write_parquet(out: Path, layout: Layout, split: str, clips: Iterator[Clip]) -> None:
    """Write data/split-00000.parquet and on, one row per clip.

    Frames are PNG, sound is WAV, the record's fields are lists, stored annotations are the bytes of .npy files.
    """
    (out / "data").mkdir(exist_ok=True)
    for number, some in enumerate(_batched(clips, layout)):
        rows = [
            {
                "index": clip.index,
                "frames": [{"bytes": _png(frame), "path": None} for frame in clip.frames],
                "audio": {"bytes": _wav(clip.audio, layout.format.sample_rate), "path": None},
                **record_to_json(clip.record),
                **{name: _npy(array) for name, array in clip.arrays.items()},
            }
            for clip in some
        ]
        table = pa.Table.from_pylist(rows, schema=parquet_schema(layout))
        pq.write_table(table, out / "data" / f"{split}-{number:05d}.parquet", row_group_size=50)


def parquet_schema(layout: Layout) -> Any:
    """Return Arrow's schema, with the features from which Hugging Face's `datasets` decodes pictures and sound."""
    blob = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"index": pa.int64(), "frames": pa.list_(blob), "audio": blob}
    features: dict[str, Any] = {
        "index": {"dtype": "int64", "_type": "Value"},
        "frames": {"feature": {"_type": "Image"}, "_type": "List"},
        "audio": {"sampling_rate": layout.format.sample_rate, "_type": "Audio"},
    }
    for name, kind in layout.record.fields.items() if layout.record else ():
        column = pa.from_numpy_dtype(kind.dtype)
        feature: dict[str, Any] = {"dtype": kind.dtype.name, "_type": "Value"}
        for _ in kind.shape:
            column, feature = pa.list_(column), {"feature": feature, "_type": "List"}
        columns[name], features[name] = column, feature
    for name in layout.arrays:
        columns[name], features[name] = pa.binary(), {"dtype": "binary", "_type": "Value"}
    return pa.schema(columns.items(), {"huggingface": json.dumps({"info": {"features": features}})})


def _read_parquet(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    for row in file.read_row_group(group).to_pylist():
                        yield _clip_of_row(row, layout)
        except (pa.ArrowException, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _clip_of_row(row: Mapping[str, Any], layout: Layout) -> Clip:
    frames = np.stack([imageio.imread(frame["bytes"], extension=".png") for frame in row["frames"]])
    arrays = {name: _unnpy(row[name]) for name in layout.arrays}
    return Clip(row["index"], frames, _unwav(row["audio"]["bytes"]), arrays, record_from_json(row, layout.record))


def _png(frame: NDArray[np.uint8]) -> bytes:
    return imageio.imwrite("<bytes>", frame, extension=".png")


# ------------------------------------------------------------------------------------------------ the forms

Writer = Callable[[Path, Layout, str, Iterator[Clip]], None]
Reader = Callable[[Path, Layout, str, int], Iterator[Clip]]


@dataclass(frozen=True)
class Form:
    """A form: how clips are written and read."""

    writer: Writer
    reader: Reader
    mark: str  # a pattern that matches a file of this form, and of no other
    rows: Callable[[Layout], str]  # the rows of the card's table of files


def _clip_rows(layout: Layout, video: str) -> str:
    quality = "H.264 without loss"
    frames = {"mp4": f"| `train/000000.mp4`, ... | a clip's frames: {quality} |\n"}
    rows = frames.get(video, "| `train/000000/0000.png`, ... | a clip's frames |\n")
    rows += "| `train/000000.wav`, ... | its sound, 16 bit |\n"
    if layout.record is not None:
        rows += f"| `train/000000.json`, ... | its {layout.record.name}: {', '.join(layout.record.fields)} |\n"
    return rows + "".join(f"| `train/000000.{name}.npy`, ... | its {name} |\n" for name in layout.arrays)


def _tar_rows(layout: Layout) -> str:
    record = [f"{layout.record.name}.json"] if layout.record else []
    kinds = ["frames.npy", "audio.wav", *record, *(f"{name}.npy" for name in layout.arrays)]
    return f"| `train-000000.tar`, ... | {', '.join(f'000000.{kind}' for kind in kinds)}, and so on |\n"


def _parquet_rows(layout: Layout) -> str:
    record = list(layout.record.fields) if layout.record else []
    rest = ", ".join(["", *record, *(f"{name} (the bytes of an .npy file)" for name in layout.arrays)])
    return f"| `data/train-00000.parquet`, ... | one row per clip: frames (PNG), audio (WAV){rest} |\n"


FORMS = {
    "clips": Form(
        writer=functools.partial(_write_clips, video="mp4"),
        reader=_read_clips,
        mark="*/*.wav",
        rows=functools.partial(_clip_rows, video="mp4"),
    ),
    "clips-png": Form(
        writer=functools.partial(_write_clips, video="png"),
        reader=_read_clips,
        mark="*/*.wav",
        rows=functools.partial(_clip_rows, video="png"),
    ),
    "webdataset": Form(writer=_write_tars, reader=_read_tars, mark="*.tar", rows=_tar_rows),
    "hf": Form(writer=_write_parquet, reader=_read_parquet, mark="data/*.parquet", rows=_parquet_rows),
}
