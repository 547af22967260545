"""Datasets in forms that others read, and back: separate files, webdataset tars, Hugging Face folders.

Every form holds each clip's frames, sound and truth without loss, beside the dataset.json of the dataset itself.
"""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import soundfile
from numpy.typing import NDArray

from mmnist_av.card import CARD, card, hugging_face_header
from mmnist_av.errors import InputError, unknown_name
from mmnist_av.files import sync_folder, written_whole
from mmnist_av.m3so.generate import Rendered, asked_of, write_once
from mmnist_av.m3so.spec import Spec, spec_from_dict
from mmnist_av.m3so.world import Truth
from mmnist_av.progress import progress_bar
from mmnist_av.store import MANIFEST, Dataset, Split, clips_of, open_dataset, read_manifest, verify

VIDEOS = ("mp4", "png")
CLIPS_A_FILE = 500  # of a tar or parquet file: 200 MB at most

_AT_ONCE = 64  # clips read before they are written again


@dataclass(frozen=True)
class Clip:
    """One clip on its way."""

    index: int
    frames: NDArray[np.uint8]  # (T, H, W)
    audio: NDArray[np.int16]  # (samples,)
    truth: Truth  # of this clip alone


def export(dataset: Dataset, form: str, out: Path, video: str = "mp4") -> None:
    """Write `dataset` to the new folder `out` as `form`: clips, webdataset or hf.

    The folder appears when all is in it. Raises InputError for another form or video, and if `out` exists or `dataset`
    is not as it was written.
    """
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if video not in VIDEOS:
        raise unknown_name("video", video, VIDEOS)
    if out.exists():
        raise InputError(f"{out} exists: choose another --out")
    wrong = verify(dataset.path)
    if wrong:
        raise InputError(f"{dataset.path} is damaged: {'; '.join(wrong)}")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write = FORMS[form].writer
    total = sum(map(len, clips_of(dataset.manifest).values()))
    with progress_bar(f"export, {form}, clips", total) as done:
        for split in clips_of(dataset.manifest):
            if len(dataset.split(split)):
                write(part, dataset.spec, split, _told(_clips(dataset.split(split)), done), video)
    shutil.copyfile(dataset.path / MANIFEST, part / MANIFEST)
    header = hugging_face_header(dataset.manifest) if form == "hf" else ""
    (part / CARD).write_text(header + card(dataset.manifest))
    os.sync()
    part.rename(out)
    sync_folder(out.parent)


def import_(folder: Path, out: Path) -> Dataset:
    """Make the dataset that `export` wrote to `folder` again, in the folder `out`: the same bytes.

    Raises InputError if `folder` is no export, or if a clip in it is missing or is not what was exported.
    """
    manifest = read_manifest(folder)
    readers = [form.reader for form in FORMS.values() if any(folder.glob(form.mark))]
    if not readers:
        raise InputError(f"{folder} is no export: it has a {MANIFEST} and no clips of any form")
    write_once(out, asked_of(manifest), Exported(folder, manifest, readers[0]), manifest["files"])
    return open_dataset(out)


class Exported:
    """Clips out of an exported folder: a Source."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], read: "Reader") -> None:
        self._folder, self._read, self._spec = folder, read, spec_from_dict(manifest["spec"])
        self._counts = {split: len(clips) for split, clips in clips_of(manifest).items()}
        self._truths: dict[str, list[Truth]] = {}

    def truth(self, split: str) -> Mapping[str, NDArray[Any]]:
        """See generate.Source; once all of the split's clips were rendered."""
        parts = [truth.arrays() for truth in self._truths[split]]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def rendered(self, split: str, first: int) -> Generator[Rendered, None, None]:
        """See generate.Source. Raises InputError where clips are missing or not readable."""
        truths, waiting = self._truths.setdefault(split, []), []
        truths.clear()
        for clip in self._clips(split):
            truths.append(clip.truth)
            if clip.index >= first:
                waiting.append(clip)
            if len(waiting) == _AT_ONCE:
                yield _together(waiting)
                waiting = []
        if waiting:
            yield _together(waiting)
        if len(truths) != self._counts[split]:
            raise InputError(f"{self._folder} has {len(truths)} clips of {split}, not {self._counts[split]}")

    def _clips(self, split: str) -> Iterator[Clip]:
        shape = (self._spec.frames, self._spec.canvas, self._spec.canvas)
        clips = self._read(self._folder, self._spec, split, self._counts[split])
        for number, clip in enumerate(clips):
            if clip.index != number:
                raise InputError(f"{self._folder}: clip {number} of {split} is missing")
            if clip.frames.shape != shape or clip.audio.shape != (self._spec.samples,):
                raise InputError(f"{self._folder}: clip {number} of {split} has frames of {clip.frames.shape}")
            yield clip


def _together(clips: list[Clip]) -> Rendered:
    return np.stack([clip.frames for clip in clips]), np.stack([clip.audio for clip in clips])


def _clips(split: Split) -> Iterator[Clip]:
    for index in range(len(split)):
        yield Clip(index, split.frames[index], split.audio[index], split.truth_of(slice(index, index + 1)))


def _told(clips: Iterator[Clip], done: Callable[[int], None]) -> Iterator[Clip]:
    for clip in clips:
        yield clip
        done(1)


