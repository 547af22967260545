"""Bounces read off tracks, against plain loops, matching by brute force, and the true frames of our own worlds."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics.bounces import LONGEST_LAG, BounceTarget, bounce_f1, bounces, matched, sync_lag
from benchmark.metrics.track import digit_visible
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import block_mask, render_frames
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError

CLIPS = 60


def world(obstacle, seen, count):
    """Return the target of CLIPS clips of a protocol's world, their frames to be predicted, and all their frames."""
    spec, digits = Spec(obstacle=obstacle, frames=70), load_pool("embedded")["test"]
    truth = simulate(digits, spec, 1, "test", np.arange(CLIPS))
    frames = torch.from_numpy(render_frames(truth, digits, spec)).float()[:, None, :, None] / 255
    hidden = torch.from_numpy(block_mask(truth, spec))[:, None, :, None]
    unseen = slice(seen, seen + count)
    shown = torch.where(hidden, torch.nan, frames)[:, :, seen - 2 : seen + count]
    return BounceTarget(shown, torch.from_numpy(truth.event[:, unseen, 0] > 0)), frames[:, :, unseen], frames


@pytest.fixture(scope="module", params=[(False, 5, 20), (True, 30, 40)], ids=["m3so-nb", "m3so"])
def clips(request):
    return world(*request.param)


def dots(track, height=24, width=24):
    """(1, 1, T, 1, H, W): a white square of 3x3 px with its centre at each of the whole places (column, row)."""
    frames = torch.zeros(len(track), height, width)
    for frame, (column, row) in zip(frames, track, strict=True):
        frame[row - 1 : row + 2, column - 1 : column + 2] = 1
    return frames[None, None, :, None]


# It goes right by 3 px, is stopped short at frame 3 by a wall at 16, and goes back: points -2 to 7
THERE_AND_BACK = [(2, 5), (5, 5), (8, 5), (11, 5), (14, 5), (16, 5), (13, 5), (10, 5), (7, 5), (4, 5)]


def target_of(track, events):
    return BounceTarget(dots(track), torch.tensor([[t in events for t in range(len(track) - 2)]]))


def test_a_stop_short_and_the_way_back_are_one_bounce():
    track = torch.tensor(THERE_AND_BACK, dtype=torch.float64)
    assert bounces(track).nonzero().flatten().tolist() == [3]
    whole_step = torch.tensor([(2, 5), (5, 5), (8, 5), (11, 5), (14, 5), (11, 5), (8, 5), (5, 5)], dtype=torch.float64)
    assert bounces(whole_step).nonzero().flatten().tolist() == [2]


def test_bounces_in_consecutive_frames_all_count():
    corner = torch.tensor([(0, 9), (4, 6), (8, 3), (9, 2), (12, 0), (8, 4), (4, 8), (0, 12)], dtype=torch.float64)
    assert bounces(corner).nonzero().flatten().tolist() == [1, 2]


def test_a_bounce_in_the_last_seen_frame_does_not_count():
    track = torch.tensor([(6, 5), (8, 5), (5, 5), (2, 5), (-1, 5), (-4, 5)], dtype=torch.float64)
    assert not bounces(track).any()


@settings(max_examples=200, deadline=None)
@given(angle=st.floats(0, 7), speed=st.floats(0, 6), x=st.floats(0, 1), y=st.floats(0, 1), whole=st.booleans())
def test_straight_motion_never_bounces_whether_or_not_it_is_in_whole_px(angle, speed, x, y, whole):
    steps = torch.arange(30, dtype=torch.float64)
    track = torch.stack([x + steps * speed * math.cos(angle), y + steps * speed * math.sin(angle)], -1)
    assert not bounces(track.floor() if whole else track).any()


def hidden(track, places):
    """The track with NaN at the True `places` (T + 2,), which leaves its two seen points."""
    return track.masked_fill((places & (torch.arange(len(places)) > 1))[:, None], torch.nan)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 0.5), sharp=st.sampled_from([0.2, 0.5, 1]))
def test_hiding_frames_only_takes_bounces_away_and_none_touches_a_hidden_frame(seed, share, sharp):
    rng = torch.Generator().manual_seed(seed)
    turns = torch.randn(20, 2, generator=rng, dtype=torch.float64) * (torch.rand(20, 1, generator=rng) < sharp)
    track = turns.cumsum(0).cumsum(0)
    places = torch.rand(20, generator=rng) < share
    result = bounces(hidden(track, places))
    assert not (result & ~bounces(track)).any()
    near = torch.nn.functional.pad(places & (torch.arange(20) > 1), (0, 1)).unfold(0, 3, 1).any(-1)[1:]
    assert not (result & near)[:-1].any()


def test_a_bounce_is_found_where_its_frames_are_visible_and_missed_where_one_is_not():
    track = torch.tensor(THERE_AND_BACK, dtype=torch.float64)  # velocity changes at 3, from 2 to 4, and not at 4
    for point in range(8):
        places = torch.arange(10) == point + 2
        assert bounces(hidden(track, places)).any() == (point not in (2, 3, 4, 5)), point


