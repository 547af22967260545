"""The functions of the metrics. Their facts are in benchmark.catalogue, one row per metric."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from baselines.predictor import Prediction
from benchmark.catalogue import Metric
from benchmark.metrics.resources import Measure, Resources
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError


def find_function(metric: Metric) -> Callable[..., Any]:
    """Return the function that a metric's row names. Raises InputError where it does not exist."""
    module, _, name = metric.function.partition(":")
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the row of metric {metric.name} names {metric.function}, not found: {error}") from error
    return function


def load(metric: Metric, resources: Resources) -> Measure:
    """Return the function that scores a clip's prediction with `metric`.

    Raises Unavailable where the resources that it needs are not there.
    """
    function = find_function(metric)
    if metric.takes == "resources":
        measure: Measure = function(resources)
        return measure
    if metric.takes == "clip":
        return function

    def measure_frames(clip: TargetClip, prediction: Prediction) -> Tensor:
        return function(clip.unseen, prediction.frames)

    def measure_samples(clip: TargetClip, prediction: Prediction) -> Tensor:
        return function(prediction.frames)

    return measure_frames if metric.takes == "frames" else measure_samples
