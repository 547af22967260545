"""Fixtures of several tests: a small dataset, real MNIST if its folder is named, scaled weights."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: pytest-xdist keeps the cores busy already

import pytest

from mmnist_av import families
from mmnist_av.dataset import Dataset
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system import plugins

os.fsync = lambda descriptor: None  # no test cuts the power, and a busy disk would make the tests wait for minutes


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
def lively():
    """Scale a new model's weights by 2: new weights are so small that the effect of a latent is lost in rounding.

    At a factor of 4, frame encoders that get their own predictions amplify rounding errors to the effect of a latent.
    """
    import torch  # imported here because pytest-xdist's own process reads this file, too, and then starts the workers

    def scale(model):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(2)
        return model

    return scale


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install other packages for the time of a test: install("their-package", group, {name: object}, module=source)."""

    def install_package(package: str, group: str, entries: Mapping[str, str], **modules: str) -> None:
        folder, lines = tmp_path / "site" / package, [f"{name} = {value}" for name, value in entries.items()]
        facts = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(folder)
        plugins.installed.cache_clear()

    yield install_package
    plugins.installed.cache_clear()
    families.find.cache_clear()
