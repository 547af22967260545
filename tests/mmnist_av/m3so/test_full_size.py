"""The default dataset at full size: 3.9 GB, the same fingerprint however it is generated. Run with `pytest -m slow`."""

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmnist_av.dataset import open_dataset
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.merge import merge
from mmnist_av.system.files import PART

pytestmark = pytest.mark.slow

SIZES = {"train": 8000, "val": 1000, "test": 1000}
DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"
DOCUMENTED = dict(re.findall(r"^\| `(mmnist-av generate.*)` \| `(\w+)` \|$", DOCS.read_text(), re.MULTILINE))


@pytest.fixture
def out(tmp_path):
    yield tmp_path / "data"
    shutil.rmtree(tmp_path)  # 4 GB and more


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_documented_fingerprint(out, workers):
    dataset = generate(out, Spec(), SIZES, seed=0, workers=workers)
    assert dataset.fingerprint == DOCUMENTED["mmnist-av generate"]


def test_the_documented_fingerprint_comes_out_of_shards(out):
    parts = [generate(out / str(n), Spec(), SIZES, seed=0, shard=(n, 3)).path for n in (1, 2, 3)]
    assert merge(out / "all", parts).fingerprint == DOCUMENTED["mmnist-av generate"]


def test_the_documented_fingerprint_comes_out_of_ray(out):
    pytest.importorskip("ray", reason="needs Ray: pip install mmnist-av[ray]")
    dataset = generate(out, Spec(), SIZES, seed=0, engine="ray", workers=2)
    assert dataset.fingerprint == DOCUMENTED["mmnist-av generate"]


def test_the_documented_fingerprint_comes_out_after_kills(out):
    moments, frames = random.Random(0), out / "train" / f"frames.npy{PART}"
    for kill in range(5):
        enough = (kill + moments.random()) * 30_000_000  # bytes: a loaded machine takes longer to write them
        with subprocess.Popen([sys.executable, "-m", "mmnist_av.cli", "generate", "--out", str(out)]) as process:
            while process.poll() is None and not (frames.exists() and frames.stat().st_size > enough):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    assert frames.stat().st_size > 100_000_000
    assert not (out / "dataset.json").exists()
    subprocess.run([sys.executable, "-m", "mmnist_av.cli", "generate", "--out", str(out)], check=True)
    assert open_dataset(out).fingerprint == DOCUMENTED["mmnist-av generate"]


def test_the_documented_fingerprint_comes_out_with_the_block(out):
    dataset = generate(out, Spec(obstacle=True), SIZES, seed=0)
    assert dataset.fingerprint == DOCUMENTED["mmnist-av generate --obstacle"]


@pytest.mark.parametrize("obstacle", [False, True])
def test_the_documented_fingerprint_comes_out_of_mnist(out, mnist_root, obstacle):
    dataset = generate(out, Spec(obstacle=obstacle), SIZES, seed=0, digits="mnist", mnist_root=mnist_root)
    flag = "--obstacle " if obstacle else ""
    assert dataset.fingerprint == DOCUMENTED[f"mmnist-av generate {flag}--digits mnist"]
