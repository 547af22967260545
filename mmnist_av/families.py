"""Families of datasets: the code that knows more of a dataset than its clips and its stored annotations.

A family is found by the name in the dataset's manifest, through the entry-point group `mmnist_av.families`. A dataset
of the family "plain" needs no code: the base class `Family` serves it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mmnist_av.system import plugins
from mmnist_av.system.errors import InputError, unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmnist_av.clips import ClipStream
    from mmnist_av.dataset import Dataset

PLAIN = "plain"


@dataclass(frozen=True, init=False)
class ArrayType:
    """The shape and type of one clip's part of a stored array."""

    shape: tuple[int, ...]  # without the axis of the clips
    dtype: np.dtype[Any]
    per_frame: bool | None  # whether an entry belongs to each frame; None: it does where there are as many as frames

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, per_frame: bool | None = None) -> None:
        for name, value in (("shape", tuple(shape)), ("dtype", np.dtype(dtype)), ("per_frame", per_frame)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Record:
    """A family's own annotation: several small arrays per clip, stored as `<split>/<name>.npz`, exported as JSON."""

    name: str
    fields: Mapping[str, ArrayType]


@dataclass(frozen=True)
class Card:
    """What a dataset's card and its metadata say about it."""

    name: str
    description: str
    keywords: tuple[str, ...] = ("video prediction", "audio-visual")
    tags: tuple[str, ...] = ("video-prediction", "audio-visual")  # at Hugging Face
    licence: str = ""  # URL
    licence_id: str = ""  # at Hugging Face
    citation: str = ""
    command: str = ""  # that generates the dataset
    facts: Mapping[str, str] = field(default_factory=dict)  # further lines, by their headings
    record: str = ""  # what the record holds, for the table of files
    notes: str = ""  # how the record is to be read


class Family:
    """A dataset without a generator whose annotations are those stored with it; the base class of all families."""

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raise InputError if the manifest's spec is impossible, or contradicts the rest of the manifest."""

    def annotations(self, dataset: "Dataset") -> frozenset[str]:
        """Return the names of the annotations that `annotate` can give for this dataset."""
        return dataset.annotations

    def annotate(self, dataset: "Dataset", split: str, clip: int, name: str, frames: int) -> NDArray[Any]:
        """Return one annotation of the first `frames` frames of a clip; raise InputError for an unknown `name`.

        A stored array with one entry per frame (see ArrayType) is cut to `frames` entries.
        """
        if name not in dataset.annotations:
            raise unknown_name("annotation", name, dataset.annotations)
        row = dataset.split(split).array(name)[clip]
        per_frame = dataset.manifest["arrays"][name].get("per_frame", row.shape[:1] == (dataset.format.frames,))
        return row[:frames] if per_frame else row

    def record(self, manifest: Mapping[str, Any]) -> Record | None:
        """Return what the family's record of a clip holds; None if the family stores no record."""
        return None

    def label(self, manifest: Mapping[str, Any]) -> str:
        """Return what a row of results calls the dataset."""
        return str(manifest["dataset"])

    def make(
        self, out: Path, world: Mapping[str, Any], sizes: Mapping[str, int], seed: int, source: str, root: Path | None
    ) -> "Dataset":
        """Generate a dataset in the folder `out`, or open it if it was generated before.

        world: the family's own parameters; sizes: clips by split; source: what clips are made of, for example a pool
        of digits, whose files are in the folder `root`. Raises InputError if the family has no generator.
        """
        raise InputError("this family of datasets has no generator: name an existing dataset")

    def stream(
        self, dataset: "Dataset", batch: int, frames: int, rank: int, ranks: int, root: Path | None
    ) -> "ClipStream":
        """Return an endless stream of training clips like those of `dataset`, cut to `frames` frames.

        batch: clips of each of the `ranks` processes; root: as for `make`. Raises InputError if the family has none.
        """
        raise InputError(f"{dataset.path}: the family {dataset.family} of datasets has no stream of clips")

    def card(self, manifest: Mapping[str, Any]) -> Card:
        """Return what the dataset's card says about it."""
        return Card(name=str(manifest["dataset"]), description=f"Video clips with sound: {manifest['dataset']}.")

    def facts(self, manifest: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what `mmnist-av info` prints beside the format, by heading; {}: the manifest's own entries."""
        return {}

    def explain(self, dataset: "Dataset", split: str, clip: int) -> "Figure | None":
        """Return a figure that explains a clip; None if the family has none."""
        return None

    def caption(self, dataset: "Dataset", split: str, clip: int) -> str:
        """Return what the contact sheet says beside a clip, in a few short lines."""
        return f"clip {clip}"


@functools.cache
def find(name: str) -> Family:
    """Return the family called `name`; "" and "plain" need no code. Raises InputError for an unknown name."""
    if name in ("", PLAIN):
        return Family()
    if name not in plugins.installed(plugins.FAMILIES):
        nearest = unknown_name("family of datasets", name, [*plugins.installed(plugins.FAMILIES), PLAIN])
        raise InputError(f"{nearest}; a family of another package is known once that package is installed")
    family = plugins.load(plugins.FAMILIES, "family of datasets", name)
    what = f"the family of datasets '{name}' of {plugins.described(plugins.installed(plugins.FAMILIES)[name][0])}"
    if not (isinstance(family, type) and issubclass(family, Family)):
        raise InputError(f"{what} is not a class that derives from Family")
    try:
        return family()
    except KeyboardInterrupt:  # it may be the user's own
        raise
    except BaseException as error:  # whatever that package does
        raise InputError(f"{what} cannot be used: {error!r}") from error


def generate(
    name: str, out: Path, world: Mapping[str, Any], sizes: Mapping[str, int], seed: int, source: str, root: Path | None
) -> "Dataset":
    """Return the dataset that the family called `name` generates in the folder `out`; see Family.make.

    Raises InputError for a world that the family does not know, and for a family that returns something else.
    """
    from mmnist_av.dataset import Dataset  # imported here because it imports this module

    family = find(name)
    try:
        dataset = family.make(out, world, sizes, seed, source, root)
    except TypeError as error:
        values = ", ".join(f"{key}={value}" for key, value in world.items()) or "no values"
        raise InputError(f"the family {name} cannot generate this world ({values}): {error}") from error
    if not isinstance(dataset, Dataset):
        raise InputError(f"the family {name} returned no Dataset but {dataset!r}: its `make` must return what it wrote")
    return dataset
