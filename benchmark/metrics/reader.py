"""Which digit a predicted frame shows, read by a small convolutional network that comes with the package."""

import hashlib
from functools import lru_cache
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_samples, check_unit_range, described
from benchmark.metrics.track import clip_digit_visible
from benchmark.networks.inference import float32
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

WEIGHTS = "reader.safetensors"  # beside this file; written by scripts/train_reader.py
WEIGHTS_SHA256 = "990117ab60a4f51ec4a96b3855e862d4f0e008db5463d4e4b435e8a6cacc0f08"
CLASSES = 10
AT_ONCE = 32  # frames read at once: their activations stay in a core's cache


class Reader(nn.Sequential):
    """A network from grey frames (N, 1, H, W), of any size, to class scores (N, 10).

    Four convolutions, the maximum over positions, and a linear layer. Each position covers 29x29 px, a whole digit of
    20x20 and its surroundings; positions are 4 px apart.
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


def clip_digit_accuracy(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `digit_accuracy` of a clip's predicted frames, with its annotation "label": (1, K, P).

    It is NaN where no digit is visible (see `digit_visible`), because the reader gives a black frame some class, too.
    """
    correct = digit_accuracy(clip.annotation("label"), prediction.frames)
    return correct.where(clip_digit_visible(clip, prediction) == 1, torch.nan)


@torch.no_grad()
def digit_accuracy(label: Tensor, prediction: Tensor) -> Tensor:
    """Return 1 for each predicted frame that the reader assigns to the clip's true class, else 0.

    label: (B,) the true class of each clip's digit, 0 to 9, any integer type. prediction: (B, K, T, C, H, W) float in
    [0, 1]. Returns (B, K, T) float64. Raises InputError as `read_digits`, and for other shapes or labels.
    Source: this benchmark's.
    """
    check_samples(prediction)
    if label.shape != prediction.shape[:1]:
        raise InputError(
            f"labels (B,) for a prediction (B, K, T, C, H, W) expected, "
            f"found {tuple(label.shape)} and {tuple(prediction.shape)}"
        )
    if label.is_floating_point() or not ((label >= 0) & (label < CLASSES)).all():
        raise InputError(f"labels: whole numbers 0 to {CLASSES - 1} expected, found {label.tolist()}")
    read = read_digits(prediction.flatten(0, 2)).unflatten(0, prediction.shape[:3])
    return (read == label.to(read)[:, None, None]).double()


@torch.no_grad()
def read_digits(frames: Tensor) -> Tensor:
    """Return the class that each frame shows, one of ten: (N, C, H, W) float in [0, 1], of any size, to (N,) int64.

    A frame without a digit gets some class, too. Every group of frames is filled up to the same number, so that no
    result depends on what else is read. Raises InputError for other shapes or types, no frames, values outside [0, 1]
    or not finite, and weights that are not the package's.
    """
    if frames.ndim != 4 or not frames.is_floating_point() or not frames.numel():
        raise InputError(f"float frames (N, C, H, W) expected, found {described(frames)}")
    check_unit_range(frames, "frames")
    reader = _reader(frames.device)
    classes = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
    group = frames.new_zeros(AT_ONCE, 1, *frames.shape[-2:], dtype=torch.float32)
    with float32(frames.device):
        for start in range(0, len(frames), AT_ONCE):
            some = frames[start : start + AT_ONCE].float().mean(1, keepdim=True)
            group[: len(some)] = some
            classes[start : start + len(some)] = reader(group)[: len(some)].argmax(1)
    return classes


@lru_cache(maxsize=4)
def _reader(device: torch.device) -> Reader:
    content = resources.files("benchmark.metrics").joinpath(WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise InputError(f"{WEIGHTS} is not the package's own (SHA-256 {digest}): install the package again")
    reader = Reader()
    reader.load_state_dict({name: weights.float() for name, weights in load(content).items()})
    return reader.eval().requires_grad_(False).to(device)
