"""AlexNet's features as LPIPS compares them."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import lpips
import torch
from torch import Tensor

from benchmark.metrics.checks import check_target
from benchmark.networks import weights
from benchmark.networks.inference import full_precision, rgb
from mmnist_av.system.errors import InputError

LINEAR = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"  # part of the package
LINEAR_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
LEAST_SIDE = 31  # px; AlexNet's second pooling leaves nothing of smaller frames
PIXELS_AT_ONCE = 2**18  # bounds memory: some 0.1 GB of activations

Comparison = Callable[[Tensor, Tensor], Tensor]


def load_lpips(backbone: Mapping[str, Tensor], device: torch.device) -> Comparison:
    """Return LPIPS of the `lpips` package, AlexNet, v0.1, as a function of (target, prediction).

    backbone: the state dict of torchvision's AlexNet (benchmark.networks.weights, "alexnet").

    The function: target (B, 1, T, C, H, W), prediction (B, K, T, C, H, W), float in [0, 1], C 1 (repeated) or 3, H and
    W at least LEAST_SIDE. Returns (B, K, T) float64 on `device`, 0 for equal frames. Raises InputError for others.
    A sample's scores do not depend on the clips and samples beside it. Source: Zhang et al. 2018, equation 1.
    """
    network = _network(backbone).to(device)

    def features(frames: Tensor) -> list[Tensor]:
        layers = network.net(network.scaling_layer(2 * frames - 1))
        return [lpips.normalize_tensor(layer) for layer in layers]

    def distance(target: list[Tensor], predicted: list[Tensor]) -> Tensor:
        layers = zip(network.lins, target, predicted, strict=True)
        return sum((linear((x - y) ** 2).mean((1, 2, 3)).double() for linear, x, y in layers), torch.zeros(()).double())

    def compare(target: Tensor, prediction: Tensor) -> Tensor:
        target, prediction = _checked(target, prediction)
        clips, samples, length, _, height, width = prediction.shape
        scores = torch.empty(clips, samples, length, dtype=torch.float64, device=device)
        with full_precision(device):
            for clip in range(clips):
                for part in torch.arange(length).split(max(1, PIXELS_AT_ONCE // (height * width))):
                    wanted = features(target[clip, 0, part].to(device))  # once, for all samples
                    for sample in range(samples):
                        predicted = features(prediction[clip, sample, part].to(device))
                        scores[clip, sample, part] = distance(wanted, predicted)
        return scores

    return compare


def _network(backbone: Mapping[str, Tensor]) -> lpips.LPIPS:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # its constructor draws random weights
        warnings.simplefilter("ignore")  # the package uses an old interface of torchvision
        network = lpips.LPIPS(net="alex", version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    for name, linear in weights.load(weights.checked(LINEAR, LINEAR_SHA256)).items():
        network.get_parameter(name).data.copy_(linear)
    # The package calls layer n of the backbone "sliceM.n", torchvision calls it "features.n".
    names = network.net.state_dict()
    network.net.load_state_dict({name: backbone[f"features.{name.split('.', 1)[1]}"] for name in names})
    return network.eval().requires_grad_(False)


def _checked(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with three channels."""
    check_target(target, prediction)
    if min(target.shape[-2:]) < LEAST_SIDE:
        raise InputError(
            f"lpips needs frames of at least {LEAST_SIDE}x{LEAST_SIDE}, found {target.shape[-2]}x{target.shape[-1]}"
        )
    return rgb(target, "target"), rgb(prediction, "prediction")
