"""Inception-v3 as FID defines it: the TensorFlow network of 2015-12-05, in torch-fidelity's port."""

import io
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorInceptionV3

from benchmark.networks.inference import full_precision, levels, rgb
from mmnist_av.system.errors import InputError

FEATURES = 2048
FRAMES_AT_ONCE = 16  # bounds memory: some 0.3 GB of activations


def load_inception(state: Mapping[str, Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a function of frames (N, C, H, W) float in [0, 1], C 1 (repeated) or 3: their pool features.

    state: the state dict of torch-fidelity's weights (benchmark.networks.weights, "inception").

    The function returns (N, 2048) float32 on the CPU. Frames are rounded to 8 bits and resized to 299x299 as TensorFlow
    1 did. Raises InputError for other frames. Source: Heusel et al. 2017; equal to torch-fidelity's features.
    """
    with torch.random.fork_rng(devices=[]):  # its constructor draws random weights
        network = FeatureExtractorInceptionV3("fid", [str(FEATURES)], feature_extractor_weights_path=_saved(state))
    network.to(device)

    def features(frames: Tensor) -> Tensor:
        if frames.ndim != 4:
            raise InputError(f"frames (N, C, H, W) expected, found {tuple(frames.shape)}")
        with full_precision(device):
            batches = rgb(frames, "frames").split(FRAMES_AT_ONCE)
            return torch.cat([network(levels(batch.to(device)))[0].cpu() for batch in batches])

    return features


def _saved(state: Mapping[str, Tensor]) -> io.BytesIO:
    """Return the weights as a file in memory, so that torch-fidelity unpickles nothing but what is written here."""
    file = io.BytesIO()
    torch.save(dict(state), file)
    file.seek(0)
    return file
