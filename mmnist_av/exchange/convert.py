"""Export datasets in forms that other tools read, and import them again without loss.

Every form holds each clip's frames, sound and annotations, beside the dataset.json of the dataset itself.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mmnist_av.dataset import Dataset, refuse_damaged, refuse_inside_dataset
from mmnist_av.exchange.card import CARD, card, hugging_face_header
from mmnist_av.exchange.formats import FORMS
from mmnist_av.exchange.layout import Clip, Layout, Reader, layout_of
from mmnist_av.manifest import MANIFEST, clips_of, format_of, read_manifest, request_of
from mmnist_av.sources import Clips, Source, clips_at_once, joined
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import LOCK, PART, sole_writer, sync_folder
from mmnist_av.system.progress import progress_bar
from mmnist_av.writing import write_once


def export(dataset: Dataset, form: str, out: Path) -> None:
    """Write `dataset` to the new folder `out` as `form`: clips, clips-png, webdataset or hf.

    The folder appears when it is complete. Raises InputError for an unknown form, if `out` exists or lies in a dataset,
    and if the dataset is damaged.
    """
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if os.path.lexists(out) or out.name == "..":
        raise InputError(f"{out} exists: choose another --out")
    refuse_inside_dataset(out)
    refuse_damaged(dataset.path)
    part = out.with_name(f".{out.name}{PART}")
    with sole_writer(part):
        try:
            for left in part.iterdir():  # by an export that was killed
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != LOCK:
                    left.unlink()
            _write(dataset, form, part)
            os.sync()
            if out.exists():
                raise InputError(f"{out} was created by another process meanwhile: choose another --out")
        except BaseException:
            shutil.rmtree(part)
            raise
        part.rename(out)
        (out / LOCK).unlink(missing_ok=True)
    sync_folder(out.parent)


def _write(dataset: Dataset, form: str, part: Path) -> None:
    """Write a complete export to the folder `part`."""
    manifest, layout = dataset.manifest, layout_of(dataset.manifest)
    total = sum(map(len, clips_of(manifest).values()))
    with progress_bar(f"export, {form}, clips", total) as advance:
        for split in clips_of(manifest):
            if len(dataset.split(split)):
                FORMS[form].writer(part, layout, split, _counted(_clips(dataset, split, layout), advance))
    shutil.copyfile(dataset.path / MANIFEST, part / MANIFEST)
    header = hugging_face_header(manifest) if form == "hf" else ""
    (part / CARD).write_text(header + card(manifest, FORMS[form].rows(layout)), encoding="utf-8")


def import_(folder: Path, out: Path) -> Dataset:
    """Write the dataset that `export` wrote to `folder` to the folder `out` again, byte for byte; return it.

    Raises InputError if `folder` is no export, and if a clip in it is missing or was changed.
    """
    manifest = read_manifest(folder)
    readers = [form.reader for form in FORMS.values() if any(folder.glob(form.mark))]
    if not readers:
        raise InputError(f"{folder} is no export: it has a {MANIFEST} and no clips of any form")
    return write_once(out, request_of(manifest), Exported(folder, manifest, readers[0]), manifest["files"])


class Exported(Source):
    """The clips of an exported folder."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], read: Reader) -> None:
        self._folder, self._read, self._layout = folder, read, layout_of(manifest)
        self._counts = {split: len(clips) for split, clips in clips_of(manifest).items()}
        self._at_once = clips_at_once(format_of(manifest))
        self._records: dict[str, list[Mapping[str, NDArray[Any]]]] = {}
        self.provenance = f"the export of {manifest['fingerprint']}"

    @override
    def record(self, split: str) -> Mapping[str, NDArray[Any]]:
        record, clips = self._layout.record, self._records[split]
        return {} if record is None else {name: np.stack([clip[name] for clip in clips]) for name in record.fields}

    @override
    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        # Raises InputError if a clip is missing or cannot be read. Clips before `first` are read for their records.
        records = self._records[split] = []

        def single() -> Iterator[Clips]:
            for clip in self._checked(split):
                records.append(clip.record)
                if clip.index >= first:
                    arrays = {name: array[None] for name, array in clip.arrays.items()}
                    yield Clips(clip.frames[None], clip.audio[None], arrays)

        yield from joined(single(), self._at_once)
        if len(records) != self._counts[split]:
            raise InputError(f"{self._folder} has {len(records)} clips of {split}, not {self._counts[split]}")

    def _checked(self, split: str) -> Iterator[Clip]:
        """Yield the split's clips; raise InputError for one that is missing, too many, or of another format."""
        layout, count = self._layout, self._counts[split]
        for number, clip in enumerate(self._read(self._folder, layout, split, count)):
            if 0 <= clip.index < number:
                raise InputError(f"{self._folder}: clip {clip.index} of {split} is there twice")
            if number == count:
                raise InputError(f"{self._folder} has more clips of {split} than the dataset's {count}")
            if clip.index != number:
                raise InputError(f"{self._folder}: clip {number} of {split} is missing")
            found: dict[str, NDArray[Any]] = {"frames": clip.frames, "audio": clip.audio, **clip.arrays, **clip.record}
            for name, kind in layout.types.items():
                if (found[name].shape, found[name].dtype) != (kind.shape, kind.dtype):
                    shape, dtype = found[name].shape, found[name].dtype
                    raise InputError(
                        f"{self._folder}: clip {number} of {split} has {name} of {shape} {dtype}, "
                        f"not {kind.shape} {kind.dtype}"
                    )
            yield clip


def _clips(dataset: Dataset, split: str, layout: Layout) -> Iterator[Clip]:
    stored = dataset.split(split)
    record = {} if layout.record is None else stored.record(layout.record.name)
    for index in range(len(stored)):
        yield Clip(
            index=index,
            frames=stored.frames[index],
            audio=stored.audio[index],
            arrays={name: stored.array(name)[index] for name in layout.arrays},
            record={name: values[index] for name, values in record.items()},
        )


def _counted(clips: Iterator[Clip], advance: Callable[[int], None]) -> Iterator[Clip]:
    for clip in clips:
        yield clip
        advance(1)
