import itertools

import pytest
import torch

from baselines.floors import Scatter
from baselines.names import FLOORS, SAMPLED_FLOORS
from baselines.predictor import ClipShape, Context, Noise
from baselines.registry import build, find, is_trained

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


def test_floors_with_samples_are_stochastic_and_not_trained():
    for name in SAMPLED_FLOORS:
        assert find(name).predictor.stochastic
        assert not is_trained(name)


def scatter(seen, samples, predicted, seed=0, clips=(0,)):
    """Samples (B, K, P, C, H, W) after seen frames (B, F, C, H, W)."""
    model = Scatter(ClipShape(tuple(seen.shape[2:]), (11, 11), seen=seen.shape[1], train_frames=20, fps=10))
    audio = torch.zeros(len(seen), seen.shape[1] + predicted, 11, 11)
    return model.predict(Context(seen, audio), samples, Noise(seed, clips, samples)).frames


def seen_box(channels, height, width):
    """Two seen frames (1, 2, C, 6, 8): the last one has a box of ink, with a hole, of this size; the first has more."""
    box = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(1)) + 0.1
    box[:, height // 2, width // 2] = 0
    seen = torch.ones(1, 2, channels, 6, 8)
    seen[:, 1] = 0
    seen[:, 1, :, 2 : 2 + height, 4 : 4 + width] = box
    return seen, box


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 3, 3), (3, 4, 3), (1, 3, 4)])
def test_scatter_shows_the_ink_seen_last_at_one_of_all_places_and_each_as_often(channels, height, width):
    seen, box = seen_box(channels, height, width)
    places = list(itertools.product(range(6 - height + 1), range(8 - width + 1)))
    possible = torch.zeros(len(places), channels, 6, 8)
    for number, (row, column) in enumerate(places):
        possible[number, :, row : row + height, column : column + width] = box
    shown = scatter(seen, 40, 50).flatten(0, 2)
    same = (shown[:, None] == possible).flatten(2).all(2)
    assert (same.sum(1) == 1).all()
    expected = len(shown) / len(places)
    chi_squared = ((same.sum(0) - expected) ** 2 / expected).sum()
    assert chi_squared < 2 * len(places) + 10  # some 4 standard deviations above its mean


def test_a_place_depends_on_its_clip_sample_and_frame_only():
    seen = torch.cat([seen_box(1, 3, 3)[0]] * 3)
    together = scatter(seen, 4, 5, clips=(7, 8, 9))
    assert torch.equal(scatter(seen[:1], 2, 5, clips=(8,))[0], together[1, :2])
    different = together.flatten(0, 2).unique(dim=0)
    assert len(different) > 10  # of 24 places
    assert not torch.equal(together, scatter(seen, 4, 5, seed=1, clips=(7, 8, 9)))


def test_without_ink_scatter_is_black_and_a_frame_full_of_ink_stays():
    assert not scatter(torch.zeros(2, 3, 1, 8, 8), 3, 4, clips=(0, 1)).any()
    full = torch.rand(2, 3, 3, 8, 8) + 0.1
    assert torch.equal(scatter(full, 3, 4, clips=(0, 1)), full[:, 2, None, None].expand(-1, 3, 4, -1, -1, -1))
