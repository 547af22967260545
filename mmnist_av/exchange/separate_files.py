"""The forms `clips` and `clips-png`: separate files for each clip."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmnist_av.exchange.codecs import (
    UNREADABLE,
    from_png,
    from_wav,
    reason,
    record_from_json,
    record_to_json,
    to_npy,
    to_png,
    to_wav,
)
from mmnist_av.exchange.layout import Clip, Form, Layout
from mmnist_av.preview.movie import read_movie, write_movie
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import parse_json, regular
from mmnist_av.system.npy import read_npy

LOSSLESS = {  # ffmpeg's options by channels
    1: ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "gray"],
    3: ["-c:v", "libx264rgb", "-qp", "0", "-pix_fmt", "rgb24"],
}


def _write(out: Path, layout: Layout, split: str, clips: Iterator[Clip], video: str) -> None:
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
                (path / f"{number:04d}.png").write_bytes(to_png(frame))
        path.with_suffix(".wav").write_bytes(to_wav(clip.audio, layout.format.sample_rate))
        if layout.record is not None:
            path.with_suffix(".json").write_text(json.dumps(record_to_json(clip.record)) + "\n")
        for name, array in clip.arrays.items():
            path.with_suffix(f".{name}.npy").write_bytes(to_npy(array))


def _read(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    for index in range(count):
        try:
            clip = _read_clip(folder / split / f"{index:06d}", layout, index)
        except UNREADABLE as error:
            raise InputError(f"clip {index} of {split} in {folder} cannot be read: {reason(error)}") from error
        yield clip
    if any((folder / split).glob(f"{count:06d}*")):
        raise InputError(f"{folder / split} has more than the {count} clips of the dataset: move the others away")


def _read_clip(path: Path, layout: Layout, index: int) -> Clip:
    def content(ending: str) -> bytes:
        file = regular(Path(f"{path}{ending}"))
        layout.refuse_large(file.name, file.stat().st_size)
        return file.read_bytes()

    clips, record, movie = layout.format, {}, path.with_suffix(".mp4")
    if layout.record is not None:
        record = record_from_json(parse_json(content(".json")), layout.record)
    if movie.exists():
        frames = read_movie(regular(movie), clips.height, clips.width, clips.channels, most=clips.frames)
    else:
        if os.path.lexists(path / f"{clips.frames:04d}.png"):
            raise ValueError(f"it has more than {clips.frames} pictures")
        frames = np.stack([from_png(content(f"/{number:04d}.png"), clips) for number in range(clips.frames)])
    arrays = {name: read_npy(content(f".{name}.npy")) for name in layout.arrays}
    return Clip(index, frames, from_wav(content(".wav"), clips), arrays, record)


def _rows(layout: Layout, video: str) -> str:
    quality = "H.264 without loss"
    frames = {"mp4": f"| `train/000000.mp4`, ... | a clip's frames: {quality} |\n"}
    rows = frames.get(video, "| `train/000000/0000.png`, ... | a clip's frames |\n")
    rows += "| `train/000000.wav`, ... | its sound, 16 bit |\n"
    if layout.record is not None:
        rows += f"| `train/000000.json`, ... | its {layout.record.name}: {', '.join(layout.record.fields)} |\n"
    return rows + "".join(f"| `train/000000.{name}.npy`, ... | its {name} |\n" for name in layout.arrays)


CLIPS, CLIPS_PNG = (
    Form(
        writer=functools.partial(_write, video=video),
        reader=_read,
        mark="*/*.wav",
        rows=functools.partial(_rows, video=video),
    )
    for video in ("mp4", "png")
)
