"""K futures from a model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from baselines.predictor import Noise, Predictor
from benchmark.protocols import Protocol
from benchmark.training import Compute, load_clips
from mmnist_av.clips import StoredClips
from mmnist_av.store import Split

Futures = Callable[[int], Tensor]  # number of a test clip -> (1, K, predicted, C, H, W) in [0, 1], float32


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


def futures_of(
    model: Predictor, split: Split, protocol: Protocol, samples: int, seed: int, compute: Compute
) -> Futures:
    """What draws the model's futures of a split's clip, one clip at a time.

    One at a time, because a convolution's last bits depend on how many clips it is handed.
    """
    clips = StoredClips(split, protocol.test_frames)

    def draw(index: int) -> Tensor:
        frames, audio = load_clips(clips, [index], protocol, compute.device)
        return draw_futures(model, frames, audio, protocol, samples, seed, [index], compute)

    return draw
