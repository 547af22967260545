"""The form `webdataset`: tars with several members per clip."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmnist_av.exchange.codecs import UNREADABLE, from_wav, reason, record_from_json, record_to_json, to_npy, to_wav
from mmnist_av.exchange.layout import Clip, Form, Layout, batched
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import parse_json, regular
from mmnist_av.system.npy import read_npy


def _write(out: Path, layout: Layout, split: str, clips: Iterator[Clip]) -> None:
    """Write split-000000.tar and on, with members 000003.frames.npy, 000003.audio.wav, 000003.truth.json and so on."""
    for number, some in enumerate(batched(clips, layout)):
        with tarfile.open(out / f"{split}-{number:06d}.tar", "w") as tar:
            for clip in some:
                members = {
                    "frames.npy": to_npy(clip.frames),
                    "audio.wav": to_wav(clip.audio, layout.format.sample_rate),
                }
                if layout.record is not None:
                    members[f"{layout.record.name}.json"] = json.dumps(record_to_json(clip.record)).encode()
                members |= {f"{name}.npy": to_npy(array) for name, array in clip.arrays.items()}
                for kind, content in members.items():
                    member = tarfile.TarInfo(f"{clip.index:06d}.{kind}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def _read(folder: Path, layout: Layout, split: str, count: int) -> Iterator[Clip]:
    members_per_clip = 2 + (layout.record is not None) + len(layout.arrays)
    for path in sorted(folder.glob(f"{split}-*.tar")):
        found: dict[str, bytes] = {}
        try:
            with tarfile.open(regular(path), "r:") as tar:  # not compressed: a few bytes would become gigabytes
                for member in tar:
                    key, _, kind = member.name.removeprefix("./").partition(".")
                    if not (key.isdecimal() and kind):
                        raise ValueError(f"000000.frames.npy and the like are expected, not a member {member.name}")
                    layout.refuse_large(member.name, member.size)
                    content = tar.extractfile(member) if member.isfile() else None  # a link leads to another member
                    found[kind] = b"" if content is None else content.read()
                    if len(found) == members_per_clip:
                        yield _clip_of_members(int(key), found, layout)
                        found = {}
        except tarfile.ReadError as error:
            raise InputError(f"{path} cannot be read: {error}; if it is compressed, decompress it first") from error
        except (tarfile.TarError, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read: {reason(error)}") from error


def _clip_of_members(index: int, members: Mapping[str, bytes], layout: Layout) -> Clip:
    record = {}
    if layout.record is not None:
        record = record_from_json(parse_json(members[f"{layout.record.name}.json"]), layout.record)
    arrays = {name: read_npy(members[f"{name}.npy"]) for name in layout.arrays}
    return Clip(index, read_npy(members["frames.npy"]), from_wav(members["audio.wav"], layout.format), arrays, record)


def _rows(layout: Layout) -> str:
    record = [f"{layout.record.name}.json"] if layout.record else []
    kinds = ["frames.npy", "audio.wav", *record, *(f"{name}.npy" for name in layout.arrays)]
    return f"| `train-000000.tar`, ... | {', '.join(f'000000.{kind}' for kind in kinds)}, and so on |\n"


WEBDATASET = Form(writer=_write, reader=_read, mark="*.tar", rows=_rows)
