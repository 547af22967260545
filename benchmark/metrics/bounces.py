"""Whether a predicted digit bounces when the true one does, and in time with the audio."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_samples, check_unit_range
from benchmark.metrics.track import LEAST_INK, centroids, frames_without_block, moments
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

# The smallest change of velocity that counts as a bounce, px a frame. Digits stand on whole px, so that in straight
# motion velocity changes by up to 1 px along each axis, sqrt(2) in all.
LEAST_CHANGE = 1.5
LONGEST_LAG = 5  # frames
RESOLUTION = 2**-20  # px, to which centres are rounded: equal changes of velocity are then equal to the last bit
BEFORE = 2  # seen frames that a track begins with


@dataclass(frozen=True)
class BounceTarget:
    """The ground truth of the bounces of B clips with T frames to be predicted."""

    frames: Tensor  # (B, 1, T + 2, C, H, W) in [0, 1], NaN in the block: the last two seen frames, then the target's T
    events: Tensor  # (B, T) bool: the frames to be predicted in which the digit bounces (and the audio changes its key)


def clip_bounce_f1(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `bounce_f1` of a clip's predicted frames: (1, K, 1). Raises InputError for fewer than 2 seen frames."""
    return bounce_f1(bounce_target(clip), prediction.frames)


def clip_sync_lag(clip: TargetClip, prediction: Prediction) -> Tensor:
    """Return `sync_lag` of a clip's predicted frames: (1, K, 1). Raises InputError for fewer than 2 seen frames."""
    return sync_lag(bounce_target(clip), prediction.frames)


def bounce_target(clip: TargetClip) -> BounceTarget:
    """Return the ground truth of a clip's bounces, from its annotations "block_mask" and "events"."""
    if clip.seen < BEFORE:
        raise InputError(f"a track of the digit needs {BEFORE} seen frames, found {clip.seen}")
    frames = frames_without_block(clip)[:, :, clip.seen - BEFORE :]
    return BounceTarget(frames=frames, events=clip.annotation("events")[:, clip.seen :])


@torch.no_grad()
def bounce_f1(target: BounceTarget, prediction: Tensor) -> Tensor:
    """Return the F1 of the bounces that the predicted track shows, against the true ones.

    A true bounce is matched by a predicted one in the same frame or one frame away, one to one. A true bounce in the
    last frame, which only the frame after it would show for sure, may be matched but is not required. Without bounces,
    true or predicted, F1 is 1. The track joins centres of ink (see `position_error`), and begins with the true centres
    of the last two seen frames, so that a black prediction shows a false bounce, its jump to the middle.

    target: NaN in pixels that do not count (the true block's). prediction: (B, K, T, C, H, W) float in [0, 1], T 3 or
    more. Returns (B, K, 1) float64 in [0, 1]. Raises InputError for shapes that do not match, and for a prediction
    outside [0, 1] or not finite. Source: this benchmark's.
    """
    predicted = bounces(_track(target, prediction)[0])
    true = target.events.to(predicted.device)[:, None].expand_as(predicted)
    hit = matched(true, predicted)
    required = true.clone()
    required[..., -1] &= hit[..., -1]
    hits, both = hit.sum(-1, keepdim=True), required.sum(-1, keepdim=True) + predicted.sum(-1, keepdim=True)
    return torch.where(both > 0, 2 * hits.double() / both.clamp(min=1), 1.0)


@torch.no_grad()
def sync_lag(target: BounceTarget, prediction: Tensor, longest: int = LONGEST_LAG) -> Tensor:
    """Return how far, in frames, the changes of predicted velocity are from being in time with the true bounces.

    It is the lag, either way, at which the length of the change of velocity at a frame and the true bounces correlate
    best (Pearson's, over the frames in which both are known); of equal correlations the smallest lag. Changes into,
    within or out of frames with less ink than LEAST_INK count as 0. The value is `longest` where nothing correlates at
    any lag, for example where velocity never changes.

    target, prediction: as `bounce_f1`. Returns (B, K, 1) float64, 0 to `longest`; NaN for clips without a bounce
    before the last frame. Raises InputError as `bounce_f1`. Source: this benchmark's.
    """
    track, inked = _track(target, prediction)
    change = torch.where(inked.unfold(-1, 3, 1).all(-1), _changes(track), 0)[..., 1:]  # at frames 0 to T - 2
    events = target.events[:, None, :-1].to(change)
    lags = range(longest + 1)
    either_way = [(_correlation(change, events, lag), _correlation(change, events, -lag)) for lag in lags]
    best = torch.stack([torch.maximum(late, early) for late, early in either_way], -1)
    highest = best.amax(-1, keepdim=True)
    in_time = (best >= highest - 1e-9) & (highest > 0)
    lag = torch.where(in_time, torch.arange(longest + 1.0).to(change), longest).amin(-1, keepdim=True)
    return torch.where(events.any(-1, keepdim=True), lag, torch.nan)


