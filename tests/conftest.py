"""Fixtures of several tests: a small dataset, real MNIST if its folder is named, scaled weights."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: pytest-xdist keeps the cores busy already

import pytest
import torch

from mmnist_av.dataset import Dataset
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    root = os.environ.get("MMNIST_AV_MNIST_ROOT")
    if not root:
        pytest.skip("needs real MNIST: set MMNIST_AV_MNIST_ROOT to its folder")
    return Path(root)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """M3SO with embedded digits, 5 train and 3 test clips; tests must not change it."""
    out = tmp_path_factory.mktemp("data") / "m3so"
    return generate(out, Spec(obstacle=True), {"train": 5, "test": 3}, seed=1)


@pytest.fixture(scope="session")
def lively() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Scale a new model's weights by 2: new weights are so small that the effect of a latent is lost in rounding.

    At a factor of 4, frame encoders that get their own predictions amplify rounding errors to the effect of a latent.
    """

    def scale(model: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(2)
        return model

    return scale
