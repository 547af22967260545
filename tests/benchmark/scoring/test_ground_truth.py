"""What the scores compare with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.protocols import PROTOCOLS
from benchmark.scoring.ground_truth import TARGETS, TrueClips
from mmnist_av.m3so.family import spec_of, truth_of
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import block_mask
from mmnist_av.m3so.spec import Spec

CLIPS = 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Some test clips of M3SO under its protocol."""
    dataset = generate(tmp_path_factory.mktemp("data") / "m3so", Spec(obstacle=True), {"test": CLIPS}, seed=3)
    return TrueClips(dataset, "test", PROTOCOLS["m3so"], CLIPS, torch.device("cpu"))


def test_images_are_compared_with_the_unseen_frames(clips):
    for index in range(CLIPS):
        stored = clips.dataset.split("test").frames[index, 30:70] / np.float32(255)
        np.testing.assert_array_equal(TARGETS["frames"](clips(index))[0, 0, :, 0], stored)


def test_the_digit_is_looked_for_outside_the_shown_block(clips):
    for index in range(CLIPS):
        clip = clips(index)
        target = TARGETS["digit"](clip)
        shown = block_mask(truth_of(clips.dataset.split("test"), slice(index, index + 1)), spec_of(clips.dataset))
        np.testing.assert_array_equal(target.isnan()[0, 0, :, 0].numpy(), shown[0, 30:70])
        kept = ~target.isnan()
        assert torch.equal(target[kept], clip.unseen[kept])


def test_a_clip_has_a_block_only_where_a_predicted_frame_shows_it(clips):
    for index in range(CLIPS):
        clip, place = clips(index), truth_of(clips.dataset.split("test")).block_place[index]
        for first, expected in ((41, place), (69, place), (70, [-1, -1]), (-1, [-1, -1])):
            clip = replace(clip, truth=replace(clip.truth, block_first_frame=np.array([first], np.int16)))
            assert TARGETS["block"](clip).tolist() == [list(expected)]


def test_the_label_and_the_bounces_are_the_truths(clips):
    for index in range(CLIPS):
        clip, truth = clips(index), clips.dataset.split("test").record("truth")
        assert TARGETS["label"](clip).tolist() == truth["label"][index].tolist()
        found = TARGETS["bounces"](clip)
        np.testing.assert_array_equal(found.events[0].numpy(), truth["event"][index, 30:70, 0] != 0)
        assert found.frames.shape == (1, 1, 42, 1, 48, 48)
        np.testing.assert_array_equal(found.frames[0, 0, 2:], TARGETS["digit"](clip)[0, 0])
        np.testing.assert_array_equal(found.frames[0, 0, :2], clip.frames[0, 28:30])


def test_the_flow_of_a_frame_points_to_the_frame_before(clips):
    clip = clips(0)
    flow = TARGETS["flow"](clip)
    assert flow.shape == (1, 1, 40, 2, 48, 48)
    for t in range(40):
        position = clip.truth.position[0, [29 + t, 30 + t], 0] // clip.spec.subpixels
        moved = position[0] - position[1]
        step = flow[0, 0, t].flatten(1)
        moving = step[:, (step != 0).any(0)]
        if moved.any():
            assert {tuple(each) for each in moving.T.tolist()} == {(float(moved[0]), float(-moved[1]))}
        else:
            assert not moving.numel()
