"""The floor for metrics of bounces: it turns when the sound says so, and uses nothing else of it."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines import bayes, zigzag
from baselines.bayes import FEATURES
from baselines.predictor import ClipShape, Context, Noise
from baselines.zigzag import NOT_USED, TRIED, Zigzag, seen_motion, turns_of
from benchmark.catalogue import check_world
from benchmark.metrics.bounces import BounceTarget, bounce_f1, sync_lag
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio
from mmnist_av.m3so.spec import NONE, Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError

SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
POOL = load_pool("embedded")["test"]
CLIPS, TOTAL = 8, 25


def clips(**rules):
    """Truth, frames (N, T, 1, H, W) in [0, 1] and spectrograms (N, T, 41, 21)."""
    spec = Spec(**rules)
    truth = simulate(POOL, spec, 3, "test", np.arange(CLIPS)).until(TOTAL)
    frames = torch.from_numpy(render_frames(truth, POOL, spec)).float()[:, :, None] / 255
    audio = torch.from_numpy(render_audio(truth, spec)).unflatten(1, (-1, spec.samples_per_frame))
    return truth, frames, FEATURES(audio)


@pytest.fixture(scope="module")
def plain():
    return clips()


def predict(frames, audio, samples=3, numbers=range(CLIPS), seed=0):
    return Zigzag(SHAPE).predict(Context(frames[:, :5], audio), samples, Noise(seed, numbers, samples)).frames


def test_its_bounces_are_in_time_and_its_place_is_wrong(plain):
    truth, frames, audio = plain
    predicted = predict(frames, audio)
    target = BounceTarget(frames[:, None, 3:], torch.from_numpy(truth.event[:, 5:, 0] != NONE))
    assert bounce_f1(target, predicted).mean() > 0.85
    assert sync_lag(target, predicted).nanmean() < 0.5
    assert ((predicted.mean(1) - frames[:, 5:]) ** 2).mean() > 0.5 * (frames[:, 5:] ** 2).mean()


def test_it_is_the_seen_digit_whole_in_every_frame(plain):
    _, frames, audio = plain
    ink = frames[:, 4].flatten(1).sort(1).values
    shown = predict(frames, audio).flatten(3).sort(3).values
    assert torch.equal(shown, ink[:, None, None].expand_as(shown))


@pytest.mark.parametrize("loudness", [0.3, "random"])
def test_the_loudness_is_not_used(plain, loudness):
    _, frames, audio = plain
    if loudness == "random":
        loudness = 0.2 + torch.rand(CLIPS, TOTAL, 1, 1, generator=torch.Generator().manual_seed(0))
    other = torch.log1p(loudness * torch.expm1(audio))
    assert torch.equal(predict(frames, audio), predict(frames, other))


def test_paths_are_straight_between_turns_and_turn_by_90_degrees_or_more():
    """A canvas without end, so that no border bends a path."""
    seen = bayes.SeenDigit(corner=np.array([[100, 100], [103, 104]]), ink=np.ones((2, 2), np.float32))
    turns = np.zeros(42, bool)
    turns[[4, 5, 20, 41]] = True
    shares = np.random.default_rng(0).random((40, TRIED))
    path = zigzag.zigzag(seen, turns, shares, np.array([1e4, 1e4]))
    steps = np.diff(np.concatenate([seen.corner[-1:] + 0.5, path]), axis=0)  # steps[t - 2] leads to frame t
    np.testing.assert_allclose(np.hypot(*steps.T), 5)
    np.testing.assert_allclose(steps[:3], [[3, 4]] * 3)  # to frames 2, 3 and 4
    changed = 2 + 1 + np.flatnonzero(np.abs(np.diff(steps, axis=0)).max(1) > 1e-9)
    assert list(changed) == [5, 6, 21]  # the frames after the turns
    for t in changed:
        assert steps[t - 2] @ steps[t - 3] <= 1e-9


def test_the_speed_is_that_of_whole_steps_since_the_last_turn():
    corner = np.array([[10, 10], [13, 14], [14, 14], [11, 10], [8, 6]])
    seen = bayes.SeenDigit(corner=corner, ink=np.ones((2, 2), np.float32))
    for contacts, velocity, speed in (([2], (-3, -4), 5), ([], (-0.5, -1), 4), ([2, 4], (-3, -4), 5)):
        turns = np.isin(np.arange(9), contacts)
        found = seen_motion(seen, turns)
        np.testing.assert_allclose(found[0], velocity)
        assert found[1] == pytest.approx(speed)


def test_a_sample_depends_on_its_seed_clip_and_number_only(plain):
    _, frames, audio = plain
    together = predict(frames, audio)
    assert torch.equal(predict(frames[2:3], audio[2:3], 2, numbers=[2])[0], together[2, :2])
    assert not torch.equal(together, predict(frames, audio, seed=1))
    assert len(together[0].flatten(1).unique(dim=0)) == 3


OTHER = {
    "obstacle": False,
    "amplitude": "linear",
    "block": 10,
    "block_frame": 3,
    "bounce": "specular",
    "canvas": 64,
    "slowest": 3,
    "speeds": 2,
    "frames": 60,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Spec)])
def test_a_world_with_another_value_of_any_parameter_is_refused_or_makes_no_difference(name):
    spec = Spec(obstacle=True).as_dict()
    there = SimpleNamespace(manifest={"spec": spec | {name: OTHER.get(name, "another")}}, path="there")
    if name in (*NOT_USED, *bayes.NOT_USED):
        check_world("it", Zigzag.world, there)
        truth, _, audio = clips(**{"obstacle": True, name: OTHER[name]})
        for clip in range(CLIPS):
            np.testing.assert_array_equal(turns_of(audio[clip]), truth.event[clip, :, 0] != NONE)
        return
    with pytest.raises(InputError, match=f"it needs {name} .*, there has {name} another"):
        check_world("it", Zigzag.world, there)


@pytest.mark.parametrize(
    "shape",
    [
        ClipShape((3, 48, 48), (41, 21), seen=5, train_frames=20, fps=10),
        ClipShape((1, 48, 48), (64, 1), seen=5, train_frames=20, fps=10),
        ClipShape((1, 48, 48), (41, 21), seen=1, train_frames=20, fps=10),
    ],
)
def test_other_clips_are_refused(shape):
    with pytest.raises(InputError, match="zigzag needs two seen frames in grey, and M3SO's audio features"):
        Zigzag(shape)


def test_frames_of_another_size_are_filled_with_paths_of_that_size():
    _, frames, audio = clips(canvas=64)
    model = Zigzag(ClipShape((1, 64, 64), (41, 21), seen=5, train_frames=20, fps=10))
    predicted = model.predict(Context(frames[:2, :5], audio[:2]), 2, Noise(0, [0, 1], 2)).frames
    assert predicted.shape == (2, 2, 20, 1, 64, 64)
    ink = frames[:2, 4].sum((1, 2, 3))[:, None, None].expand(2, 2, 20)
    torch.testing.assert_close(predicted.sum((-3, -2, -1)), ink)
