"""Metrics: functions (truth, prediction) -> one number per frame, and the facts about each that the harness needs."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from torch import Tensor

from benchmark.metrics.block import block_iou
from benchmark.metrics.bounces import bounce_f1, sync_lag
from benchmark.metrics.diversity import self_similarity, self_similarity_flow
from benchmark.metrics.flow import aepe
from benchmark.metrics.fooling import train_judge
from benchmark.metrics.frechet import FEW, LEAST
from benchmark.metrics.image import psnr, ssim, ssim_uniform
from benchmark.metrics.reader import digit_accuracy
from benchmark.metrics.resources import Measure, Setting, Unavailable
from benchmark.metrics.track import position_error
from benchmark.metrics.uncertainty import uncertainty_rank
from benchmark.networks import weights
from mmnist_av.system.errors import InputError, unknown_name

log = logging.getLogger(__name__)

INFINITE = float("inf")


@dataclass(frozen=True)
class Metric:
    """A metric and its facts."""

    name: str
    get: Callable[[Setting], Measure]  # raises Unavailable
    better: Literal["higher", "lower"]
    range: tuple[float, float]
    unit: str  # "" for a pure number
    frames: Literal["all", "last", "clip"]  # which predicted frames have a score; clip: one for all of them
    target: str  # what it compares with: a key of benchmark.scoring.ground_truth.TARGETS
    source: str  # what it is, and where it comes from
    # What of a prediction it looks at; with error: frames, and as one more channel the error that is expected of each.
    judges: Literal["frames", "flow", "frames with error"] = "frames"
    # What has a score: each future; a clip's futures, by pairs; or all clips' first futures as one set, and then what
    # `get` gives measures the features of a clip.
    of: Literal["future", "pairs", "set"] = "future"
    futures: int | None = None  # of a clip, the first ones, that are scored; None: all
    standard: bool = True  # False: only computed where it is asked for


def always(measure: Measure) -> Callable[[Setting], Measure]:
    """What gets a metric that needs nothing."""
    return lambda setting: measure


def of_one_digit(measure: Measure) -> Callable[[Setting], Measure]:
    """What gets a metric that only clips of one digit have."""

    def get(setting: Setting) -> Measure:
        if setting.digits > 1:
            raise Unavailable(f"only for clips of one digit, these have {setting.digits}")
        return measure

    return get


def of_pairs(similarity: Callable[[Tensor], Tensor]) -> Callable[[Setting], Measure]:
    """What gets a metric that compares futures with each other, not with the truth."""
    return lambda setting: lambda truth, prediction: similarity(prediction)


def lpips(setting: Setting) -> Measure:
    """What gets LPIPS, whose package is slow to import."""
    state = published("alexnet", setting)
    from benchmark.metrics.perceptual import load_lpips

    return load_lpips(state, setting.device)


def fid(setting: Setting) -> Measure:
    """What gets the features of every frame of a clip's first future."""
    state = published("inception", setting)
    check_number(setting)
    from benchmark.networks.inception import load_inception

    features = load_inception(state, setting.device)
    return lambda truth, prediction: features(prediction[:, 0].flatten(0, 1))


def fvd(setting: Setting) -> Measure:
    """What gets the features of a clip's first future as a whole."""
    state = published("i3d", setting)
    check_number(setting)
    from benchmark.networks.i3d import load_i3d

    logits = load_i3d(state, setting.device)
    return lambda truth, prediction: logits(prediction[:, 0])


def published(name: str, setting: Setting) -> Mapping[str, Tensor]:
    """Published weights; raises Unavailable where there are none."""
    if setting.weights is None:
        raise Unavailable("no published weights: give their folder with --weights DIR, or --weights download")
    return weights.read(name, setting.weights)


def check_number(setting: Setting) -> None:
    """Raise Unavailable for too few clips to tell a distance between sets; warn where they are few."""
    if setting.clips < LEAST:
        raise Unavailable(f"only of {LEAST} clips or more, not of {setting.clips}")
    if setting.clips < FEW:
        warn_of_few(setting.clips)


