"""Checked settings report every mistake as one InputError line that names the field."""

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, Field

from mmnist_av.system.errors import InputError
from mmnist_av.system.settings import checked, refuse_misfit


@checked
class Example:
    count: Annotated[int, Field(ge=1, lt=10)]
    kind: Literal["random", "fixed"] = "random"
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] | None = None

    def __post_init__(self):
        if self.count == 7:
            raise InputError("seven is not supported")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count must be at least 1, not 0"),
        ({"count": 10}, "count must be less than 10, not 10"),
        ({"count": True}, "count must be a whole number, not True"),
        ({"count": "3"}, "count must be a whole number, not '3'"),
        ({"count": 7}, "seven is not supported"),
        ({"count": 1, "kind": "rando"}, "unknown kind 'rando': did you mean random?"),
        ({"count": 1, "shares": {"a": 2.0}}, "shares.a must be at most 1, not 2.0"),
        ({"count": 0, "kind": "x"}, "count must be at least 1, not 0; unknown kind 'x': choose one of: fixed, random"),
        ({"count": 1, "king": "random"}, "unknown field 'king'"),
        ({}, "count is missing"),
    ],
)
def test_a_bad_value_is_reported_in_words(values, message):
    with pytest.raises(InputError) as error:
        Example(**values)
    assert str(error.value) == message


def test_a_bad_value_by_position_is_reported_by_its_field():
    with pytest.raises(InputError, match="count must be at least 1, not 0"):
        Example(0)


def test_settings_are_frozen_comparable_and_hashable():
    assert Example(2, "fixed") == Example(count=2, kind="fixed")
    assert len({Example(2), Example(2)}) == 1
    with pytest.raises(AttributeError):
        Example(2).count = 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 0}, "a must be at least 1, not 0"),
        ({"a": "1"}, "a must be a whole number, not '1'"),
        ({"a": 2, "bb": 3}, "bb: the key 'bb' is too long"),
        ([], "must have entries by name, not []"),
    ],
)
def test_what_was_read_from_a_file_is_checked_by_type(value, message):
    kind = dict[Annotated[str, AfterValidator(short)], Annotated[int, Field(ge=1)]]
    with pytest.raises(InputError) as error:
        refuse_misfit(kind, value)
    assert str(error.value) == message
    refuse_misfit(kind, {"a": 1})


def short(key):
    if len(key) > 1:
        raise InputError(f"the key '{key}' is too long")
    return key