def bounces(track: Tensor) -> Tensor:
    """Return whether a track (..., T + 2, 2) of centres, px, bounces at each of its points but the first two: (..., T).

    A bounce at t shortens the step to t and turns the next one, so that velocity changes at t - 1 and at t. So in a
    run of frames in which velocity changes, all but the first are bounces; in a run of one frame that one is, as its
    step was whole. Where velocity is steady from frame to frame, a bend over two frames either way is a bounce, too.
    """
    changed = _changes(track) >= LEAST_CHANGE
    before, here = changed[..., :-1], changed[..., 1:]  # at frames -1 to T - 3, and 0 to T - 2
    after = pad(changed[..., 2:], (0, 1))
    sharp = here & (before | ~after)
    return pad(sharp, (0, 1)) | _bends(track, changed)


def _bends(track: Tensor, changed: Tensor) -> Tensor:
    """Return, (..., T), the sharpest of neighbouring bends where velocity does not change from frame to frame nearby.

    changed: (..., T), whether velocity changes at frames -1 to T - 2.
    """
    bend = (track[..., 4:, :] - 2 * track[..., 2:-2, :] + track[..., :-4, :]).norm(dim=-1)  # at frames 0 to T - 3
    near = _around(pad(changed, (0, 2))).any(-1)[..., 1:-1]  # frame -1 is the first
    around = _around(torch.where(near, 0, pad(bend, (0, 2))))
    here, before, after = around[..., 2], around[..., :2].amax(-1), around[..., 3:].amax(-1)
    return (here >= LEAST_CHANGE) & (here > before) & (here >= after)


def _around(values: Tensor) -> Tensor:
    """Return each value between the two before and the two after it, 0 beyond the ends: (..., N) to (..., N, 5)."""
    return pad(values, (2, 2)).unfold(-1, 5, 1)


def matched(true: Tensor, predicted: Tensor) -> Tensor:
    """Return which true events (..., T) have a predicted one within one frame, one to one, as many as possible.

    Each true event, in the order of time, takes the earliest free predicted one. As all reach equally far, none takes
    a predicted event that a later one would need more.
    """
    free = pad(predicted, (1, 1))
    hit = torch.zeros_like(true)
    for t in range(true.shape[-1]):
        for other in (t, t + 1, t + 2):  # frames t - 1, t, t + 1
            taken = true[..., t] & ~hit[..., t] & free[..., other]
            hit[..., t] |= taken
            free[..., other] &= ~taken
    return hit


def _changes(track: Tensor) -> Tensor:
    """Return the lengths of the changes of velocity at frames -1 to T - 2: (..., T + 2, 2) to (..., T), px a frame."""
    return track.diff(n=2, dim=-2).norm(dim=-1)


def _correlation(change: Tensor, events: Tensor, lag: int) -> Tensor:
    """Return Pearson's correlation of `change` (B, K, N) with the events (B, 1, N) `lag` frames before.

    It is 0 where it is not defined.
    """
    count = change.shape[-1] - abs(lag)
    if count < 2:
        return torch.zeros(change.shape[:-1]).to(change)
    later, earlier = max(lag, 0), max(-lag, 0)
    x, y = change[..., later : later + count], events[..., earlier : earlier + count]
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    spread = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(spread > 1e-9, (x * y).sum(-1) / spread.clamp(min=1e-9), 0)


def _track(target: BounceTarget, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted track, (B, K, T + 2, 2) px, and which frames have enough ink, (B, K, T + 2).

    The track's first two points are the true centres of the last two seen frames.
    """
    _check(target, prediction)
    counted = ~target.frames.isnan()
    seen = moments(target.frames[:, :, :BEFORE], counted[:, :, :BEFORE]).expand(-1, prediction.shape[1], -1, -1)
    sums = torch.cat([seen, moments(prediction, counted[:, :, BEFORE:])], 2)
    track = (centroids(sums, *prediction.shape[-2:]) / RESOLUTION).round() * RESOLUTION
    return track, sums[..., 0] >= LEAST_INK


def _check(target: BounceTarget, prediction: Tensor) -> None:
    check_samples(prediction)
    frames, events = target.frames, target.events
    clips, _, count, *frame = prediction.shape
    if count < 3:
        raise InputError(f"prediction: 3 frames or more expected, found {count}")
    if frames.shape != (clips, 1, count + BEFORE, *frame) or events.shape != (clips, count):
        raise InputError(
            "target frames (B, 1, T + 2, C, H, W) and events (B, T) expected for a prediction "
            f"{tuple(prediction.shape)}, found {tuple(frames.shape)} and {tuple(events.shape)}"
        )
    if events.dtype != torch.bool:
        raise InputError(f"bool events expected, found {events.dtype}")
    check_unit_range(prediction, "prediction")
