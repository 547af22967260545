"""The references: a particle filter that reads the audio exactly and follows M3SO's rules."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.bayes import FEATURES, NOT_USED, WORLD, BayesAV, BayesConfig, BayesV, Filter, read_audio, read_frames
from baselines.predictor import ClipShape, Context, Noise
from benchmark.catalogue import PROTOCOLS, check_world
from benchmark.metrics.block import block_iou
from benchmark.metrics.image import psnr
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import keys_pressed, render_audio
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError

SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
POOL = load_pool("embedded")["test"]
CLIPS = 6


def clips(spec, total):
    """Truth, frames (N, T, 1, H, W) in [0, 1] and spectrograms (N, T, 41, 21)."""
    truth = simulate(POOL, spec, 3, "test", np.arange(CLIPS)).until(total)
    frames = torch.from_numpy(render_frames(truth, POOL, spec)).float()[:, :, None] / 255
    audio = torch.from_numpy(render_audio(truth, spec)).unflatten(1, (-1, spec.samples_per_frame))
    return truth, frames, FEATURES(audio)


@pytest.fixture(scope="module")
def plain():
    return clips(Spec(), 25)


@pytest.fixture(scope="module")
def blocked():
    return clips(Spec(obstacle=True), 70)


@pytest.mark.parametrize("obstacle", [False, True])
def test_key_and_distance_are_read_exactly_from_the_audio(obstacle):
    truth, _, audio = clips(Spec(obstacle=obstacle), 70)
    for clip in range(CLIPS):
        reading = read_audio(audio[clip])
        pressed = keys_pressed(truth, WORLD)[clip, :, 0]
        assert "".join(reading.key) == "".join(pressed)
        centre = truth.position[clip, :, 0] / 256 + truth.size[clip, 0] / 2
        distance = np.hypot(*centre.T)
        assert (reading.full == (distance <= 10.002)).all()
        assert np.abs(reading.distance - distance)[~reading.full].max() < 0.02


def test_the_digit_is_read_from_the_seen_frames(plain):
    truth, frames, _ = plain
    for clip in range(CLIPS):
        seen = read_frames(frames[clip, :5, 0])
        np.testing.assert_array_equal(seen.corner, truth.position[clip, :5, 0] // 256)
        np.testing.assert_array_equal(seen.size, truth.size[clip, 0])
    with pytest.raises(InputError, match="a digit in every seen frame"):
        read_frames(torch.zeros(3, 48, 48))


def test_particles_end_where_the_digit_is_however_long_clips_are():
    truth, frames, audio = clips(Spec(frames=60), 25)  # the other tests' clips have 100
    for clip in range(CLIPS):
        filtered = Filter(BayesConfig(), read_frames(frames[clip, :5, 0]), read_audio(audio[clip]), 25)
        particles, weight = filtered.run()
        path = (weight[:, None, None] * particles.path).sum(0)
        off = np.hypot(*(path - truth.position[clip, :, 0] / 256).T)
        assert np.median(off) < 0.1


def test_psnr_is_above_30_db_with_audio_and_above_black_frames_without(plain):
    _, frames, audio = plain
    target, scores = frames[:, None, 5:], {}
    for model in (BayesAV(SHAPE), BayesV(SHAPE)):
        predicted = model.predict(Context(frames[:, :5], audio), 20, Noise(0, range(CLIPS), 20)).frames
        assert predicted.shape == (CLIPS, 20, 20, 1, 48, 48)
        scores[model.modality] = psnr(target, predicted.mean(1, keepdim=True)).mean()
    black = psnr(target, torch.zeros_like(target)).mean()
    assert scores["AV"] > 30
    assert black < scores["V"] < scores["AV"]


def test_audio_locates_the_block(blocked):
    truth, frames, audio = blocked
    model = BayesAV(SHAPE)
    predicted = model.predict(Context(frames[:, :30], audio), 10, Noise(0, range(CLIPS), 10)).frames
    place = torch.from_numpy(truth.block_place.astype(np.int64))
    iou = block_iou(place, predicted).mean()
    without_audio = BayesV(SHAPE).predict(Context(frames[:, :30], audio), 10, Noise(0, range(CLIPS), 10)).frames
    assert block_iou(place, without_audio).mean() < iou - 0.15


def test_particles_keep_the_rules_of_m3so(blocked):
    _, frames, audio = blocked
    for reading in (read_audio(audio[0]), None):
        filtered = Filter(BayesConfig(particles=200), read_frames(frames[0, :30, 0]), reading, 70)
        particles, _ = filtered.run()
        filtered.settle_block(particles)
        assert (particles.path >= 0).all()
        assert (particles.path <= filtered.limit).all()
        known = ~np.isnan(particles.block[:, 0])
        near, path = particles.block[known][:, None], particles.path[known][:, 42:]
        inside = ((path + filtered.seen.size > near + 0.1) & (path < near + WORLD.block - 0.1)).all(-1)
        assert known.mean() > 0.9
        assert inside.mean() < 0.01  # a path keeps its resampling noise where a later hit has drawn the block


def test_the_reference_without_audio_does_not_depend_on_audio(plain):
    _, frames, audio = plain
    predictions = [
        BayesV(SHAPE).predict(Context(frames[:2, :5], each), 3, Noise(0, [0, 1], 3)).frames
        for each in (audio[:2], audio[2:4])
    ]
    assert torch.equal(*predictions)


def test_a_sample_depends_on_its_seed_clip_and_number_only(plain):
    _, frames, audio = plain
    model = BayesAV(SHAPE)
    together = model.predict(Context(frames[:3, :5], audio[:3]), 5, Noise(0, [0, 1, 2], 5)).frames
    alone = model.predict(Context(frames[1:2, :5], audio[1:2]), 2, Noise(0, [1], 2)).frames
    assert torch.equal(together[1, :2], alone[0])


def other_than(value):
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return [*value, value[0]] if isinstance(value, list) else value + type(value)(1)


@pytest.mark.parametrize("name", [field.name for field in fields(Spec)])
def test_a_world_with_another_value_of_any_parameter_that_the_filter_uses_is_refused(name):
    def check(spec):
        for model in (BayesAV, BayesV):
            check_world("it", model.world, SimpleNamespace(manifest={"spec": spec}, path="there"))

    spec = Spec(obstacle=True).as_dict()
    check(spec)
    changed = spec | {name: other_than(spec[name])}
    if name in NOT_USED:
        check(changed)
        return
    with pytest.raises(InputError, match=f"it needs {name} .*, there has {name} .*: generate a dataset with {name} "):
        check(changed)
    with pytest.raises(InputError, match=f"it needs {name} .*, there has no {name}: "):
        check({key: value for key, value in spec.items() if key != name})


def test_m3so_nb_is_predicted_until_before_the_frame_in_which_the_filter_expects_a_block():
    last = [protocol.test_frames for protocol in PROTOCOLS.values() if not protocol.world.get("obstacle", True)]
    assert 0 < max(last) <= WORLD.block_frame


def test_other_datasets_are_refused():
    with pytest.raises(InputError, match="knows the world of M3SO only"):
        BayesAV(ClipShape((1, 64, 64), (41, 21), seen=5, train_frames=20, fps=10))
    with pytest.raises(InputError, match="knows the world of M3SO only"):
        BayesAV(ClipShape((1, 48, 48), (64, 1), seen=5, train_frames=20, fps=10))
