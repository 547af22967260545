"""What a family of another package cannot do is said in one line, before anything is generated."""

from pathlib import Path

import pytest

from benchmark.catalogue import PRESETS, Protocol
from benchmark.job import Job
from benchmark.options import Stream
from benchmark.setup import generate
from mmnist_av.audio_features import Spectrogram
from mmnist_av.system.errors import InputError

FAMILY = """
from dataclasses import dataclass
from mmnist_av.families import Family

@dataclass
class World:
    drums: int

class Drums(Family):
    def make(self, out, world, sizes, seed, source, root):
        return World(**world)
"""


@pytest.fixture
def protocol(install):
    """A protocol of a family whose world has one field, drums, and no stream."""
    install("their-package", "mmnist_av.families", {"drums": "their_drums:Drums"}, their_drums=FAMILY)
    return Protocol(
        name="drums",
        family="drums",
        dataset="drums",
        world={"drums": 3, "cymbals": 1},
        seen=5,
        train_predicted=5,
        test_predicted=5,
        reported=(6,),
        audio=Spectrogram(n_fft=160, hop=40, bins=41),
    )


def test_a_world_that_the_family_does_not_know_is_named(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"family drums cannot generate this world \(drums=3, cymbals=1\): .* argument 'cymbals'"
    ):
        generate(Job("black"), protocol, PRESETS["demo"])


def test_a_stream_of_a_family_without_one_is_refused_before_its_dataset_is_generated(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--data stream: the family drums of datasets has no stream of clips"):
        generate(Job("black", data=Stream()), protocol, PRESETS["demo"])
    assert not any(Path().glob("data/*"))