@lru_cache
def warn_of_few(clips: int) -> None:
    """Say once that a distance of so few clips is mostly chance."""
    log.warning("fid and fvd of only %d clips are too large: compare them for equal numbers alone", clips)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            *("psnr", always(psnr), "higher", (0, 60), "dB", "all", "frames"),
            "10 log10(1 / MSE), MSE at least 1e-6",
        ),
        Metric(
            *("ssim", always(ssim), "higher", (-1, 1), "", "all", "frames"),
            "SSIM, Gaussian 11x11 window, Wang et al. 2004",
        ),
        Metric(
            *("ssim_uniform", always(ssim_uniform), "higher", (-1, 1), "", "all", "frames"),
            "SSIM, uniform 7x7 window and range 2: scikit-image 0.15 on float images, Sound2Sight's tables",
        ),
        Metric(
            *("position_error", always(position_error), "lower", (0, INFINITE), "px", "all", "digit"),
            "distance of the centres of ink, the true block's place left out",
        ),
        Metric(
            *("block_iou", always(block_iou), "higher", (0, 1), "", "last", "block"),
            "IoU of the true block with the brightest 16x16 window, after Sound2Sight",
        ),
        Metric(
            *("bounce_f1", of_one_digit(bounce_f1), "higher", (0, 1), "", "clip", "bounces"),
            "F1 of the bounces read off the predicted track against the true ones, within one frame",
        ),
        Metric(
            *("sync_lag", of_one_digit(sync_lag), "lower", (0, 5), "frames", "clip", "bounces"),
            "distance from 0 of the lag at which changes of speed and bounces correlate best",
        ),
        Metric(
            *("digit_accuracy", of_one_digit(digit_accuracy), "higher", (0, 1), "", "all", "label"),
            "share of frames that a small classifier reads as the true digit, of the first 10 futures",
            futures=10,
        ),
        Metric(
            *("self_similarity", of_pairs(self_similarity), "lower", (-1, 1), "", "all", "frames"),
            "mean SSIM of 50 pairs of a clip's futures (all pairs if fewer), Sound2Sight's figure 5c",
            of="pairs",
        ),
        Metric(
            *("self_similarity_flow", of_pairs(self_similarity_flow), "lower", (-1, 1), "", "all", "frames"),
            "the same of pictures of their TV-L1 flow, of the first 4 futures",
            of="pairs",
            futures=4,
            standard=False,
        ),
        Metric(
            *("aepe", of_one_digit(aepe), "lower", (0, INFINITE), "px", "all", "flow"),
            "mean end-point error of the flow that a model predicts",
            judges="flow",
        ),
        Metric(
            *("uncertainty_rank", always(uncertainty_rank), "higher", (-1, 1), "", "clip", "frames"),
            "rank correlation, over frames, of the error that a model expects (PUQ's 1/m_t) with that which it makes",
            judges="frames with error",
        ),
        Metric(
            *("lpips", lpips, "lower", (0, INFINITE), "", "all", "frames"),
            "with --weights: distance in AlexNet's features, the lpips package's v0.1",
        ),
        Metric(
            *("fid", fid, "lower", (0, INFINITE), "", "clip", "frames"),
            "with --weights: Frechet distance of Inception-v3's features of true frames and of first futures",
            of="set",
        ),
        Metric(
            *("fvd", fvd, "lower", (0, INFINITE), "", "clip", "frames"),
            "with --weights: Frechet distance of I3D's logits of true clips and of first futures",
            of="set",
        ),
        Metric(
            *("fooling_rate", train_judge, "higher", (0, 1), "", "all", "clip"),
            "share of windows of 3 frames with sound that a trained judge takes for real, Sound2Sight's Table 8",
            standard=False,
        ),
    )
}


def find(name: str) -> Metric:
    """The metric called `name`; InputError with the nearest names if there is none."""
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]


def choose(text: str, offered: Iterable[str]) -> list[str]:
    """The metrics that `text` asks for: "standard", "all", or names with commas between; each one of those `offered`.

    Raises InputError for a name that does not exist or is not offered.
    """
    offered = list(offered)
    if text == "all":
        return offered
    if text == "standard":
        return [name for name in offered if METRICS[name].standard]
    names = [find(name.strip()).name for name in text.split(",")]
    for name in names:
        if name not in offered:
            raise InputError(f"--metrics {name}: this protocol has {', '.join(offered)}")
    return [name for name in METRICS if name in names]
