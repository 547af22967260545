"""What must hold in every world: ink, speed, events, gain, flow and masks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import backward_flow, block_mask, ink_masks, render_frames
from mmnist_av.m3so.sound import gains, keys_pressed, render_audio
from mmnist_av.m3so.spec import BLOCK, NONE, WALL, Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError
from worlds import ROW_COLUMN, worlds

POOL = load_pool("embedded")["test"]
CLIPS = 6
any_world = given(spec=worlds(), seed=st.integers(0, 2**63 - 1))
some = settings(max_examples=40, deadline=None)


def world(spec, seed):
    return simulate(POOL, spec, seed, "test", np.arange(CLIPS))


def block_edges(truth):
    """Near and far edges of the block on each axis, 1/256 px, and at which frames it is there to be hit."""
    near = truth.block_place[:, None, None].astype(int) * 256
    far = near + truth.block_size[:, None, None, None].astype(int) * 256
    first = truth.block_first_frame[:, None, None]
    frame = np.arange(truth.position.shape[1])[None, :, None]
    return near, far, (first >= 0) & (frame > first)


@some
@any_world
def test_ink_never_leaves_the_canvas_or_overlaps_the_block(spec, seed):
    truth = world(spec, seed)
    position, extent = truth.position.astype(int), truth.size[:, None].astype(int) * 256
    assert (position >= 0).all()
    assert (position + extent <= spec.canvas * 256).all()
    near, far, _ = block_edges(truth)
    first = truth.block_first_frame[:, None, None]
    shown = (first >= 0) & (np.arange(spec.frames)[None, :, None] >= first)
    overlap = ((position < far) & (position + extent > near)).all(axis=-1)
    assert not (overlap & shown).any()
    inked = ink_masks(truth, POOL, spec).any(axis=2)
    assert not (inked & block_mask(truth, spec)).any()


@some
@any_world
def test_speed_is_constant_between_contacts(spec, seed):
    truth = world(spec, seed)
    step = np.diff(truth.position.astype(int), axis=1)
    length = np.hypot(step[..., 0], step[..., 1]) / 256
    free = truth.event[:, 1:] == NONE
    slowest = np.where(free, length, np.inf).min(axis=1)
    fastest = np.where(free, length, -np.inf).max(axis=1)
    flew = free.any(axis=1)
    assert (fastest - slowest)[flew].max(initial=0) < 0.01  # a velocity is rounded to 1/256 px
    assert np.abs(slowest[flew] - np.rint(slowest[flew])).max(initial=0) < 0.01
    assert (slowest[flew] > spec.slowest - 0.01).all()
    assert (fastest[flew] < spec.fastest + 0.01).all()
    assert (length <= spec.fastest + 0.01).all()  # a contact only shortens a step


@some
@any_world
def test_events_happen_exactly_when_there_is_contact(spec, seed):
    truth = world(spec, seed)
    position, extent = truth.position.astype(int), truth.size[:, None].astype(int) * 256
    at_wall = ((position == 0) | (position + extent == spec.canvas * 256)).any(axis=-1)
    near, far, there = block_edges(truth)
    at_block = ((position == far) | (position + extent == near)).any(axis=-1) & there
    assert (truth.event[:, 0] == NONE).all()
    assert at_wall[truth.event == WALL].all()
    assert at_block[truth.event == BLOCK].all()
    for clip, t, digit in np.argwhere(truth.event[:, 2:] == NONE):
        if (truth.event[clip, t : t + 2, digit] == NONE).all() and t > 0:  # so the step before was free
            step = position[clip, t + 1, digit] - position[clip, t, digit]
            assert (position[clip, t + 2, digit] == position[clip, t + 1, digit] + step).all()


@some
@any_world
def test_an_event_sounds_its_key_in_its_frame_and_nowhere_else(spec, seed):
    """With one digit: every frame's sound is its key's tone, scaled: its correlation with that tone is all but 1."""
    spec = replace(spec, digits_per_clip=1)
    truth = world(spec, seed)
    each = spec.samples_per_frame
    sound = render_audio(truth, spec).reshape(CLIPS, spec.frames, each).astype(float)
    keys, n = "0123456789*#", np.arange(each * spec.frames)
    tones = np.stack([sum(np.sin(2 * np.pi * hz * n / 8000) for hz in ROW_COLUMN[key]) for key in keys])
    tones = tones.reshape(len(keys), spec.frames, each)
    for clip in range(CLIPS):
        for t in range(0, spec.frames):
            match = tones[:, t] @ sound[clip, t] / np.linalg.norm(tones[:, t], axis=1)
            found = keys[int(np.argmax(match))]
            event = truth.event[clip, t, 0]
            assert found == {NONE: str(truth.label[clip, 0]), WALL: "*", BLOCK: "#"}[int(event)]


@some
@any_world
def test_gain_follows_the_distance(spec, seed):
    """By the distance of the digit's centre from the lower-left corner; each frame is as loud as that."""
    truth = world(spec, seed)
    centre = truth.position / 256 + truth.size[:, None] / 2
    distance = np.hypot(centre[..., 0], centre[..., 1])
    expected = distance / (spec.canvas * math.sqrt(2)) if spec.amplitude == "linear" else np.minimum(1, 10 / distance)
    found = gains(truth, spec) / 2**15
    np.testing.assert_allclose(found, expected, atol=3e-4)
    if spec.digits_per_clip == 1:
        peak = np.abs(render_audio(truth, spec).reshape(CLIPS, spec.frames, -1).astype(int)).max(axis=-1)
        n = np.arange(spec.samples).reshape(spec.frames, -1)
        for clip, pressed in enumerate(keys_pressed(truth, spec)[:, :, 0]):
            hertz = np.array([ROW_COLUMN[key] for key in pressed])[:, :, None]
            tone = 15000 * np.sin(2 * np.pi * hertz * n[:, None] / 8000).sum(axis=1)
            np.testing.assert_allclose(peak[clip], np.abs(tone).max(axis=1) * found[clip, :, 0], atol=3)


