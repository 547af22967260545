"""Datasets in forms that others read, and back: separate files, webdataset tars, Hugging Face folders.

Every form holds each clip's frames, sound and truth without loss, beside the dataset.json of the dataset itself.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.dataset import MANIFEST, Dataset, Split, clips_of, open_dataset, read_manifest, refuse_damaged
from mmnist_av.exchange.card import CARD, card, hugging_face_header
from mmnist_av.exchange.formats import FORMS, Clip, Reader
from mmnist_av.m3so.generate import Rendered, asked_of, clips_at_once, write_once
from mmnist_av.m3so.spec import spec_from_dict
from mmnist_av.m3so.world import Truth
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.files import LOCK, sole_writer, sync_folder
from mmnist_av.system.progress import progress_bar


def export(dataset: Dataset, form: str, out: Path) -> None:
    """Write `dataset` to the new folder `out` as `form`: clips, clips-png, webdataset or hf.

    The folder appears when all is in it. Raises InputError for another form, and if `out` exists or `dataset`
    is not as it was written.
    """
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if out.exists():
        raise InputError(f"{out} exists: choose another --out")
    refuse_damaged(dataset.path)
    part = out.with_name(f".{out.name}.part")
    with sole_writer(part):
        for left in part.iterdir():  # by an export that was killed
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != LOCK:
                left.unlink()
        _write(dataset, form, part)
        os.sync()
        if out.exists():
            raise InputError(f"{out} was made meanwhile: choose another --out")
        part.rename(out)
        (out / LOCK).unlink(missing_ok=True)
    sync_folder(out.parent)


def _write(dataset: Dataset, form: str, part: Path) -> None:
    """Write all of an export to the folder `part`."""
    manifest, write = dataset.manifest, FORMS[form].writer
    total = sum(map(len, clips_of(manifest).values()))
    with progress_bar(f"export, {form}, clips", total) as done:
        for split in clips_of(manifest):
            if len(dataset.split(split)):
                write(part, dataset.spec, split, _counted(_clips(dataset.split(split)), done))
    shutil.copyfile(dataset.path / MANIFEST, part / MANIFEST)
    header = hugging_face_header(manifest) if form == "hf" else ""
    (part / CARD).write_text(header + card(manifest, FORMS[form].files), encoding="utf-8")


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

    def __init__(self, folder: Path, manifest: Mapping[str, Any], read: Reader) -> None:
        self._folder, self._read, self._spec = folder, read, spec_from_dict(manifest["spec"])
        self._counts = {split: len(clips) for split, clips in clips_of(manifest).items()}
        self._truths: dict[str, list[Truth]] = {}
        self.origin = f"the export of {manifest['fingerprint']}"

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
            if len(waiting) == clips_at_once(self._spec):
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
            if not clip.truth.fits(self._spec):
                raise InputError(f"{self._folder}: the truth of clip {number} of {split} is not that of such a clip")
            yield clip


def _together(clips: list[Clip]) -> Rendered:
    return np.stack([clip.frames for clip in clips]), np.stack([clip.audio for clip in clips])


def _clips(split: Split) -> Iterator[Clip]:
    for index in range(len(split)):
        yield Clip(index, split.frames[index], split.audio[index], split.truth_of(slice(index, index + 1)))


def _counted(clips: Iterator[Clip], done: Callable[[int], None]) -> Iterator[Clip]:
    for clip in clips:
        yield clip
        done(1)
