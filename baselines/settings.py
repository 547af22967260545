"""Types of models' settings, and settings given as text."""

import math
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from mmnist_av.system.errors import InputError

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, lt=1)]  # of dropout, so below 1

ALLOWED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def parse(name: str, text: str, kind: type) -> Any:
    """Return the value of the setting `name` that `text` stands for; kind: bool, int, float or str."""
    try:
        value: Any = TypeAdapter(kind).validate_python(text)
    except ValidationError:
        raise InputError(f"--set {name}={text}: must be {ALLOWED[kind]}") from None
    if kind is float and not math.isfinite(value):
        raise InputError(f"--set {name}={text}: must be a finite number")
    if kind is float and value == 0 and text.lower().partition("e")[0].strip(" +-._0"):
        raise InputError(f"--set {name}={text}: too small for a number of 64 bits, which would be 0")
    return value
