"""Checks that several metrics share."""

from torch import Tensor

from mmnist_av.system.errors import InputError


def check_unit_range(frames: Tensor, name: str) -> None:
    """Raise InputError, which calls the frames `name`, where a value is outside [0, 1] or not a number."""
    low, high = (bound.item() for bound in frames.detach().aminmax())
    if not (low >= 0 and high <= 1):  # a NaN fails too
        raise InputError(f"{name}: values in [0, 1] expected, not {low:g} to {high:g}")