def most_matches(true, predicted):
    """The size of the largest one-to-one matching within one frame, by trying every one."""
    if not true:
        return 0
    first, rest = true[0], true[1:]
    result = most_matches(rest, predicted)
    for other in predicted:
        if abs(other - first) <= 1:
            result = max(result, 1 + most_matches(rest, [p for p in predicted if p != other]))
    return result


def events_of(row):
    return row.nonzero().flatten().tolist()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.1, 0.9), frames=st.integers(1, 9))
def test_as_many_are_matched_as_can_be_one_for_one(seed, share, frames):
    true, predicted = torch.rand(2, 4, 3, frames, generator=torch.Generator().manual_seed(seed)) < share
    result = matched(true, predicted)
    assert not (result & ~true).any()
    for place in itertools.product(range(4), range(3)):
        assert len(events_of(result[place])) == most_matches(events_of(true[place]), events_of(predicted[place]))


def plain_f1(true, predicted):
    """Of two lists of frames, the last frame being `len - 1`."""
    hits, last = most_matches(true, predicted[0]), predicted[1]
    needed = [t for t in true if t != last]
    expected = len(needed) if hits == most_matches(needed, predicted[0]) else len(true)
    return 2 * hits / (expected + len(predicted[0])) if expected + len(predicted[0]) else 1.0


def test_f1_is_a_plain_loop_over_clips_and_samples(clips):
    target, unseen, _ = clips
    samples = torch.cat([unseen, unseen.roll(1, 0), unseen.flip(2), unseen * 0.7], 1)[:12]
    some = BounceTarget(target.frames[:12], target.events[:12])
    result = bounce_f1(some, samples)
    assert result.shape == (12, 4, 1)
    visible, last = digit_visible(some.frames[:, :, 2:], samples), samples.shape[2] - 1
    for b, k in itertools.product(range(12), range(4)):
        places = []
        for t in range(last + 3):
            true = some.frames[b, 0, t, 0].double().numpy()
            frame = true if t < 2 else samples[b, k, t - 2, 0].double().numpy()
            ink = np.where(np.isnan(true), 0, frame)
            rows, columns = np.mgrid[:48, :48]
            hides = t > 1 and not visible[b, k, t - 2]
            places.append([math.nan if hides else (ink * axis).sum() / ink.sum() for axis in (columns, rows)])
        track = (torch.tensor(places).double() * 2**20).round() / 2**20
        predicted = events_of(bounces(track))
        assert result[b, k, 0].item() == pytest.approx(
            plain_f1(events_of(some.events[b]), (predicted, last)), abs=1e-12
        )


def test_f1_counts_misses_and_false_ones_and_spares_the_last_frame():
    def f1(events):
        return bounce_f1(target_of(THERE_AND_BACK, events), dots(THERE_AND_BACK)[:, :, 2:]).item()

    assert [f1([3]), f1([2]), f1([4]), f1([3, 7])] == [1, 1, 1, 1]
    assert [f1([]), f1([1]), f1([5])] == [0, 0, 0]
    assert f1([3, 6]) == f1([2, 4]) == pytest.approx(2 / 3)


def test_f1_is_1_without_true_and_predicted_bounces():
    straight = [(2 + 2 * t, 5) for t in range(9)]
    shown = dots(straight)[:, :, 2:]
    assert bounce_f1(target_of(straight, []), shown).item() == 1
    for last in range(7):  # a frame that is hidden cannot show that nothing bounces
        shown[:, :, last] = 0
        assert bounce_f1(target_of(straight, []), shown).item() == 0


def test_true_frames_score_high_and_nothing_else_does(clips):
    target, unseen, _ = clips
    assert bounce_f1(target, unseen).mean() > 0.95
    frozen = target.frames[:, :, 1:2].nan_to_num().expand_as(unseen)
    assert bounce_f1(target, frozen).mean() < 0.25
    assert 0.3 < bounce_f1(target, unseen.roll(1, 0)).mean() < 0.65


def test_black_and_haze_have_the_worst_score_in_every_clip(clips):
    target, unseen, _ = clips
    grey = unseen.mean((-2, -1), keepdim=True).expand_as(unseen)
    for frames in (
        torch.zeros_like(unseen),
        grey,
        unseen * 0.3,
        torch.ones_like(unseen),
        torch.nn.functional.avg_pool2d(unseen.mean((0, 2)), 9, 1, 4).expand_as(unseen),  # of 60 clips: smoothed
    ):
        assert bounce_f1(target, frames).eq(0).all()
        lag = sync_lag(target, frames)
        assert lag[~lag.isnan()].eq(LONGEST_LAG).all()
        assert lag.isnan().equal(sync_lag(target, unseen).isnan())


