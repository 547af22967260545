"""The form `hf`: parquet files, which Hugging Face's `datasets` loads."""

import json
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
from mmnist_av.exchange.layout import Clip, Form, Layout, batched
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import regular
from mmnist_av.system.npy import read_npy


def _write(out: Path, layout: Layout, split: str, clips: Iterator[Clip]) -> None:
    """Write data/split-00000.parquet and on, one row per clip.

    Frames are PNG, sound is WAV, the record's fields are lists, stored annotations are the bytes of .npy files.
    """
    (out / "data").mkdir(exist_ok=True)
    for number, some in enumerate(batched(clips, layout)):
        rows = [
            {
                "index": clip.index,
                "frames": [{"bytes": to_png(frame), "path": None} for frame in clip.frames],
                "audio": {"bytes": to_wav(clip.audio, layout.format.sample_rate), "path": None},
                **record_to_json(clip.record),
                **{name: to_npy(array) for name, array in clip.arrays.items()},
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


def _read(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(regular(path)) as file:
                for group in range(file.num_row_groups):
                    _refuse_large(file.metadata.row_group(group), layout, split, count)
                    for row in file.read_row_group(group).to_pylist():
                        yield _clip_of_row(row, layout)
        except (pa.ArrowException, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {reason(error)}") from error


def _refuse_large(group: pq.RowGroupMetaData, layout: Layout, split: str, count: int) -> None:
    """Raise ValueError for a group of rows with more clips or bytes than the split can have."""
    if group.num_rows > count:
        raise ValueError(f"it has {group.num_rows} clips or more; {split} has {count}")
    layout.refuse_large("a row", group.total_byte_size // max(1, group.num_rows))


def _clip_of_row(row: Mapping[str, Any], layout: Layout) -> Clip:
    clips = layout.format
    if len(row["frames"]) != clips.frames:
        raise ValueError(f"a clip has {len(row['frames'])} frames, not {clips.frames}")
    frames = np.stack([from_png(frame["bytes"], clips) for frame in row["frames"]])
    arrays = {name: read_npy(row[name]) for name in layout.arrays}
    audio, record = from_wav(row["audio"]["bytes"], clips), record_from_json(row, layout.record)
    return Clip(operator.index(row["index"]), frames, audio, arrays, record)


def _rows(layout: Layout) -> str:
    record = list(layout.record.fields) if layout.record else []
    rest = ", ".join(["", *record, *(f"{name} (the bytes of an .npy file)" for name in layout.arrays)])
    return f"| `data/train-00000.parquet`, ... | one row per clip: frames (PNG), audio (WAV){rest} |\n"


HUGGING_FACE = Form(writer=_write, reader=_read, mark="data/*.parquet", rows=_rows)
