"""The spec: its canonical text, and the worlds it refuses."""

import dataclasses
import json

import pytest

from mmnist_av.m3so.spec import Spec, spec_from_dict
from mmnist_av.system.errors import InputError

SPECS = [
    Spec(),
    Spec(obstacle=True),
    Spec(True, digits_per_clip=3),
    Spec(canvas=64, frames=60, fps=25, bounce="specular", amplitude="linear"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_survives_its_text(spec):
    assert spec_from_dict(json.loads(spec.text())) == spec


def test_the_text_is_sorted_and_compact():
    text = Spec().text()
    assert json.loads(text) == json.loads(json.dumps(dataclasses.asdict(Spec())))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_every_choice_is_in_the_text():
    other = {"obstacle": True, "digits_per_clip": 2, "canvas": 64, "frames": 90, "fps": 20, "slowest": 1, "speeds": 3}
    other |= {"block": 8, "block_frame": 30, "bounce": "specular", "amplitude": "linear"}
    assert set(other) == {field.name for field in dataclasses.fields(Spec) if field.init}
    obstacle = {"obstacle": True}
    texts = {Spec(**{**obstacle, name: value}).text() for name, value in other.items()} | {Spec().text()}
    assert len(texts) == len(other) + 1


def test_a_variant_names_the_choices_that_differ_from_the_papers():
    assert Spec(True).variant == Spec().variant == ""
    assert Spec(frames=60, bounce="specular").variant == "frames=60 bounce=specular"


@pytest.mark.parametrize("digits", [0, 5, -1, 1.5, True, "2"])
def test_bad_numbers_are_refused(digits):
    with pytest.raises(InputError, match=r"digits_per_clip must be (at least 1|at most 4|a whole number), not"):
        Spec(digits_per_clip=digits)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"obstacle": True, "block": 32}, "a block of 32 px beside a digit of 20 px can never fit a canvas of 48 px"),
        ({"obstacle": True, "frames": 41}, "a block at frame 41 never shows in 41 frames"),
        ({"obstacle": True, "block": 4}, "6 px a frame could jump over a block of 4 px"),
        ({"block": 8}, "block 8 without a block: it needs the obstacle"),
        ({"fps": 7}, "fps 7 does not divide the 8000 samples of a second"),
        ({"slowest": 40, "speeds": 20}, "59 px a frame would cross a canvas of 48 px"),
        ({"canvas": 19}, "canvas must be at least 20, not 19"),
        ({"bounce": "specula"}, "unknown bounce 'specula': did you mean specular"),
        ({"amplitude": 1}, "unknown amplitude '1'"),
        ({"obstacle": 1}, "obstacle must be true or false"),
    ],
)
def test_impossible_worlds_are_refused_with_the_reason(chosen, message):
    with pytest.raises(InputError, match=message):
        Spec(**chosen)


def test_a_changed_constant_is_refused_by_its_name():
    fields = Spec().as_dict()
    with pytest.raises(InputError, match="tone_level is 16000; in M3SO v1 it is 15000"):
        spec_from_dict({**fields, "tone_level": 16000})
    with pytest.raises(InputError, match="unknown spec field 'canvass': did you mean canvas"):
        spec_from_dict({**fields, "canvass": 48})
    del fields["fps"]
    with pytest.raises(InputError, match="has no 'fps'"):
        spec_from_dict(fields)