def test_a_fade_out_of_sight_costs_more_the_earlier_it_is(clips):
    target, unseen, _ = clips
    count = unseen.shape[2]
    scores = []
    for shown in range(count, -1, -count // 5):
        faded = torch.where(torch.arange(count)[:, None, None, None] < shown, unseen, 0)
        scores.append((bounce_f1(target, faded), sync_lag(target, faded)))
    for (f1, lag), (next_f1, next_lag) in itertools.pairwise(scores):
        assert next_f1.mean() < f1.mean()
        assert next_lag.nanmean() > lag.nanmean()


def test_hidden_frames_count_as_the_longest_lag():
    frames = dots(THERE_AND_BACK)[:, :, 2:]
    assert sync_lag(target_of(THERE_AND_BACK, [3]), frames).item() == 0
    frames[:, :, 6] = 0  # with it, the changes at frames 5 and 6 are unknown, of those at 0 to 6
    assert sync_lag(target_of(THERE_AND_BACK, [3]), frames).item() == pytest.approx(2 / 7 * LONGEST_LAG)
    frames[:, :, 4] = 0  # and the turn itself
    assert sync_lag(target_of(THERE_AND_BACK, [3]), frames).item() > 4 / 7 * LONGEST_LAG


def test_true_frames_are_in_time_with_the_audio(clips):
    target, unseen, _ = clips
    enough = target.events[:, :-1].sum(1) >= 3
    assert (sync_lag(target, unseen)[enough] == 0).double().mean() > 0.9


@pytest.mark.parametrize("delay", [1, 2, 3, 4, 5])
def test_a_delay_is_found(delay):
    target, _, frames = world(False, 30, 40)
    late = frames[:, :, 30 - delay : 70 - delay]
    enough = target.events[:, : -1 - delay].sum(1) >= 4
    lag = sync_lag(target, late)[enough].flatten()
    assert enough.sum() > 30
    assert (lag == delay).double().mean() > 0.9


def test_constant_velocity_and_black_frames_get_the_longest_lag():
    straight = [(2 + 2 * t, 5) for t in range(10)]
    for frames in (dots(straight)[:, :, 2:], torch.zeros(1, 1, 8, 1, 24, 24)):
        assert sync_lag(target_of(straight, [3]), frames).item() == LONGEST_LAG


def test_a_clip_without_a_bounce_before_the_last_frame_has_no_lag():
    for events in ([], [7]):
        assert sync_lag(target_of(THERE_AND_BACK, events), dots(THERE_AND_BACK)[:, :, 2:]).isnan().all()


def plain_lag(change, events):
    """The smallest of the lags with the highest positive correlation, by loops and numpy's own correlation."""
    best, result = 1e-9, LONGEST_LAG
    for lag in sorted(range(-LONGEST_LAG, LONGEST_LAG + 1), key=abs):
        pairs = [(change[t], events[t - lag]) for t in range(len(change)) if 0 <= t - lag < len(change)]
        x, y = np.array(pairs, float).reshape(-1, 2).T
        if len(pairs) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0 and np.corrcoef(x, y)[0, 1] > best + 1e-9:
            best, result = np.corrcoef(x, y)[0, 1], abs(lag)
    return result


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(3, 20))
def test_the_lag_is_a_plain_loop_over_lags(seed, frames):
    rng = np.random.default_rng(seed)
    tracks = rng.integers(1, 23, size=(2, frames + 2, 2))
    tracks[1, :2] = tracks[0, :2]
    target = BounceTarget(dots(tracks[0]), torch.from_numpy(rng.random((1, frames)) < 0.3))
    result = sync_lag(target, torch.cat([dots(track)[:, :, 2:] for track in tracks], 1)).flatten()
    events = target.events[0, :-1].numpy()
    for track, lag in zip(tracks, result, strict=True):
        change = np.hypot(*np.diff(track, n=2, axis=0).T)[1:]
        assert lag.item() == plain_lag(change, events) if events.any() else lag.isnan()


def test_pixels_of_the_block_do_not_count(clips):
    target, unseen, _ = clips
    drawn = torch.where(target.frames[:, :, 2:].isnan(), 0.3, unseen)
    assert torch.equal(bounce_f1(target, drawn), bounce_f1(target, unseen))
    assert torch.equal(sync_lag(target, drawn).nan_to_num(-1), sync_lag(target, unseen).nan_to_num(-1))


@pytest.mark.parametrize("metric", [bounce_f1, sync_lag])
def test_a_score_does_not_depend_on_what_is_scored_beside_it(clips, metric):
    target, unseen, _ = clips
    samples = torch.cat([unseen, unseen.roll(1, 0), unseen.roll(2, 0)], 1)
    whole = metric(target, samples)
    alone = metric(BounceTarget(target.frames[7:8], target.events[7:8]), samples[7:8, 1:2])
    assert torch.equal(whole[7, 1], alone[0, 0])


@pytest.mark.parametrize("metric", [bounce_f1, sync_lag])
def test_wrong_shapes_types_and_values_are_refused(metric):
    target, unseen = target_of(THERE_AND_BACK, [3]), dots(THERE_AND_BACK)[:, :, 2:]
    for wrong in (unseen[:, :, 1:], unseen[0], unseen[:, :, :2], unseen.bool()):
        with pytest.raises(InputError, match="expected"):
            metric(target, wrong)
    with pytest.raises(InputError, match="bool events"):
        metric(BounceTarget(target.frames, target.events.long()), unseen)
    for value in (math.nan, -1, 2):
        with pytest.raises(InputError, match="values in"):
            metric(target, torch.full_like(unseen, value))
