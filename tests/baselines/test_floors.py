import pytest
import torch

from baselines.names import FLOORS
from baselines.predictor import ClipShape, Context, Noise
from baselines.registry import build

SEEN = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
AUDIO = torch.zeros(2, 7, 11, 11)


@pytest.mark.parametrize(
    ("name", "still"),
    [("black", torch.zeros(2, 1, 8, 8)), ("copy-last", SEEN[:, 2]), ("mean-seen", SEEN.sum(1) / 3)],
)
def test_a_floor_repeats_its_still_frame(name, still):
    predicted = (
        build(name, ClipShape((1, 8, 8), (11, 11), seen=5, train_frames=20, fps=10), None)
        .predict(Context(SEEN, AUDIO), 5, Noise(0, [0, 1], 5))
        .frames
    )
    assert predicted.shape == (2, 5, 4, 1, 8, 8)
    torch.testing.assert_close(predicted, still[:, None, None].expand_as(predicted))


def test_floors_are_deterministic_and_have_no_players():
    for name in FLOORS:
        floor = build(name, ClipShape((1, 8, 8), (11, 11), seen=5, train_frames=20, fps=10), None)
        assert not floor.stochastic
        assert floor.players() == {}
