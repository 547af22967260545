"""What M3SO knows of its clips beyond frames and sound."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.clips import M3SOStream
from mmnist_av.dataset import Dataset
from mmnist_av.families import Family
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import backward_flow, block_mask
from mmnist_av.m3so.spec import NONE, Spec, spec_from_dict


class M3SO(Family):
    """M3SO and M3SO-NB."""

    def annotations(self, dataset: Dataset) -> frozenset[str]:
        spec = spec_from_dict(dataset.manifest["spec"])
        names = {"block_mask", "centres"} | ({"block"} if spec.obstacle else set())
        return frozenset(names | ({"label", "events", "flow"} if spec.digits_per_clip == 1 else set()))

    def annotate(self, dataset: Dataset, split: str, clip: int, name: str, frames: int) -> NDArray[Any]:
        spec = spec_from_dict(dataset.manifest["spec"])
        truth = dataset.split(split).truth_of(slice(clip, clip + 1)).until(frames)
        if name == "block":
            shown = 0 <= truth.block_first_frame[0] < truth.frames
            return truth.block_place[0].astype(np.int64) if shown else np.full(2, -1)
        if name == "block_mask":
            return block_mask(truth, spec)[0]
        if name == "label":
            return truth.label[0, 0].astype(np.int64)[()]
        if name == "events":
            return truth.event[0, :, 0] != NONE
        if name == "flow":
            flow = backward_flow(truth, spec)[0]
            return np.concatenate([np.zeros_like(flow[:1]), flow])
        raise KeyError(name)

    def label(self, manifest: Mapping[str, Any]) -> str:
        spec = spec_from_dict(manifest["spec"])
        return " ".join([spec.name.upper(), manifest["digits"]["source"], spec.variant]).strip()

    def make(self, out, world, sizes, seed, source, root) -> Dataset:  # type: ignore[no-untyped-def]
        return generate(out, Spec(**world), sizes, seed, digits=source, mnist_root=root)

    def stream(self, dataset, batch, frames, rank, ranks, root):  # type: ignore[no-untyped-def]
        digits = load_pool(dataset.manifest["digits"]["source"], root)["train"]
        spec = spec_from_dict(dataset.manifest["spec"])
        return M3SOStream(
            spec, dataset.seed, batch=batch, digits=digits, split="train", frames=frames, rank=rank, ranks=ranks
        )
