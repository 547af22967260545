"""M3SO as a family of datasets: its annotations, generator, card and figure behind the generic interface."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict, override

from mmnist_av.dataset import Dataset, Split
from mmnist_av.families import Card, Family, Record
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import backward_flow, block_mask
from mmnist_av.m3so.spec import BLOCK, NONE, WALL, Seed, Spec, spec_from_dict
from mmnist_av.m3so.world import Truth, truth_types
from mmnist_av.manifest import SPLITS
from mmnist_av.manifest_entries import Sha256
from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.settings import refuse_misfit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmnist_av.m3so.stream import M3SOStream

TRUTH = "truth"

# Description, licence, and licence at Hugging Face of each digit source
DIGITS = {
    "embedded": (
        "UCI optical recognition of handwritten digits (E. Alpaydin and C. Kaynak, 1998)",
        "https://creativecommons.org/licenses/by/4.0/",
        "cc-by-4.0",
    ),
    "mnist": (
        "MNIST (Y. LeCun, C. Cortes and C. J. C. Burges)",
        "https://creativecommons.org/licenses/by-sa/3.0/",
        "cc-by-sa-3.0",
    ),
}
CITATION = (
    "M. Chatterjee and A. Cherian, Sound2Sight: Generating Visual Dynamics from Sound and Context, ECCV 2020 "
    "(the dataset's idea); mmnist-av {generator} (this dataset)"
)
DESCRIPTION = (
    "Audio-visual Moving MNIST: handwritten digits move in straight lines and bounce off the walls{block}. Each sounds "
    "its telephone tone, whose loudness tells its distance from a corner; a contact sounds another. With exact truth."
)


def spec_of(dataset: Dataset) -> Spec:
    """Return the spec of a dataset of M3SO."""
    return spec_from_dict(dataset.manifest["spec"])


def truth_of(split: Split, which: slice = slice(None)) -> Truth:
    """Return the truth of some of the clips of a split of M3SO."""
    return Truth(**split.record(TRUTH)).clips(which)


def _block(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return the block's lower-left corner (2,) int64, px, y up; -1 -1 if no frame shows it."""
    shown = 0 <= truth.block_first_frame[0] < truth.frames
    return truth.block_place[0].astype(np.int64) if shown else np.full(2, -1, np.int64)


