"""Settings of models: frozen dataclasses that pydantic checks, and errors of one line."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import Field, TypeAdapter, ValidationError

from mmnist_av.system.errors import InputError, unknown_name

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]  # of dropout, so below 1

Config = TypeVar("Config")


@dataclass_transform(frozen_default=True)
def settings(config: type[Config]) -> type[Config]:
    """Make a class a frozen pydantic dataclass that raises InputError, in one line, for a wrong name or value.

    Checks that concern several settings are pydantic model validators that raise ValueError.
    """
    checked: Any = pydantic.dataclasses.dataclass(frozen=True)(config)
    names = [field.name for field in dataclasses.fields(checked)]
    construct = checked.__init__

    @wraps(construct)
    def construct_or_explain(self: Any, *args: Any, **values: Any) -> None:
        for name in values:
            if name not in names:
                raise unknown_name(f"setting of {config.__name__}", name, names)
        with one_line_errors():
            construct(self, *args, **values)

    checked.__init__ = construct_or_explain
    return checked


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Replace the errors of a config's constructor by InputErrors of one line, inside a with block."""
    try:
        yield
    except ValidationError as error:
        raise InputError("; ".join(describe(each) for each in error.errors())) from None
    except InputError:
        raise
    except ValueError as error:  # raised by a third party's plain dataclass
        raise InputError(str(error)) from error


# Pydantic's type of error -> what is allowed. Braces are filled from the error's own facts.
ALLOWED = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be finite",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be above {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be below {lt:g}",
}


def describe(error: Any) -> str:
    """Return one of pydantic's errors in words: the setting, its value, and what is allowed."""
    facts = error.get("ctx", {})
    if not error["loc"]:  # raised by a check that concerns several settings
        return str(facts.get("error", error["msg"]))
    allowed = ALLOWED.get(error["type"], "{msg}").format(msg=error["msg"], **facts)
    return f"setting {'.'.join(map(str, error['loc']))}={error['input']}: {allowed}"


def parse(name: str, text: str, kind: type) -> Any:
    """Return the value of the setting `name` that `text` stands for, a `kind` (bool, int, float or str)."""
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        raise InputError(describe({**error.errors()[0], "loc": (name,)})) from None
