"""A checkpoint is read as it was written, by those whom the umask allows; any other file is refused with a reason."""

import os
import stat

import pytest
import safetensors.torch
import torch
from torch import nn

from baselines.predictor import ClipShape
from benchmark.runs.differences import identity
from benchmark.training import checkpoint
from benchmark.training.checkpoint import Saved
from benchmark.training.plan import Position
from mmnist_av.system.errors import InputError
from toys import Recurrent


def build(width=3):
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.rand(4, 2)).square().mean().backward()
    optimizer.step()
    return model, {"player": optimizer}


@pytest.fixture
def saved(tmp_path):
    model, optimizers = build()
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, Saved(identity({"model": "puq", "seed": 0}), 7), model, optimizers)
    return path


def load(path, model="puq", width=3):
    return checkpoint.load(path, identity({"model": model, "seed": 0}), *build(width))[0]


def test_weights_states_and_position_are_read_as_they_were_written(tmp_path):
    (model, optimizers), (other, others) = build(), build()
    position = Position(stage=1, first=5, best=0.1, waited=2)
    checkpoint.save(tmp_path / "file", Saved("run", 7, position, complete=True), model, optimizers)
    assert checkpoint.load(tmp_path / "file", "run", other, others) == (Saved("run", 7, position, complete=True), {})
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    for index, state in optimizers["player"].state_dict()["state"].items():
        again = others["player"].state_dict()["state"][index]
        assert all(torch.equal(value, again[name]) for name, value in state.items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read_it(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "file", Saved("run", 7), *build())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("kept", [0, 5, 100, -5])
def test_a_truncated_file_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a whole checkpoint: safetensors expected, a cut or damaged file found"):
        load(saved)


def test_no_damaged_checkpoint_is_a_reason_to_delete_its_folder(saved):
    saved.write_bytes(saved.read_bytes()[:100])
    with pytest.raises(InputError, match=r"; restore it, or run again with another --out$"):
        checkpoint.read(saved)


def test_a_changed_byte_is_found(saved):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: its tensors are not as they were written"):
        load(saved)


def test_a_checkpoint_of_an_older_version_has_no_digest_and_is_read(tmp_path):
    model, _ = build()
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / "file", {"training": '{"run": "run", "step": 7}'})
    assert checkpoint.load(tmp_path / "file", "run", model, {})[0] == Saved("run", 7)
    assert not checkpoint.is_complete(tmp_path / "file")


def test_a_pickle_is_refused_without_being_read(saved):
    torch.save({"one": torch.zeros(())}, saved)
    with pytest.raises(InputError, match=r"safetensors expected, a pickle of torch\.save found, which is never read"):
        load(saved)


def test_another_runs_checkpoint_is_refused_with_what_was_found_and_requested(saved):
    with pytest.raises(InputError, match=r"belongs to another run \(model: puq found, sound2sight requested\)"):
        load(saved, model="sound2sight")
    with pytest.raises(InputError, match=r"belongs to another run .*puq.* found, mine requested"):
        checkpoint.load(saved, "mine", *build())


def test_other_weights_are_refused_with_their_names_and_shapes(saved):
    reason = r"the weights of another model than Sequential: 0\.weight \(3, 2\) found, \(4, 2\) expected, 0\.bias"
    with pytest.raises(InputError, match=reason):
        load(saved, width=4)


@pytest.mark.parametrize("about", [None, {"training": "no JSON"}, {"training": "{}"}, {"training": "[]"}])
def test_other_safetensors_are_refused(tmp_path, about):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "file", about)
    with pytest.raises(InputError, match="without the facts of a checkpoint"):
        load(tmp_path / "file")


def test_the_state_of_another_number_of_clips_is_loaded_into_a_model_that_carries_state(tmp_path):
    shape = ClipShape((1, 8, 8), (1, 1), seen=1, train_frames=2, fps=10)
    model, other = Recurrent(shape), Recurrent(shape)
    model.state = torch.rand(4, 1)
    checkpoint.save(tmp_path / "file", Saved("run", 7), model, {})
    checkpoint.load(tmp_path / "file", "run", other, {})
    assert torch.equal(other.state, model.state)
    plain, narrow = nn.Linear(2, 2), nn.Linear(2, 2)
    plain.register_buffer("state", torch.zeros(4, 1))
    narrow.register_buffer("state", torch.zeros(0, 1))
    checkpoint.save(tmp_path / "file", Saved("run", 7), plain, {})
    with pytest.raises(InputError, match=r"state \(4, 1\) found, \(0, 1\) expected"):
        checkpoint.load(tmp_path / "file", "run", narrow, {})
