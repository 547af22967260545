"""Metrics: functions (target, prediction) -> one number per frame, and the facts about each that the harness needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmark.metrics.block import block_iou
from benchmark.metrics.image import psnr, ssim, ssim_uniform
from benchmark.metrics.track import position_error
from mmnist_av.errors import unknown_name


@dataclass(frozen=True)
class Metric:
    """A metric and its facts."""

    name: str
    compute: Callable[[Tensor, Tensor], Tensor]  # (target, prediction (B, K, T, C, H, W)) -> (B, K, T), or (B, K, 1)
    better: Literal["higher", "lower"]
    range: tuple[float, float]
    unit: str  # "" for a pure number
    frames: Literal["all", "last"]  # which predicted frames get a score
    # what it compares with: true frames (B, 1, T, C, H, W); those with NaN where the block is; or block_place (B, 2)
    target: Literal["frames", "digit", "block"]
    source: str  # what it is, and where it comes from


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", psnr, "higher", (0, 60), "dB", "all", "frames", "10 log10(1 / MSE), MSE at least 1e-6"),
        Metric("ssim", ssim, "higher", (-1, 1), "", "all", "frames", "SSIM, Gaussian 11x11 window, Wang et al. 2004"),
        Metric(
            *("ssim_uniform", ssim_uniform, "higher", (-1, 1), "", "all", "frames"),
            "SSIM, uniform 7x7 window and range 2: scikit-image 0.15 on float images, Sound2Sight's tables",
        ),
        Metric(
            *("position_error", position_error, "lower", (0, float("inf")), "px", "all", "digit"),
            "distance of the centres of ink, the true block's place left out",
        ),
        Metric(
            *("block_iou", block_iou, "higher", (0, 1), "", "last", "block"),
            "IoU of the true block with the brightest 16x16 window, after Sound2Sight",
        ),
    )
}


def find(name: str) -> Metric:
    """The metric called `name`; InputError with the nearest names if there is none."""
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]
