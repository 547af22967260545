"""Checks of frames and samples that several metrics share. Each one raises InputError, which names the tensor."""

from torch import Tensor

from mmnist_av.system.errors import InputError


def check_unit_range(frames: Tensor, name: str) -> None:
    """Raise InputError where a value of `frames`, which must not be empty, is outside [0, 1] or NaN."""
    low, high = (bound.item() for bound in frames.detach().aminmax())
    if not (low >= 0 and high <= 1):  # False for NaN, too
        raise InputError(f"{name}: values in [0, 1] expected, found {low:g} to {high:g}")


def check_finite(values: Tensor, name: str) -> None:
    """Raise InputError where `values` are not of a float type, or one of them is infinite or NaN."""
    if not values.is_floating_point() or not values.isfinite().all():
        raise InputError(f"{name}: finite floats expected, found {described(values)}")


def check_samples(prediction: Tensor) -> None:
    """Raise InputError where `prediction` is not (B, K, T, C, H, W) of a float type, or is empty."""
    if prediction.ndim != 6 or not prediction.is_floating_point():
        raise InputError(f"prediction: float frames (B, K, T, C, H, W) expected, found {described(prediction)}")
    if prediction.numel() == 0:
        raise InputError(f"prediction: no frames in {described(prediction)}")


def check_target(target: Tensor, prediction: Tensor) -> None:
    """Raise InputError where `target` is not (B, 1, T, C, H, W) for a prediction of shape (B, K, T, C, H, W)."""
    if prediction.ndim != 6 or target.shape != (prediction.shape[0], 1, *prediction.shape[2:]):
        raise InputError(
            "target (B, 1, T, C, H, W) and prediction (B, K, T, C, H, W) expected, "
            f"found {tuple(target.shape)} and {tuple(prediction.shape)}"
        )


def described(value: object) -> str:
    """Return what a value is, in words: "(2, 1, 48, 48) uint8" for a tensor, "dict of Tensor" or "float" for others."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    kinds = sorted({type(each).__name__ for each in inner})
    return f"{type(value).__name__} of {' and '.join(kinds)}" if kinds else type(value).__name__
