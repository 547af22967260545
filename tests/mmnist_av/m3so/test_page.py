"""The generator against test vectors, and against the same world written as plain loops."""

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import render_frames
from mmnist_av.m3so.sound import render_audio, tones
from mmnist_av.m3so.spec import SPLIT_IDS, Spec
from mmnist_av.m3so.world import _velocities, simulate
from worlds import ROW_COLUMN, worlds

Q = 256


@dataclass
class Digit:
    label: int
    image: int
    ink: np.ndarray
    p: list[int]
    speed: int
    v: tuple[int, int]
    event: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.ink.shape[1], self.ink.shape[0]


def velocity(speed, m):
    angle = 2 * math.pi * m / 65536
    return round(256 * speed * math.cos(angle)), round(256 * speed * math.sin(angle))


def overlaps(low, size, other, other_size):
    return low < other + other_size and other < low + size


def step(spec, digit, block, u):
    """One digit's step, word for word."""
    q, contact, event = [digit.p[a] + digit.v[a] for a in (0, 1)], [0, 0], 0
    for a in (0, 1):
        most = (spec.canvas - digit.size[a]) * Q
        if q[a] < 0:
            q[a], contact[a], event = 0, 1, 1
        elif q[a] > most:
            q[a], contact[a], event = most, -1, 1
    if block and all(overlaps(q[a], digit.size[a] * Q, block[a] * Q, spec.block * Q) for a in (0, 1)):
        event = 2
        for a in (0, 1):
            if digit.p[a] + digit.size[a] * Q <= block[a] * Q:
                q[a], contact[a] = block[a] * Q - digit.size[a] * Q, -1
            elif digit.p[a] >= block[a] * Q + spec.block * Q:
                q[a], contact[a] = block[a] * Q + spec.block * Q, 1
    digit.p, digit.event = q, event
    if spec.bounce == "specular":
        digit.v = tuple(c * abs(v) if c else v for c, v in zip(contact, digit.v, strict=True))
    elif any(contact):
        centres = {(1, 0): 0, (0, 1): 16384, (-1, 0): 32768, (0, -1): 49152}
        corners = {(1, 1): 8192, (-1, 1): 24576, (-1, -1): 40960, (1, -1): 57344}
        centre, half = (corners[tuple(contact)], 5461) if all(contact) else (centres[tuple(contact)], 13653)
        digit.v = velocity(digit.speed, (centre + math.floor((2 * u - 1) * half)) % 65536)


def free_places(spec, digits):
    block, places = spec.block * Q, range(spec.canvas - spec.block + 1)
    return [
        (bx, by)
        for by in places
        for bx in places
        if not any(all(overlaps(d.p[a], d.size[a] * Q, (bx, by)[a] * Q, block) for a in (0, 1)) for d in digits)
    ]


def draw_frame(spec, digits, block):
    frame = np.zeros((spec.canvas, spec.canvas), np.uint8)
    if block:
        top = spec.canvas - block[1] - spec.block
        frame[top : top + spec.block, block[0] : block[0] + spec.block] = 255
    for d in digits:
        (w, h), x, y = d.size, d.p[0] // Q, d.p[1] // Q
        there = frame[spec.canvas - y - h : spec.canvas - y, x : x + w]
        np.maximum(there, d.ink, out=there)
    return frame


@functools.cache
def tone(row, column, n):
    return round(15000 * (math.sin(2 * math.pi * row * n / 8000) + math.sin(2 * math.pi * column * n / 8000)))


