"""Whether a model that says what error it expects of its frames knows which ones are wrong."""

import numpy as np
import torch
from torch import Tensor

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_finite, check_target
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

COLUMNS = 64  # numbers that torch sums side by side at most; it sums what is left over in another order


def clip_uncertainty_rank(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `uncertainty_rank` of a clip's predicted frames and their variance: (1, K, 1).

    Raises InputError for a prediction without variance.
    """
    if prediction.variance is None:
        raise InputError("uncertainty_rank needs a predicted variance, the prediction has none")
    return uncertainty_rank(clip.unseen, prediction.frames, prediction.variance)


def mean_variance(variance: Tensor) -> Tensor:
    """Return the mean of a variance (B, K, T) over the K samples, (B, 1, T): what `mean_frame` expects of each frame.

    torch.mean rounds differently from column to column. Here every frame's mean is rounded as that of an image channel
    filled with the variance would be: equal frames keep equal means, and so share a rank.
    """
    channel = variance[..., None].expand(*variance.shape, COLUMNS).contiguous()
    return channel.mean(1, keepdim=True)[..., 0]


@torch.no_grad()
def uncertainty_rank(target: Tensor, prediction: Tensor, variance: Tensor) -> Tensor:
    """Return Spearman's rank correlation, over a sample's frames, of the errors that a model expects with its errors.

    The error of a frame is its mean squared error. Equal errors share their mean rank; the correlation is 0 where the
    expected or the actual errors of all frames are equal.

    target: (B, 1, T, C, H, W), prediction: (B, K, T, C, H, W), variance: (B, K, T), the mean squared error expected of
    each frame; float and finite, T 2 or more. Returns (B, K, 1) float64 in [-1, 1].
    Raises InputError for other shapes, types or values.
    Source: figure 4 of PUQ (2021) shows the two errors side by side; the coefficient is this benchmark's choice.
    """
    from scipy.stats import rankdata  # here, because it takes most of a second to import

    check_target(target, prediction)
    if prediction.shape[2] < 2 or not prediction.numel() or variance.shape != prediction.shape[:3]:
        raise InputError(
            "prediction (B, K, T, C, H, W), T 2 or more, and variance (B, K, T) expected, "
            f"found {tuple(prediction.shape)} and {tuple(variance.shape)}"
        )
    for name, values in (("target", target), ("prediction", prediction), ("variance", variance)):
        check_finite(values, name)
    actual = (prediction.double() - target.double()).square().mean((3, 4, 5))
    ranks = [rankdata(errors.cpu().numpy(), axis=-1) for errors in (variance.double(), actual)]
    first, second = (each - each.mean(-1, keepdims=True) for each in ranks)
    spread = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    correlation = np.divide((first * second).sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)
    return torch.from_numpy(correlation)[..., None].to(prediction.device)
