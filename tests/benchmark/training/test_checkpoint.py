"""Checkpoints: what is written is what is read, by whom the umask lets; anything else is refused, and told."""

import os
import stat

import pytest
import safetensors.torch
import torch
from torch import nn

from benchmark.training import checkpoint
from mmnist_av.system.errors import InputError


def made(width=3):
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.rand(4, 2)).square().mean().backward()
    optimizer.step()
    return model, {"player": optimizer}


@pytest.fixture
def saved(tmp_path):
    model, optimizers = made()
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, checkpoint.identity({"model": "puq", "seed": 0}), 7, model, optimizers)
    return path


def load(path, model="puq", width=3):
    return checkpoint.load(path, checkpoint.identity({"model": model, "seed": 0}), *made(width))


def test_weights_states_and_step_come_back(tmp_path):
    (model, optimizers), (other, others) = made(), made()
    checkpoint.save(tmp_path / "file", "run", 7, model, optimizers)
    assert checkpoint.load(tmp_path / "file", "run", other, others) == 7
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    for index, state in optimizers["player"].state_dict()["state"].items():
        again = others["player"].state_dict()["state"][index]
        assert all(torch.equal(value, again[name]) for name, value in state.items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read_it(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "file", "run", 7, *made())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("kept", [0, 5, 100, -5])
def test_a_truncated_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a whole checkpoint: safetensors wanted, a cut or damaged file found"):
        load(saved)


def test_a_pickle_is_refused_unread(saved):
    torch.save({"one": torch.zeros(())}, saved)
    with pytest.raises(InputError, match=r"safetensors wanted, a pickle of torch\.save found, which is never read"):
        load(saved)


def test_another_runs_checkpoint_is_refused_with_what_is_there_and_what_was_asked(saved):
    with pytest.raises(InputError, match=r"belongs to another run \(model puq there, sound2sight asked\)"):
        load(saved, model="sound2sight")
    with pytest.raises(InputError, match=r"belongs to another run .*puq.* there, mine asked"):
        checkpoint.load(saved, "mine", *made())


def test_other_weights_are_refused_with_their_names_and_shapes(saved):
    wanted = r"another model's weights than Sequential's: 0\.weight \(3, 2\) there, \(4, 2\) wanted, 0\.bias"
    with pytest.raises(InputError, match=wanted):
        load(saved, width=4)


@pytest.mark.parametrize("about", [None, {"training": "no JSON"}, {"training": "{}"}, {"training": "[]"}])
def test_other_safetensors_are_refused(tmp_path, about):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "file", about)
    with pytest.raises(InputError, match="says of no run that it is its checkpoint"):
        load(tmp_path / "file")
