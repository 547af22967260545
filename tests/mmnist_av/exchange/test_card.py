"""The card and the metadata beside a dataset."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mmnist_av.cli import main
from mmnist_av.dataset import open_dataset_or_shard, refuse_damaged, verify
from mmnist_av.exchange.card import CARD, CROISSANT
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError


def test_the_reference_validator_takes_the_croissant(small_dataset):
    import mlcroissant

    found = mlcroissant.Dataset(small_dataset.path / CROISSANT)
    assert not found.metadata.ctx.issues.errors
    assert found.metadata.name == "M3SO, embedded digits, seed 1"
    by_name = {file.name: file for file in found.metadata.distribution}
    assert {name: file.sha256 for name, file in by_name.items()} == {
        name: facts["sha256"] for name, facts in small_dataset.manifest["files"].items()
    }


def test_the_validators_command_line_takes_it(small_dataset):
    path = small_dataset.path / CROISSANT
    line = [sys.executable, "-m", "mlcroissant.scripts.validate", "--jsonld", str(path)]
    message = subprocess.run(line, capture_output=True, text=True, check=False)
    assert message.returncode == 0, message.stderr
    assert "Error" not in message.stderr


def test_the_card_says_what_the_dataset_is(tmp_path):
    spec = Spec(frames=30, bounce="specular")
    dataset = generate(tmp_path / "data", spec, {"test": 2}, seed=3, shard=(1, 2))
    card = (dataset.path / CARD).read_text()
    assert "M3SO-NB, embedded digits, seed 3, frames=30 bounce=specular" in card
    assert "Shard 1 of 2" in card
    assert dataset.fingerprint in card
    assert "a block that appears" not in card
    command = card[card.index("mmnist-av generate") :].splitlines()[0].replace("DIR", str(tmp_path / "again"))
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 0
    assert open_dataset_or_shard(tmp_path / "again").fingerprint == dataset.fingerprint


@pytest.mark.parametrize("name", [CARD, CROISSANT])
def test_verify_reads_card_and_metadata_too(tmp_path, name):
    out = generate(tmp_path / "data", Spec(), {"test": 1}, seed=0).path
    assert verify(out) == []
    (out / name).write_text((out / name).read_text().replace("1", "2", 1))
    assert verify(out) == [f"{name} has changed"]
    with pytest.raises(InputError, match=f"{name} has changed; its clips are whole: restore that file"):
        refuse_damaged(out)
    (out / name).unlink()
    assert verify(out) == [f"{name} is missing"]


def test_card_and_metadata_are_not_part_of_the_fingerprint(small_dataset):
    assert not {CARD, CROISSANT} & set(small_dataset.manifest["files"])
    assert json.loads((small_dataset.path / CROISSANT).read_text())["identifier"] == small_dataset.fingerprint