def sound_frame(spec, digits, t):
    parts, each = [], 8000 // spec.fps
    for d in digits:
        row, column = ROW_COLUMN[{0: str(d.label), 1: "*", 2: "#"}[d.event]]
        x, y = 2 * d.p[0] + 256 * d.size[0], 2 * d.p[1] + 256 * d.size[1]
        gain = min(32768, 32768 * 5120 // math.isqrt(x * x + y * y))
        if spec.amplitude == "linear":
            gain = 32768 * math.isqrt(x * x + y * y) // math.isqrt(2 * (512 * spec.canvas) ** 2)
        parts.append([(tone(row, column, (each * t + i) % 8000) * gain) >> 15 for i in range(each)])
    return [sum(samples) // len(digits) for samples in zip(*parts, strict=True)]


def plain_clip(pool, spec, seed, split, index):
    """Frames, sound and truth of one clip, by loops."""
    count = spec.digits_per_clip
    numbers = 1 + 5 * count + (spec.frames - 1) * count
    raw = np.random.Philox(key=[seed, SPLIT_IDS[split] * 2**32 + index]).random_raw(numbers)
    u = [int(number >> np.uint64(11)) * 2.0**-53 for number in raw]
    digits = []
    for k in range(count):
        image = math.floor(u[5 * k] * len(pool))
        w, h = pool.size[image]
        ink = pool.tiles[image, :h, :w]
        x, y = (math.floor(u[5 * k + 1 + a] * ((spec.canvas - int(s)) * 256 + 1)) for a, s in enumerate((w, h)))
        speed = spec.slowest + math.floor(u[5 * k + 3] * spec.speeds)
        m = math.floor(u[5 * k + 4] * 65536)
        digits.append(Digit(int(pool.label[image]), image, ink, [x, y], speed, velocity(speed, m)))
    block, first = None, -1
    frames, audio, positions, events = [], [], [], []
    for t in range(spec.frames):
        if t:
            for k, digit in enumerate(digits):
                step(spec, digit, block, u[5 * count + 1 + (t - 1) * count + k])
        if spec.obstacle and t >= spec.block_frame and block is None and (free := free_places(spec, digits)):
            block, first = free[math.floor(u[5 * count] * len(free))], t
        frames.append(draw_frame(spec, digits, block))
        audio += sound_frame(spec, digits, t)
        positions.append([list(d.p) for d in digits])
        events.append([d.event for d in digits])
    truth = {
        "label": [d.label for d in digits],
        "image": [d.image for d in digits],
        "position": positions,
        "size": [d.size for d in digits],
        "event": events,
        "block_place": block or (-1, -1),
        "block_size": spec.block if block else 0,
        "block_first_frame": first,
    }
    return np.stack(frames), np.array(audio, np.int16), truth


@settings(max_examples=40, deadline=None)
@given(
    spec=worlds(),
    seed=st.integers(0, 2**63 - 1),
    split=st.sampled_from(sorted(SPLIT_IDS)),
    index=st.integers(0, 2**32 - 1),
)
def test_every_clip_equals_the_plain_loops(spec, seed, split, index):
    pool = load_pool("embedded")[split]
    frames, audio, expected = plain_clip(pool, spec, seed, split, index)
    truth = simulate(pool, spec, seed, split, np.array([index], np.uint64))
    for name, array in truth.arrays().items():
        np.testing.assert_array_equal(array[0], expected[name], err_msg=name)
    np.testing.assert_array_equal(render_frames(truth, pool, spec)[0], frames)
    np.testing.assert_array_equal(render_audio(truth, spec)[0], audio)


@pytest.mark.parametrize("count", [2, 4])
def test_late_blocks_are_placed_as_the_plain_loops_place_them(count):
    pool, spec = load_pool("embedded")["train"], Spec(True, count)
    truth = simulate(pool, spec, 0, "train", np.arange(3000))
    late = np.flatnonzero(truth.block_first_frame != 41)
    assert len(late) >= 3
    for index in late[:3]:
        frames, _, expected = plain_clip(pool, spec, 0, "train", int(index))
        assert truth.block_first_frame[index] == expected["block_first_frame"]
        np.testing.assert_array_equal(truth.position[index], expected["position"])
        np.testing.assert_array_equal(render_frames(truth.clips(slice(index, index + 1)), pool, spec)[0], frames)


@pytest.mark.parametrize(("obstacle", "count"), [(True, 1), (False, 1), (True, 3)])
def test_a_clip_does_not_depend_on_the_clips_rendered_with_it(obstacle, count):
    pool, spec = load_pool("embedded")["val"], Spec(obstacle, count)
    order = np.random.default_rng(0).permutation(40)
    together = simulate(pool, spec, 9, "val", np.arange(40))
    shuffled = simulate(pool, spec, 9, "val", order)
    frames, audio = render_frames(together, pool, spec), render_audio(together, spec)
    np.testing.assert_array_equal(render_frames(shuffled, pool, spec), frames[order])
    np.testing.assert_array_equal(render_audio(shuffled, spec), audio[order])
    for name, array in simulate(pool, spec, 9, "val", np.array([17])).arrays().items():
        np.testing.assert_array_equal(array, together.arrays()[name][17:18], err_msg=name)


@pytest.mark.parametrize(
    ("obstacle", "count", "index", "frames", "audio"),
    [
        (True, 1, 0, "7d63457ecc649ae5", "7a35705b76edb43f"),
        (False, 1, 0, "1f0822c7beeec5ac", "6850994f08e67b45"),
        (True, 1, 7, "864a1b6fc66af8da", "01d8697508154c60"),
        (True, 2, 3, "5995aa3d35be0f7b", "a8262a7807d2b18a"),
    ],
)
def test_vectors(mnist_root, obstacle, count, index, frames, audio):
    pool, spec = load_pool("mnist", mnist_root)["test"], Spec(obstacle, count)
    truth = simulate(pool, spec, 0, "test", np.arange(10))
    assert hashlib.sha256(render_frames(truth, pool, spec)[index]).hexdigest()[:16] == frames
    assert hashlib.sha256(render_audio(truth, spec)[index]).hexdigest()[:16] == audio


def test_the_statistics_of_mnist_clips_are_the_documented_ones(mnist_root):
    pool = load_pool("mnist", mnist_root)["test"]
    without = simulate(pool, Spec(False), 0, "test", np.arange(200))
    with_block = simulate(pool, Spec(True), 0, "test", np.arange(200))
    assert (without.event == 1).sum() / 200 == pytest.approx(15.8, abs=0.05)
    assert (with_block.event == 1).sum() / 200 == pytest.approx(17.5, abs=0.05)
    assert (with_block.event == 2).sum() / 200 == pytest.approx(6.7, abs=0.05)
    assert (with_block.event[:, :70] == 2).any(axis=(1, 2)).mean() == 0.975


def test_no_velocity_or_tone_is_near_a_tie_of_rounding():
    spec = Spec(canvas=128, slowest=1, speeds=128)
    angle = 2 * np.pi * np.arange(65536) / 65536
    speed = 256.0 * np.arange(1, 129)[:, None]
    exact = np.stack([speed * np.cos(angle), speed * np.sin(angle)])
    assert np.abs(exact - _velocities(spec)).max() < 0.5 - 1e-9
    n = np.arange(8000)
    for number, key in enumerate("0123456789*#"):
        tone = sum(15000 * np.sin(2 * np.pi * (hertz * n % 8000) / 8000) for hertz in ROW_COLUMN[key])
        assert np.abs(tone - tones(spec).reshape(12, 8000)[number]).max() < 0.5 - 1e-7


def test_sums_of_many_digits_stay_within_16_bits():
    pool, spec = load_pool("embedded")["test"], Spec(False, 4)
    truth = simulate(pool, spec, 0, "test", np.arange(4))
    assert np.abs(render_audio(truth, spec).astype(int)).max() <= 30000
