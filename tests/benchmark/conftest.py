"""Reports take most of a small run's time: only the tests that request `drawn` have them."""

import pytest

from benchmark.scoring import evaluate


@pytest.fixture(autouse=True)
def without_report(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(evaluate, "write_report", lambda runs, out: out)


@pytest.fixture
def drawn():
    """Runs of this test draw their reports."""
