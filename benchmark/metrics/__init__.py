"""The functions of the metrics. Their facts are in benchmark.catalogue, one row per metric."""

from importlib import import_module

from torch import Tensor

from baselines.predictor import Prediction
from benchmark.catalogue import Metric
from benchmark.metrics.resources import Measure, Resources
from benchmark.scoring.ground_truth import TargetClip


def load(metric: Metric, resources: Resources) -> Measure:
    """Return the function that scores a clip's prediction with `metric`.

    Raises Unavailable where the resources that it needs are not there.
    """
    module, _, name = metric.function.partition(":")
    function = getattr(import_module(module), name)
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
