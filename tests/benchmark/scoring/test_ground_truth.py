"""What predictions are compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.catalogue import PROTOCOLS
from benchmark.scoring.ground_truth import TargetClips
from mmnist_av.m3so.family import M3SO
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

CLIPS = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Some test clips of M3SO under its protocol."""
    dataset = generate(tmp_path_factory.mktemp("data") / "m3so", Spec(obstacle=True), {"test": CLIPS}, seed=3)
    return TargetClips(dataset, "test", PROTOCOLS["m3so"], CLIPS, CPU)


def test_the_frames_to_be_predicted_are_the_stored_ones(clips):
    for index in range(CLIPS):
        stored = clips.dataset.split("test").frames[index, 30:70] / np.float32(255)
        np.testing.assert_array_equal(clips(index).unseen[0, 0, :, 0], stored)


def test_annotations_are_those_of_the_clips_frames(clips):
    for index in range(CLIPS):
        clip = clips(index)
        assert clip.annotation("block_mask").shape == (1, 70, 48, 48)
        assert clip.annotation("events").shape == (1, 70)
        assert clip.annotation("flow").shape == (1, 70, 2, 48, 48)
        assert clip.annotation("label").shape == (1,)
        assert clip.annotation("block").shape == (1, 2)


def test_a_window_of_a_clip_has_its_own_frames_and_annotations(clips):
    clip = clips(1)
    window = clip.window(10, 5)
    assert window.seen == 40
    assert torch.equal(window.unseen, clip.unseen[:, :, 10:15])
    assert torch.equal(window.annotation("events"), clip.annotation("events")[:, :45])
    assert torch.equal(window.annotation("flow"), clip.annotation("flow")[:, :45])
    assert torch.equal(window.annotation("block_mask"), clip.annotation("block_mask")[:, :45])
    assert torch.equal(window.annotation("label"), clip.annotation("label"))
    assert clip.window(0, 40) is clip


def test_an_annotation_that_is_not_of_the_frames_is_whole_in_every_window(clips, monkeypatch):
    monkeypatch.setattr(M3SO, "annotate", lambda family, dataset, split, clip, name, frames: np.arange(70))
    clip = clips(0)  # of 70 frames
    assert torch.equal(clip.window(10, 5).annotation("votes"), clip.annotation("votes"))


def test_a_model_is_given_a_copy_of_the_seen_frames_and_the_clips_own_sound(clips):
    clip = clips(2)
    context = clips.context(clip, flow=False)
    assert torch.equal(context.frames, clip.frames[:, :30])
    assert context.frames.untyped_storage().nbytes() == context.frames.nbytes  # no view of a future frame
    assert torch.equal(context.audio, clip.audio)
    assert context.flow is None
    flow = clips.context(clip, flow=True).flow
    assert torch.equal(flow, clip.annotation("flow")[:, :30])
    assert flow.untyped_storage().nbytes() == flow.nbytes


def test_mismatched_sound_is_that_of_the_next_clip_and_of_the_first_for_the_last(clips):
    mismatched = replace(clips, protocol=replace(clips.protocol, mismatched=True))
    for index in range(CLIPS):
        context = mismatched.context(mismatched(index), flow=False)
        assert torch.equal(context.audio, clips((index + 1) % CLIPS).audio)
        assert torch.equal(context.frames, clips(index).frames[:, :30])


def test_sound_cannot_be_mismatched_in_a_split_of_one_clip(tmp_path):
    one = generate(tmp_path / "one", Spec(), {"test": 1}, seed=3)
    clips = TargetClips(one, "test", PROTOCOLS["m3so-nb-av-mismatch"], 1, CPU)
    with pytest.raises(InputError, match="takes the sound of another clip, and there is only one"):
        clips.context(clips(0), flow=False)