def _block_mask(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return the mask of the block (T, H, W) bool."""
    return block_mask(truth, spec)[0]


def _label(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return the digit's class () int64."""
    return truth.label[0, 0].astype(np.int64)


def _events(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return whether the digit touches a wall or the block in each frame (T,) bool."""
    return truth.event[0, :, 0] != NONE


def _flow(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return the backward flow (T, 2, H, W) float32, px: dx (right) and dy (down), 0 in frame 0."""
    return np.pad(backward_flow(truth, spec)[0], ((1, 0), (0, 0), (0, 0), (0, 0)))


def _centres(truth: Truth, spec: Spec) -> NDArray[Any]:
    """Return the centres of the ink boxes in the frames (T, D, 2) float32: x, and y downwards, px.

    A pixel is 1 px wide: the middle of the upper left pixel is at (0.5, 0.5).
    """
    centre = truth.position[0] // spec.subpixels + truth.size[0].astype(np.float32) / 2
    x, y = np.moveaxis(centre, -1, 0)
    return np.stack([x, spec.canvas - y], axis=-1).astype(np.float32)


ANNOTATIONS: dict[str, Callable[[Truth, Spec], NDArray[Any]]] = {
    "block": _block,
    "block_mask": _block_mask,
    "label": _label,
    "events": _events,
    "flow": _flow,
    "centres": _centres,
}
OF_ONE_DIGIT = frozenset({"label", "events", "flow"})  # given only if a clip has a single digit


class _Pool(TypedDict):
    """Where the digits of a dataset are from."""

    source: Literal["embedded", "mnist"]
    sha256: Sha256


class _OwnEntries(TypedDict):
    """The entries of a manifest that only M3SO has."""

    seed: Seed
    digits: _Pool


class M3SO(Family):
    """M3SO and M3SO-NB: Moving MNIST with telephone tones, with and without a block."""

    @override
    def check(self, manifest: Mapping[str, Any]) -> None:
        refuse_misfit(_OwnEntries, manifest)
        spec = spec_from_dict(manifest["spec"])
        if spec.format.as_dict() != manifest["format"]:
            raise InputError("its format is not that of its spec")
        if spec.name != manifest["dataset"]:
            raise InputError(f"it is called {manifest['dataset']}, but its spec is that of {spec.name}")

    @override
    def annotations(self, dataset: Dataset) -> frozenset[str]:
        spec = spec_of(dataset)
        missing = OF_ONE_DIGIT if spec.digits_per_clip > 1 else frozenset()
        return frozenset(ANNOTATIONS) - missing - (frozenset() if spec.obstacle else {"block"})

    @override
    def annotate(self, dataset: Dataset, split: str, clip: int, name: str, frames: int) -> NDArray[Any]:
        available = self.annotations(dataset)
        if name not in available:
            raise unknown_name("annotation", name, available)
        truth = truth_of(dataset.split(split), slice(clip, clip + 1)).until(frames)
        return ANNOTATIONS[name](truth, spec_of(dataset))

    @override
    def record(self, manifest: Mapping[str, Any]) -> Record:
        return Record(TRUTH, truth_types(spec_from_dict(manifest["spec"])))

    @override
    def label(self, manifest: Mapping[str, Any]) -> str:
        variant = spec_from_dict(manifest["spec"]).variant
        return f"{manifest['dataset'].upper()} digits={manifest['digits']['source']} {variant}".strip()

    @override
    def make(
        self, out: Path, world: Mapping[str, Any], sizes: Mapping[str, int], seed: int, source: str, root: Path | None
    ) -> Dataset:
        return generate(out, Spec(**world), sizes, seed, digits=source, mnist_root=root)

    @override
    def stream(
        self, dataset: Dataset, batch: int, frames: int, rank: int, ranks: int, root: Path | None
    ) -> "M3SOStream":
        from mmnist_av.m3so.stream import M3SOStream  # imported here because it imports torch

        digits = load_pool(dataset.manifest["digits"]["source"], root)["train"]
        seed = dataset.manifest["seed"]
        return M3SOStream(
            spec_of(dataset), seed, batch=batch, digits=digits, frames=frames, rank=rank, ranks=ranks, split="train"
        )

    @override
    def card(self, manifest: Mapping[str, Any]) -> Card:
        spec = spec_from_dict(manifest["spec"])
        provenance, licence, licence_id = DIGITS[manifest["digits"]["source"]]
        name = f"{manifest['dataset'].upper()}, {manifest['digits']['source']} digits, seed {manifest['seed']}"
        return Card(
            name=f"{name}, {spec.variant}" if spec.variant else name,
            description=DESCRIPTION.format(block=" and a block that appears" if spec.obstacle else ""),
            keywords=("video prediction", "audio-visual", "Moving MNIST"),
            tags=("video-prediction", "audio-visual", "moving-mnist"),
            licence=licence,
            licence_id=licence_id,
            citation=CITATION.format(generator=manifest["generator"]),
            command=_command(spec, manifest),
            facts={
                "World": spec.variant or "as in the papers",
                "Seed": str(manifest["seed"]),
                "Digits": f"{provenance}; licence {licence}",
            },
            record=f"what happened: {', '.join(truth_types(spec))}",
            notes="Positions are lower-left corners in 1/256 px, y up; events are 0 nothing, 1 wall, 2 block.",
        )

    @override
    def facts(self, manifest: Mapping[str, Any]) -> Mapping[str, str]:
        spec, source = spec_from_dict(manifest["spec"]), manifest["digits"]
        return {
            "world": spec.variant or "as in the papers",
            "seed": str(manifest["seed"]),
            "digits": f"{spec.digits_per_clip} per clip, {source['source']} (pool SHA-256 {source['sha256']})",
        }

    @override
    def explain(self, dataset: Dataset, split: str, clip: int) -> "Figure":
        from mmnist_av.m3so.figure import explain  # imported here because it imports matplotlib

        return explain(dataset, split, clip)

    @override
    def caption(self, dataset: Dataset, split: str, clip: int) -> str:
        truth = truth_of(dataset.split(split), slice(clip, clip + 1))
        events = [f"{(truth.event == kind).sum()} {name}" for kind, name in ((WALL, "walls"), (BLOCK, "block"))]
        digits = ", ".join(map(str, truth.label[0]))
        return f"clip {clip}\n{digits}\n{', '.join(events if spec_of(dataset).obstacle else events[:1])}"


def _command(spec: Spec, manifest: Mapping[str, Any]) -> str:
    """Return the command that generates the dataset."""
    options = ["--obstacle"] if spec.obstacle else []
    options += [
        f"--{name.replace('_', '-')} {value}" for name, value in (each.split("=") for each in spec.variant.split())
    ]
    options += [f"--digits {manifest['digits']['source']}", f"--seed {manifest['seed']}"]
    options += [f"--{split} {manifest['sizes'][split]}" for split in SPLITS]
    options += ["--shard {}/{}".format(*manifest["shard"])] if "shard" in manifest else []
    return f"mmnist-av generate {' '.join(options)} --out DIR"