@some
@any_world
def test_flow_finds_every_pixel_of_a_digit_one_frame_earlier(spec, seed):
    spec = replace(spec, digits_per_clip=1)
    truth = world(spec, seed)
    frames, flow = render_frames(truth, POOL, spec), backward_flow(truth, spec)
    assert flow.shape == (CLIPS, spec.frames - 1, 2, spec.canvas, spec.canvas)
    ink = ink_masks(truth, POOL, spec)[:, 1:, 0]
    clip, t, row, column = np.nonzero(ink)
    dx, dy = np.moveaxis(flow, 2, 0)[:, clip, t, row, column].astype(int)
    np.testing.assert_array_equal(frames[clip, t, row + dy, column + dx], frames[clip, t + 1, row, column])
    assert not flow[:, :, 0][block_mask(truth, spec)[:, 1:]].any()
    still = ~ink & (np.abs(flow).sum(axis=2) > 0)  # moves without ink: the rest of the ink box, black before and after
    clip, t, row, column = np.nonzero(still)
    assert not frames[clip, t + 1, row, column].any()


def test_flow_of_several_digits_is_the_brighter_ones():
    spec = Spec(digits_per_clip=3)
    truth = world(spec, 4)
    frames, flow, ink = render_frames(truth, POOL, spec), backward_flow(truth, spec, POOL), ink_masks(truth, POOL, spec)
    crowded = ink[:, 1:].sum(axis=2) > 1
    assert crowded.any()
    left, top = truth.position[..., 0] // 256, spec.canvas - truth.position[..., 1] // 256 - truth.size[:, None, :, 1]
    for clip, t, row, column in np.argwhere(crowded)[:500]:
        values = [
            POOL.tiles[truth.image[clip, k]][row - top[clip, t + 1, k], column - left[clip, t + 1, k]]
            if ink[clip, t + 1, k, row, column]
            else -1
            for k in range(3)
        ]
        k = int(np.argmax(values))
        assert values[k] == frames[clip, t + 1, row, column]
        dx = left[clip, t, k] - left[clip, t + 1, k]
        dy = top[clip, t, k] - top[clip, t + 1, k]
        assert tuple(flow[clip, t, :, row, column]) == (dx, dy)
    with pytest.raises(InputError, match="give the split's pool"):
        backward_flow(truth, spec)


@some
@any_world
def test_masks_are_what_the_picture_shows(spec, seed):
    truth = world(spec, seed)
    frames = render_frames(truth, POOL, spec)
    inked = ink_masks(truth, POOL, spec).any(axis=2)
    block = block_mask(truth, spec)
    np.testing.assert_array_equal(frames > 0, inked | block)
    assert (frames[block] == 255).all()


def test_a_specular_bounce_keeps_the_angle():
    spec = Spec(bounce="specular")
    truth = world(spec, 0)
    step = np.abs(np.diff(truth.position.astype(int), axis=1))
    for clip in range(CLIPS):
        free = (truth.event[clip, 1:, 0] == NONE) & (np.r_[NONE, truth.event[clip, 1:-1, 0]] == NONE)
        assert len(np.unique(step[clip, free, 0], axis=0)) == 1
