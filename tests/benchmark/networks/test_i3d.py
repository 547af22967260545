"""I3D compared with the paper's table and a second implementation, on random weights."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.networks import i3d as module
from benchmark.networks.i3d import i3d, load_i3d, same
from mmnist_av.system.errors import InputError

CPU = torch.device("cpu")

# Szegedy et al. 2015, table 1, rows 3a to 5b, which I3D calls 3b to 5c: inputs, then the columns #1x1 to pool proj.
TABLE = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}


def convolutions():
    """Name, inputs, outputs and side of every kernel but the last."""
    yield "Conv3d_1a_7x7", 3, 64, 7
    yield "Conv3d_2b_1x1", 64, 64, 1
    yield "Conv3d_2c_3x3", 64, 192, 3
    for name, (inputs, one, before_three, three, before_five, five, pooled) in TABLE.items():
        yield f"{name}.b0", inputs, one, 1
        yield f"{name}.b1a", inputs, before_three, 1
        yield f"{name}.b1b", before_three, three, 3
        yield f"{name}.b2a", inputs, before_five, 1
        yield f"{name}.b2b", before_five, five, 3
        yield f"{name}.b3b", inputs, pooled, 1


def shapes():
    """Every tensor of the published files, as a table: TensorFlow counts no batches."""
    result = {"logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,)}
    for name, inputs, outputs, side in convolutions():
        result[f"{name}.conv3d.weight"] = (outputs, inputs, side, side, side)
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            result[f"{name}.bn.{statistic}"] = (outputs,)
    return result


@pytest.fixture(scope="module")
def state():
    rng = torch.Generator().manual_seed(0)
    result = {}
    for name, shape in shapes().items():
        scale = (2 / torch.Size(shape)[1:].numel()) ** 0.5 if len(shape) == 5 else 0.1
        result[name] = torch.randn(shape, generator=rng) * scale
        if name.endswith(("bn.weight", "running_var")):
            result[name] = 1 + result[name].abs()
    return result


@pytest.fixture(scope="module")
def logits(state):
    return load_i3d(state, CPU)


def plain_logits(state, x):
    """The network again, for clips (N, 3, 9, 224, 224) in [-1, 1], every padding in numbers, pools padded by -inf."""

    def unit(x, name, padding, stride=1):
        x = F.conv3d(F.pad(x, padding), state[f"{name}.conv3d.weight"], stride=stride)
        statistics = (state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, scale, shift = (part.view(-1, 1, 1, 1) for part in statistics)
        return torch.relu((x - mean) / torch.sqrt(variance + 0.001) * scale + shift)

    def pool(x, padding, kernel, stride):
        return F.max_pool3d(F.pad(x, padding, value=-torch.inf), kernel, stride)

    def mixed(x, name):
        three = unit(unit(x, f"{name}.b1a", [0] * 6), f"{name}.b1b", [1] * 6)
        five = unit(unit(x, f"{name}.b2a", [0] * 6), f"{name}.b2b", [1] * 6)
        pooled = unit(pool(x, [1] * 6, 3, 1), f"{name}.b3b", [0] * 6)
        return torch.cat([unit(x, f"{name}.b0", [0] * 6), three, five, pooled], 1)

    x = unit(x, "Conv3d_1a_7x7", [2, 3, 2, 3, 3, 3], 2)  # 9 x 224 x 224 -> 5 x 112 x 112
    x = pool(x, [0, 1, 0, 1, 0, 0], (1, 3, 3), (1, 2, 2))  # -> 5 x 56 x 56
    x = unit(unit(x, "Conv3d_2b_1x1", [0] * 6), "Conv3d_2c_3x3", [1] * 6)
    x = pool(x, [0, 1, 0, 1, 0, 0], (1, 3, 3), (1, 2, 2))  # -> 5 x 28 x 28
    x = mixed(mixed(x, "Mixed_3b"), "Mixed_3c")
    x = pool(x, [0, 1, 0, 1, 1, 1], (3, 3, 3), (2, 2, 2))  # -> 3 x 14 x 14
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = mixed(x, name)
    x = pool(x, [0, 0, 0, 0, 0, 1], (2, 2, 2), (2, 2, 2))  # -> 2 x 7 x 7
    x = mixed(mixed(x, "Mixed_5b"), "Mixed_5c").mean((2, 3, 4))
    return x @ state["logits.conv3d.weight"].flatten(1).T + state["logits.conv3d.bias"]


def test_its_tensors_are_the_tables_and_the_published_files():
    result = {name: tuple(value.shape) for name, value in i3d().state_dict().items()}
    assert {name: shape for name, shape in result.items() if not name.endswith("num_batches_tracked")} == shapes()


def test_it_has_as_many_parameters_as_the_table_gives():
    kernels = sum(inputs * outputs * side**3 for _, inputs, outputs, side in convolutions())
    normalised = sum(outputs for _, _, outputs, _ in convolutions())
    expected = kernels + 2 * normalised + 1024 * 400 + 400
    assert expected == 12_697_264
    assert sum(parameter.numel() for parameter in i3d().parameters()) == expected


def test_its_logits_equal_a_second_implementations(state, logits):
    clips = torch.randint(256, (2, 9, 1, 48, 48), generator=torch.Generator().manual_seed(0)).float() / 255
    result = logits(clips)
    frames = F.interpolate(clips[:, :, 0], (224, 224), mode="bilinear", align_corners=False) * 2 - 1
    expected = plain_logits(state, frames[:, None].expand(-1, 3, -1, -1, -1))
    assert expected.std() > 0.1
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 7, 2), (8, 7, 2), (5, 2, 2), (6, 3, 2), (9, 3, 1), (4, 1, 3)]
)
def test_same_padding_gives_the_size_divided_and_rounded_up_with_the_odd_one_behind(size, kernel, stride):
    x = torch.arange(1.0, size + 1).view(1, 1, size, 1, 1)
    padded = same(x, (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert len(padded.unfold(0, kernel, stride)) == -(-size // stride)
    before = int((padded == 0).long().argmin())
    behind = len(padded) - before - size
    assert padded[before : before + size].tolist() == x.flatten().tolist()
    assert behind - before in (0, 1)
    assert before + behind < kernel


@pytest.mark.parametrize("frames", [9, 10, 17])
def test_clips_of_any_length_have_400_logits_and_batches_change_nothing(logits, monkeypatch, frames):
    clips = torch.rand(2, frames, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    expected = logits(clips)
    assert expected.shape == (2, 400)
    monkeypatch.setattr(module, "FRAMES_AT_ONCE", frames)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(logits(clips), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.rand(1, 8, 1, 48, 48), r"fvd needs clips .* of at least 9 frames, found \(1, 8, 1, 48, 48\)"),
        (torch.rand(9, 1, 48, 48), "fvd needs clips"),
        (torch.rand(1, 9, 2, 48, 48), "clips: .* expected"),
        (torch.rand(1, 9, 1, 48, 48) * 255, "clips: values in"),
    ],
)
def test_other_clips_are_refused(logits, clips, message):
    with pytest.raises(InputError, match=message):
        logits(clips)


def test_loading_leaves_the_random_state_as_it_was(state):
    before = torch.get_rng_state()
    load_i3d(state, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_weights_are_refused(state):
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_i3d({**state, "logits.conv3d.bias": torch.zeros(600)}, CPU)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_i3d({name: value for name, value in state.items() if "Mixed_5c" not in name}, CPU)
