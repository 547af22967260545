"""What keeps tests of whole runs short: small models and batches, trials for `tried`, report sketches for `drawn`."""

from dataclasses import replace

import pytest

from benchmark import run
from benchmark.catalogue import PRESETS
from benchmark.scoring import evaluate
from narrow import narrow
from sketches import sketched


@pytest.fixture(scope="session", autouse=True)
def small_batches():
    preset = PRESETS["demo"]
    PRESETS["demo"] = replace(preset, batch=2)
    yield
    PRESETS["demo"] = preset


@pytest.fixture(scope="session", autouse=True)
def small_models():
    with narrow():
        yield


@pytest.fixture(scope="session", autouse=True)
def sketches():
    with sketched():
        yield


@pytest.fixture(autouse=True)
def without_report(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(evaluate, "write_report", lambda runs, out, ended: out)


@pytest.fixture(autouse=True)
def without_trial(request, monkeypatch):
    if "tried" not in request.fixturenames:
        monkeypatch.setattr(run, "try_model", lambda setup: None)


@pytest.fixture
def tried():
    """Runs of this test try their models before they train them."""


@pytest.fixture
def drawn():
    """Runs of this test draw their reports."""
