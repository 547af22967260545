"""The examples of the documentation work as they stand."""

import textwrap
from pathlib import Path

import pytest

from baselines import registry
from benchmark.check import check_model

EXTENDING = Path(__file__).parents[2] / "docs/extending.md"


@pytest.fixture
def fade():
    """The class of the documented model, from the page's first block of code."""
    text = EXTENDING.read_text()
    block = text[text.index("    from dataclasses import") :].split("\n\nAll randomness", 1)[0]
    names = {"__name__": __name__}
    exec(textwrap.dedent(block), names)
    return names["Fade"]


def test_the_documented_model_passes_the_check(fade, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "fade", registry.Model(fade))
    lines = list(check_model("fade", "m3so-nb", settings={"learning_rate": "0.01"}, device="cpu"))
    assert lines[0].startswith("fade: 1 parameters; 5 seen frames")
    assert lines[-1] == "avbench run --model fade --protocol m3so-nb trains it"
