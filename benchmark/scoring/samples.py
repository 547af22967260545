"""K futures from a model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from baselines.predictor import Context, Noise, Prediction, Predictor
from benchmark.compute import Compute
from benchmark.inputs import load_clips
from benchmark.protocols import Protocol
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import Split
from mmnist_av.system.errors import InputError

Futures = Callable[[int], Prediction]  # number of a clip of a split -> its K futures, float32


def seen_and_heard(
    clips: StoredClips, indices: Sequence[int], protocol: Protocol, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Clips as a model gets them at test, see load_clips: each with its own sound, or with that of the split's next.

    Raises InputError where there is no next clip.
    """
    frames, audio = load_clips(clips, indices, protocol, device)
    if not protocol.mismatched:
        return frames, audio
    if len(clips) < 2:
        raise InputError(f"protocol {protocol.name} takes the sound of another clip, and there is only one")
    return frames, load_clips(clips, [(index + 1) % len(clips) for index in indices], protocol, device)[1]


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
) -> Prediction:
    """K futures of each clip, float32.

    The model is handed the seen frames and the sound, never a frame that it is to predict. The noise of a future is
    keyed by (seed, clip, sample).
    """
    noise = Noise(seed, indices, samples, compute.device)
    with compute.autocast():
        predicted = model.predict(Context(frames[:, : protocol.seen].clone(), audio), samples, noise)
    wanted = (len(frames), samples, frames.shape[1] - protocol.seen, *frames.shape[2:])
    if predicted.frames.shape != wanted:
        found = tuple(predicted.frames.shape)
        raise InputError(f"{type(model).__name__}.predict must return futures of the shape {wanted}, not {found}")
    flow, variance = (None if each is None else each.float() for each in (predicted.flow, predicted.variance))
    return replace(predicted, frames=predicted.frames.float(), flow=flow, variance=variance)


def futures_of(
    model: Predictor, split: Split, protocol: Protocol, samples: int, seed: int, compute: Compute
) -> Futures:
    """What draws the model's futures of a split's clip, one clip at a time.

    One at a time, because a convolution's last bits depend on how many clips it is handed.
    """
    clips = StoredClips(split, protocol.test_frames)

    def draw(index: int) -> Prediction:
        frames, audio = seen_and_heard(clips, [index], protocol, compute.device)
        return draw_futures(model, frames, audio, protocol, samples, seed, [index], compute)

    return draw
