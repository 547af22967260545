"""The families of datasets: what each one knows beyond frames and sound."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.dataset import Dataset
from mmnist_av.system.errors import InputError

ENTRY_POINTS = "mmnist_av.families"


class Family:
    """A family of datasets. This base class serves datasets that have stored annotations only."""

    def annotations(self, dataset: Dataset) -> frozenset[str]:
        """Return the names of the annotations that `annotate` can give."""
        return dataset.annotations

    def annotate(self, dataset: Dataset, split: str, clip: int, name: str, frames: int) -> NDArray[Any]:
        """Return one annotation of the first `frames` frames of a clip."""
        return np.asarray(dataset.split(split).array(name)[clip][:frames])

    def label(self, manifest: Mapping[str, Any]) -> str:
        """Return what a results row calls the dataset."""
        return str(manifest["dataset"])

    def make(
        self,
        out: Path,
        world: Mapping[str, Any],
        sizes: Mapping[str, int],
        seed: int,
        source: str,
        root: Path | None,
    ) -> Dataset:
        """Generate a dataset in the folder `out`. Raises InputError for a family that cannot be generated."""
        raise InputError("this dataset cannot be generated: name its folder with --data")

    def stream(self, dataset: Dataset, batch: int, frames: int, rank: int, ranks: int, root: Path | None) -> Any:
        """Return endless clips like those of the dataset's training split. Raises InputError where there are none."""
        raise InputError("this dataset has no endless clips: --data stream is for datasets that are generated")


def find(name: str) -> Family:
    """Return the family called `name`; the base class for a name without code."""
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            family: Family = entry.load()()
            return family
    return Family()
