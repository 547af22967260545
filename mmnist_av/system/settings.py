"""Settings that check themselves: frozen dataclasses whose field types say which values are allowed."""

import dataclasses
import functools
import re
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmnist_av.system.errors import InputError, unknown_name

T = TypeVar("T")

# Messages for pydantic's types of errors; the fields are those of the error's own context
_LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "finite_number": "must be finite",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be like {pattern}",
    "list_type": "must be a list",
    "dict_type": "must have entries by name",
}


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def checked(cls: type[T]) -> type[T]:
    """Make `cls` a frozen pydantic dataclass that raises InputError, in one line, for values its types do not allow.

    Types are strict: no text is read as a number, no truth value as 1. `__post_init__` may raise InputError itself.
    """
    dataclass: Any = pydantic.dataclasses.dataclass(cls, frozen=True, config=ConfigDict(strict=True, extra="forbid"))
    initialise = dataclass.__init__
    names = [field.name for field in dataclasses.fields(dataclass) if field.init]

    @functools.wraps(initialise)
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        try:
            initialise(self, *values, **named)
        except ValidationError as error:
            raise InputError("; ".join(_message(each, names) for each in error.errors())) from None

    dataclass.__init__ = __init__
    checked_class: type[T] = dataclass
    return checked_class


def refuse_misfit(kind: Any, value: object) -> None:
    """Raise InputError, in one line, if `value` is not of the type `kind`. Types are strict, as those of `checked`."""
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError("; ".join(_message(each, []) for each in error.errors())) from None


_adapter = functools.cache(TypeAdapter)  # building one takes longer than its use


def _message(error: Any, names: list[str]) -> str:
    """Return one of pydantic's errors in words: the field (of `names`, if by position), what is wrong, the value."""
    kind, context = error["type"], error.get("ctx", {})
    field = _field(error["loc"], names)
    if kind == "value_error":
        return f"{field}: {context['error']}".removeprefix(": ")  # those of __post_init__ are of no field
    if kind == "literal_error" and (names_allowed := re.findall(r"'([^']*)'", context["expected"])):
        return str(unknown_name(field, str(error["input"]), names_allowed))
    if kind == "missing":
        return f"{field} is missing"
    if kind == "unexpected_keyword_argument":
        return f"unknown field '{field}'"
    wanted = _LIMITS[kind].format(**_plain(context)) if kind in _LIMITS else error["msg"].lower().replace("input ", "")
    return f"{field} {wanted}, not {error['input']!r}".lstrip()


def _field(place: tuple[int | str, ...], names: list[str]) -> str:
    """Return the name of the field at a place of pydantic's; "" for the whole."""
    first, *inner = place or ("",)
    if inner[-1:] == ["[key]"]:  # the error repeats the key
        inner = inner[:-2]
    return ".".join(map(str, [names[first] if isinstance(first, int) and first < len(names) else first, *inner]))


def _plain(context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of an error, its floats without needless zeros."""
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}
