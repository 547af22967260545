"""Samples drawn from a model: K predictions of the frames that follow a clip's context."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from baselines.predictor import ClipShape, Context, Noise, Prediction, Predictor
from benchmark.catalogue import Protocol
from benchmark.compute import Compute
from benchmark.inputs import load_clips
from benchmark.metrics.checks import check_finite, check_unit_range, described
from benchmark.metrics.resources import TrainingSamples
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError


def draw_samples(
    model: Predictor, context: Context, clips: Sequence[int], samples: int, seed: int, compute: Compute
) -> Iterator[Prediction]:
    """Yield the model's prediction of some clips, float32, window by window: (B, samples, frames, C, H, W) each.

    clips: the clips' numbers; the noise of a sample is keyed by (seed, clip, sample). Raises InputError, which names
    the model and the frame, where a prediction has another shape than requested or values outside [0, 1].
    """
    return draw_from(Noise(seed, clips, samples, compute.device), model, context, samples, compute)


def draw_from(noise: Noise, model: Predictor, context: Context, samples: int, compute: Compute) -> Iterator[Prediction]:
    """Yield the model's prediction of some clips, of this noise; see `draw_samples`."""
    name, first = type(model).__name__, 0
    with torch.inference_mode(), compute.autocast():
        windows = model.predict_windows(context, samples, noise)
    if not isinstance(windows, Iterator):
        raise InputError(f"{name}.predict_windows must yield Predictions, not return {described(windows)}")
    while True:
        with torch.inference_mode(), compute.autocast():
            window = next(windows, END)
        if window is END:
            break
        checked = _checked(model, window, context, samples, first)
        yield checked
        first += checked.frames.shape[2]
    if first != context.predicted:
        raise InputError(f"{name} predicted {first} frames, {context.predicted} are requested")


END = object()  # stands for the end of a prediction's windows


def _checked(model: Predictor, window: object, context: Context, samples: int, first: int) -> Prediction:
    """Return the window in float32, its frames first + 1, first + 2, ... of the prediction."""
    name = type(model).__name__
    if not isinstance(window, Prediction):
        raise InputError(f"{name}.predict must return a Prediction, not {described(window)}")
    left = context.predicted - first
    count = window.frames.shape[2] if isinstance(window.frames, Tensor) and window.frames.ndim == 6 else 0
    shape = (len(context.frames), samples, count if 1 <= count <= left else left, *context.frames.shape[2:])
    frames = _as_float32(name, "frames", window.frames, shape)
    check_unit_range(frames, f"{name}'s predicted frames from {first + 1} on")
    extras: dict[str, Tensor] = {}
    for extra, extra_shape in {"flow": (*shape[:3], 2, *shape[4:]), "variance": shape[:3]}.items():
        values = getattr(window, extra)
        if values is None and extra in model.predicts:
            raise InputError(f"{name} declares that it predicts {extra}, but its prediction has none")
        if values is not None:
            extras[extra] = _as_float32(name, extra, values, extra_shape)
            check_finite(extras[extra], f"{name}'s predicted {extra} from frame {first + 1} on")
    return Prediction(frames, **extras)


def _as_float32(name: str, part: str, values: object, shape: tuple[int, ...]) -> Tensor:
    """Return a part of a prediction in float32; InputError where it is no tensor or has another shape."""
    if not isinstance(values, Tensor):
        raise InputError(f"{name}.predict must return {part} as a tensor, not {described(values)}")
    if values.shape != shape:
        raise InputError(f"{name}.predict must return {part} of the shape {shape}, not {tuple(values.shape)}")
    return values.float()


def clip_shape(clips: StoredClips, protocol: Protocol) -> ClipShape:
    """Return the shape of the clips under the protocol, for building a model."""
    form = clips.format
    return ClipShape(
        frame=(form.channels, form.height, form.width),
        audio=protocol.audio.shape(form.samples_per_frame),
        seen=protocol.seen,
        train_frames=protocol.train_frames,
        fps=form.fps,
    )


def training_samples(
    model: Predictor, clips: StoredClips, protocol: Protocol, seed: int, compute: Compute
) -> TrainingSamples:
    """Return what a judge of the model is trained on: one sample of any of these training clips."""

    def draw(indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        frames, audio = load_clips(clips, indices, protocol, compute.device)
        given = audio
        if protocol.mismatched:
            given = load_clips(clips, [(index + 1) % len(clips) for index in indices], protocol, compute.device)[1]
        context = Context(frames[:, : protocol.seen].clone(), given)
        windows = [window.frames for window in draw_samples(model, context, indices, 1, seed, compute)]
        return frames, audio, torch.cat(windows, 2)[:, 0].clone()  # clone: out of inference mode

    return TrainingSamples(clips=len(clips), shape=clip_shape(clips, protocol), draw=draw)