# ------------------------------------------------------------------------------------------------ what all share


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
    return Truth(**{name: np.array([told[name]], kind) for name, kind in TRUTH_TYPES.items()})


TRUTH_TYPES = {
    "label": np.uint8,
    "image": np.int32,
    "position": np.int16,
    "size": np.int16,
    "event": np.uint8,
    "block_place": np.int16,
    "block_size": np.int16,
    "block_first_frame": np.int16,
}


# ------------------------------------------------------------------------------------------------ clips


def _write_clips(out: Path, spec: Spec, split: str, clips: Iterator[Clip], video: str) -> None:
    """split/000003.mp4 (or the folder split/000003 of pictures), split/000003.wav and split/000003.json (the truth)."""
    folder = out / split
    folder.mkdir()
    for clip in clips:
        path = folder / f"{clip.index:06d}"
        if video == "mp4":
            _write_lossless(path.with_suffix(".mp4"), clip.frames, spec.fps)
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
                frames = _read_lossless(path.with_suffix(".mp4"), spec)
            else:
                frames = np.stack([imageio.imread(path / f"{number:04d}.png") for number in range(spec.frames)])
        except (OSError, ValueError, KeyError, soundfile.SoundFileError) as error:
            raise InputError(f"clip {index} of {split} in {folder} cannot be read: {error}") from error
        yield Clip(index, frames, audio, truth)


def _write_lossless(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    writer = imageio_ffmpeg.write_frames(
        str(path),
        frames.shape[2:0:-1],
        pix_fmt_in="gray",
        pix_fmt_out="gray",
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=1,
        output_params=["-qp", "0"],
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def _read_lossless(path: Path, spec: Spec) -> NDArray[np.uint8]:
    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="gray", bits_per_pixel=8)
    next(reader)  # facts of the movie
    return np.stack([np.frombuffer(frame, np.uint8).reshape(spec.canvas, spec.canvas) for frame in reader])


# ------------------------------------------------------------------------------------------------ webdataset


def _write_tars(out: Path, spec: Spec, split: str, clips: Iterator[Clip], video: str) -> None:
    """split-000000.tar and on, of members 000003.frames.npy, 000003.audio.wav and 000003.truth.json."""
    for number, some in enumerate(_batched(clips)):
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
        except (tarfile.TarError, OSError, ValueError, KeyError, soundfile.SoundFileError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _batched(clips: Iterator[Clip]) -> Iterator[list[Clip]]:
    some: list[Clip] = []
    for clip in clips:
        some.append(clip)
        if len(some) == CLIPS_A_FILE:
            yield some
            some = []
    if some:
        yield some


# ------------------------------------------------------------------------------------------------ Hugging Face


def _write_parquet(out: Path, spec: Spec, split: str, clips: Iterator[Clip], video: str) -> None:
    """data/split-00000.parquet and on: a row a clip, its frames as PNG, its sound as WAV, its truth as lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (out / "data").mkdir(exist_ok=True)
    for number, some in enumerate(_batched(clips)):
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
        with written_whole(out / "data" / f"{split}-{number:05d}.parquet") as part:
            pq.write_table(table, part, row_group_size=50)


def parquet_schema(spec: Spec) -> Any:
    """Arrow's schema, with the features that Hugging Face's `datasets` decodes pictures and sound by."""
    import pyarrow as pa

    blob = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"index": pa.int64(), "frames": pa.list_(blob), "audio": blob}
    features: dict[str, Any] = {
        "index": {"dtype": "int64", "_type": "Value"},
        "frames": {"feature": {"_type": "Image"}, "_type": "List"},
        "audio": {"sampling_rate": spec.sample_rate, "_type": "Audio"},
    }
    depths = {"label": 1, "image": 1, "position": 3, "size": 2, "event": 2, "block_place": 1}
    for name, kind in TRUTH_TYPES.items():
        column = pa.from_numpy_dtype(kind)
        feature: dict[str, Any] = {"dtype": np.dtype(kind).name, "_type": "Value"}
        for _ in range(depths.get(name, 0)):
            column, feature = pa.list_(column), {"feature": feature, "_type": "List"}
        columns[name], features[name] = column, feature
    return pa.schema(columns.items(), {"huggingface": json.dumps({"info": {"features": features}})})


def _read_parquet(folder: Path, spec: Spec, split: str, count: int) -> Iterator[Clip]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    for row in file.read_row_group(group).to_pylist():
                        frames = np.stack([imageio.imread(frame["bytes"], extension=".png") for frame in row["frames"]])
                        yield Clip(row["index"], frames, _unwav(row["audio"]["bytes"]), _untruth_json(row))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, soundfile.SoundFileError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def _png(frame: NDArray[np.uint8]) -> bytes:
    return imageio.imwrite("<bytes>", frame, extension=".png")


# ------------------------------------------------------------------------------------------------ the forms

Writer = Callable[[Path, Spec, str, Iterator[Clip], str], None]
Reader = Callable[[Path, Spec, str, int], Iterator[Clip]]


@dataclass(frozen=True)
class Form:
    """How clips are written and read."""

    writer: Writer
    reader: Reader
    mark: str  # a pattern that a file of this form, and of no other, has


FORMS = {
    "clips": Form(_write_clips, _read_clips, "*/*.wav"),
    "webdataset": Form(_write_tars, _read_tars, "*.tar"),
    "hf": Form(_write_parquet, _read_parquet, "data/*.parquet"),
}
