"""Which digit a predicted frame shows, read by a small convolutional network that comes with the package."""

import hashlib
from functools import lru_cache
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from benchmark.networks.inference import float32
from mmnist_av.system.errors import InputError

WEIGHTS = "reader.safetensors"  # beside this file; made by `python -m benchmark.metrics.train_reader`
WEIGHTS_SHA256 = "990117ab60a4f51ec4a96b3855e862d4f0e008db5463d4e4b435e8a6cacc0f08"
CLASSES = 10
AT_ONCE = 32  # frames read at once: what becomes of them stays in a core's cache


class Reader(nn.Sequential):
    """Grey frames (N, 1, H, W), of any size, to scores (N, 10): four convolutions, the maximum over places, a layer.

    A place sees 29x29 px, a whole digit of 20x20 and what is around it; places are 4 px apart.
    """

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(24, 48, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
            nn.Linear(128, CLASSES),
        )


@torch.no_grad()
def digit_accuracy(label: Tensor, prediction: Tensor) -> Tensor:
    """Whether each predicted frame shows the digit that it should, to the reader's eye: 1 or 0.

    label: (B,) the true class of each clip's digit, 0 to 9, any integer type. prediction: (B, K, T, C, H, W) float in
    [0, 1]. Returns (B, K, T) float64. Raises InputError as `read_digits`, and for other shapes or labels.
    Source: this benchmark's.
    """
    if prediction.ndim != 6 or label.shape != prediction.shape[:1]:
        raise InputError(
            f"labels (B,) and frames (B, K, T, C, H, W) wanted, not {tuple(label.shape)} and {tuple(prediction.shape)}"
        )
    if label.is_floating_point() or not ((label >= 0) & (label < CLASSES)).all():
        raise InputError(f"labels must be whole, 0 to {CLASSES - 1}, not {label.tolist()}")
    read = read_digits(prediction.flatten(0, 2)).unflatten(0, prediction.shape[:3])
    return (read == label.to(read)[:, None, None]).double()


@torch.no_grad()
def read_digits(frames: Tensor) -> Tensor:
    """The class that each frame shows, one of ten: (N, C, H, W) float in [0, 1], of any size, to (N,) int64.

    A frame without a digit is given some class, too. Every group of frames is filled up to the same number, so that
    no answer depends on what else is read. Raises InputError for other shapes or types, no frames, values outside
    [0, 1] or not finite, and weights that are not the right ones.
    """
    if frames.ndim != 4 or not frames.is_floating_point() or not frames.numel():
        raise InputError(f"float frames (N, C, H, W) wanted, not {tuple(frames.shape)} {frames.dtype}")
    low, high = (bound.item() for bound in frames.aminmax())
    if not (low >= 0 and high <= 1):  # a NaN fails too
        raise InputError(f"frames: values in [0, 1] wanted, not {low:g} to {high:g}")
    reader = _reader(frames.device)
    found = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
    group = frames.new_zeros(AT_ONCE, 1, *frames.shape[-2:], dtype=torch.float32)
    with float32(frames.device):
        for start in range(0, len(frames), AT_ONCE):
            some = frames[start : start + AT_ONCE].float().mean(1, keepdim=True)
            group[: len(some)] = some
            found[start : start + len(some)] = reader(group)[: len(some)].argmax(1)
    return found


@lru_cache(maxsize=4)
def _reader(device: torch.device) -> Reader:
    content = resources.files("benchmark.metrics").joinpath(WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise InputError(f"{WEIGHTS} of the package is not the right one (SHA-256 {digest}): install the package again")
    reader = Reader()
    reader.load_state_dict({name: weights.float() for name, weights in load(content).items()})
    return reader.eval().requires_grad_(False).to(device)
