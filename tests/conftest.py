"""What several tests need: a small dataset, and real MNIST where there is one."""

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
    """M3SO, embedded digits, 5 train and 3 test clips; to be read only."""
    out = tmp_path_factory.mktemp("data") / "m3so"
    return generate(out, Spec(obstacle=True), {"train": 5, "test": 3}, seed=1)


@pytest.fixture(scope="session")
def lively() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Scales a fresh model's weights up: fresh ones are so small that what a latent changes is lost in rounding.

    By no more than 2: at 4, frame encoders fed their own predictions blow the last bits up to what a latent changes.
    """

    def scale(model: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(2)
        return model

    return scale
