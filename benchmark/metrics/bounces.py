"""Whether a predicted digit bounces when the true one does, and in time with the audio."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from baselines.predictor import Prediction
from benchmark.metrics.checks import check_samples, check_unit_range
from benchmark.metrics.track import centres, find_visible, frames_without_block
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
    last frame, which only the frame after it would show for sure, may be matched but is not required. The track joins
    centres of ink (see `position_error`), and begins with the true centres of the last two seen frames.

    A frame without a visible digit (see `digit_visible`) shows no bounce, and neither do the jumps into and out of it,
    but true bounces are required in all frames: those that a prediction does not show are missed. Hiding frames only
    takes predicted bounces away, as a digit that keeps its velocity there would. Without bounces, true or predicted, F1
    is 1 where all frames show the digit, and otherwise 0. So black and haze have 0 in every clip.

    target: NaN in pixels that do not count (the true block's). prediction: (B, K, T, C, H, W) float in [0, 1], T 3 or
    more. Returns (B, K, 1) float64 in [0, 1]. Raises InputError for shapes that do not match, and for a prediction
    outside [0, 1] or not finite. Source: this benchmark's.
    """
    track = _track(target, prediction)
    predicted = bounces(track)
    true = target.events.to(predicted.device)[:, None].expand_as(predicted)
    hit = matched(true, predicted)
    required = true.clone()
    required[..., -1] &= hit[..., -1]
    hits, both = hit.sum(-1, keepdim=True), required.sum(-1, keepdim=True) + predicted.sum(-1, keepdim=True)
    shown = track[..., BEFORE:, 0].isfinite().all(-1, keepdim=True)
    return torch.where(both > 0, 2 * hits.double() / both.clamp(min=1), shown.double())


@torch.no_grad()
def sync_lag(target: BounceTarget, prediction: Tensor, longest: int = LONGEST_LAG) -> Tensor:
    """Return how far, in frames, the changes of predicted velocity are from being in time with the true bounces.

    It is the lag, either way, at which the length of the change of velocity at a frame and the true bounces correlate
    best (Pearson's, over the frames in which both are known); of equal correlations the smallest lag. It is `longest`
    where nothing correlates at any lag, for example where velocity never changes.

    A change is known where three frames in a row show a digit (see `digit_visible`); others count as 0 in the
    correlation. As it could be high for the few changes that a prediction shows, each frame whose change is not known
    counts as `longest` in the score, which is the mean over frames: with half of them, a lag of 1 becomes 3. So black
    and haze have `longest`.

    target, prediction: as `bounce_f1`. Returns (B, K, 1) float64, 0 to `longest`; NaN for clips without a bounce
    before the last frame. Raises InputError as `bounce_f1`. Source: this benchmark's.
    """
    found = _changes(_track(target, prediction))[..., 1:]  # at frames 0 to T - 2
    shown, change = found.isfinite().double().mean(-1, keepdim=True), found.nan_to_num(0)
    events = target.events[:, None, :-1].to(change)
    lags = range(longest + 1)
    either_way = [(_correlation(change, events, lag), _correlation(change, events, -lag)) for lag in lags]
    best = torch.stack([torch.maximum(late, early) for late, early in either_way], -1)
    highest = best.amax(-1, keepdim=True)
    in_time = (best >= highest - 1e-9) & (highest > 0)
    lag = torch.where(in_time, torch.arange(longest + 1.0).to(change), longest).amin(-1, keepdim=True)
    return torch.where(events.any(-1, keepdim=True), shown * lag + (1 - shown) * longest, torch.nan)


def bounces(track: Tensor) -> Tensor:
    """Return whether a track (..., T + 2, 2) of centres, px, bounces at each of its points but the first two: (..., T).

    A bounce at t shortens the step to t and turns the next one, so that velocity changes at t - 1 and at t. So in a
    run of frames in which velocity changes, all but the first are bounces; in a run of one frame that one is, as its
    step was whole. Where velocity is steady from frame to frame, a bend over two frames either way is a bounce, too.
    Points that are NaN are unknown: a point is a bounce only if it is one whatever they are.
    """
    change = _changes(track)
    changed, steady = change >= LEAST_CHANGE, change < LEAST_CHANGE  # neither, if unknown
    before, here = changed[..., :-1], changed[..., 1:]  # at frames -1 to T - 3, and 0 to T - 2
    steady_after = pad(steady[..., 2:], (0, 1), value=True)
    sharp = here & (before | steady_after)
    return pad(sharp, (0, 1)) | _bends(track, changed, ~changed & ~steady)


def _bends(track: Tensor, changed: Tensor, unknown: Tensor) -> Tensor:
    """Return, (..., T), the sharpest of neighbouring bends where velocity does not change from frame to frame nearby.

    changed, unknown: (..., T), whether velocity changes at frames -1 to T - 2, and whether that is not known.
    """
    bend = (track[..., 4:, :] - 2 * track[..., 2:-2, :] + track[..., :-4, :]).norm(dim=-1)  # at frames 0 to T - 3
    near, unclear = (_around(pad(each, (0, 2))).any(-1)[..., 1:-1] for each in (changed, unknown))  # -1 is the first
    possible = torch.where(unclear, torch.inf, pad(bend, (0, 2)))  # at most
    around = _around(torch.where(near, 0, possible))
    here, before, after = around[..., 2], around[..., :2].amax(-1), around[..., 3:].amax(-1)
    return (here >= LEAST_CHANGE) & here.isfinite() & (here > before) & (here >= after)


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


def _track(target: BounceTarget, prediction: Tensor) -> Tensor:
    """Return the predicted track, (B, K, T + 2, 2) px, NaN where the digit is not visible.

    Its first two points are the true centres of the last two seen frames.
    """
    _check(target, prediction)
    counted = ~target.frames.isnan()
    seen = centres(target.frames[:, :, :BEFORE], counted[:, :, :BEFORE]).expand(-1, prediction.shape[1], -1, -1)
    visible = find_visible(target.frames[:, :, BEFORE:], prediction)[..., None] == 1
    predicted = centres(prediction, counted[:, :, BEFORE:]).where(visible, torch.nan)
    return (torch.cat([seen, predicted], 2) / RESOLUTION).round() * RESOLUTION


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
