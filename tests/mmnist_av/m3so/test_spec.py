"""The spec: canonical text, and what is refused."""

import dataclasses
import json

import pytest

from mmnist_av.errors import InputError
from mmnist_av.m3so.spec import Spec, spec_from_dict


@pytest.mark.parametrize("spec", [Spec(), Spec(obstacle=True), Spec(True, digits_per_clip=3)])
def test_a_spec_survives_its_text(spec):
    assert spec_from_dict(json.loads(spec.text())) == spec


def test_the_text_is_sorted_and_compact():
    text = Spec().text()
    assert json.loads(text) == json.loads(json.dumps(dataclasses.asdict(Spec())))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize("digits", [0, 17, -1, 1.5, True, "2"])
def test_bad_numbers_of_digits_are_refused(digits):
    with pytest.raises(InputError, match="digits per clip must be 1 to 16"):
        Spec(digits_per_clip=digits)


def test_another_world_is_refused_by_the_name_of_the_constant():
    fields = Spec().as_dict()
    with pytest.raises(InputError, match="canvas is 64; in M3SO v1 it is 48"):
        spec_from_dict({**fields, "canvas": 64})
    with pytest.raises(InputError, match="unknown spec field 'canvass': did you mean canvas"):
        spec_from_dict({**fields, "canvass": 48})
    del fields["fps"]
    with pytest.raises(InputError, match="lacks 'fps'"):
        spec_from_dict(fields)
