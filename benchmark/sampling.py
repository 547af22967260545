"""K futures from a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.predictor import Noise, Predictor
from benchmark.protocols import Protocol
from benchmark.training import Compute


@torch.inference_mode()
def draw_futures(
    model: Predictor,
    frames: Tensor,
    audio: Tensor,
    protocol: Protocol,
    samples: int,
    seed: int,
    indices: Sequence[int],
    compute: Compute,
) -> Tensor:
    """K futures of each clip: (B, samples, predicted, C, H, W) in [0, 1], float32.

    The model is handed the seen frames and the sound, never a frame that it is to predict. The noise of a future is
    keyed by (seed, clip, sample).
    """
    noise = Noise(seed, indices, samples, compute.device)
    with compute.autocast():
        futures = model.predict(frames[:, : protocol.seen].clone(), audio, samples, noise)
    return futures.float()
