"""LPIPS: how far apart two frames are in a network's features."""

from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.resources import Measure, Resources
from benchmark.networks import weights
from benchmark.scoring.ground_truth import TargetClip


def lpips(resources: Resources) -> Measure:
    """Return a function of (clip, prediction): LPIPS of each predicted frame, (1, K, P).

    Raises Unavailable without the published weights of AlexNet.
    """
    state = weights.read("alexnet", resources.weights)
    from benchmark.networks.alexnet import load_lpips  # imported here because the lpips package takes seconds

    compare = load_lpips(state, resources.device)

    def distance(clip: TargetClip, prediction: Prediction) -> Tensor:
        return compare(clip.unseen, prediction.frames)

    return distance
