"""What keeps the tests of whole runs short: batches of two clips, and reports only where a test requests `drawn`."""

from dataclasses import replace

import pytest

from benchmark.catalogue import PRESETS
from benchmark.scoring import evaluate


@pytest.fixture(scope="session", autouse=True)
def small_batches():
    preset = PRESETS["demo"]
    PRESETS["demo"] = replace(preset, batch=2)
    yield
    PRESETS["demo"] = preset


@pytest.fixture(autouse=True)
def without_report(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(evaluate, "write_report", lambda runs, out: out)


@pytest.fixture
def drawn():
    """Runs of this test draw their reports."""
