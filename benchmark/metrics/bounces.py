"""Whether a model's digit bounces when the true one does, and in time with the sound."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmark.metrics.track import LEAST_INK, centroids, moments
from mmnist_av.system.errors import InputError

# Of the change of velocity that is a bounce, px a frame. Digits stand on whole px, so that in straight motion velocity
# changes by up to 1 px along each axis, sqrt(2) in all.
LEAST_CHANGE = 1.5
LONGEST_LAG = 5  # frames
RESOLUTION = 2**-20  # px, of centres: equal changes of velocity are then equal to the last bit


@dataclass(frozen=True)
class Bounces:
    """What the bounces of B predicted clips are compared with."""

    frames: Tensor  # (B, 1, T + 2, C, H, W) in [0, 1]: the last two true frames seen, then the T true future ones
    events: Tensor  # (B, T) bool: at which future frames the digit truly bounced (and the sound changed its key)


@torch.no_grad()
def bounce_f1(target: Bounces, prediction: Tensor) -> Tensor:
    """F1 of the bounces that the predicted track shows, against the true ones.

    A bounce is found if the track shows one in the same frame or the next to it, one for one. A true bounce in the
    last frame, which only the frame after it shows for sure, may be found but need not be. Without bounces, true or
    predicted, F1 is 1. The track is of centres of ink (`position_error` says how), behind the two true ones seen, so
    that a black future shows a false bounce, its jump to the middle.

    target: NaN where pixels do not count (the true block's). prediction: (B, K, T, C, H, W) float in [0, 1].
    Returns (B, K, 1) float64 in [0, 1]. Raises InputError for shapes that do not match, and for a prediction that is
    not finite. Source: this benchmark's.
    """
    predicted = bounces(_track(target, prediction)[0])
    true = target.events.to(predicted.device)[:, None].expand_as(predicted)
    found = matched(true, predicted)
    wanted = true.clone()
    wanted[..., -1] &= found[..., -1]
    hits, both = found.sum(-1, keepdim=True), wanted.sum(-1, keepdim=True) + predicted.sum(-1, keepdim=True)
    return torch.where(both > 0, 2 * hits.double() / both.clamp(min=1), 1.0)


@torch.no_grad()
def sync_lag(target: Bounces, prediction: Tensor, longest: int = LONGEST_LAG) -> Tensor:
    """How far, in frames, the changes of predicted velocity are from being in time with the true bounces.

    It is the lag, either way, at which the length of the change of velocity at a frame and the true bounces correlate
    best (Pearson's, over the frames in which both are known; of equals the smallest). Changes into, within or out of
    frames that show less ink than LEAST_INK are 0. What correlates at no lag, such as a velocity that never changes,
    gets `longest`.

    target, prediction: as `bounce_f1`. Returns (B, K, 1) float64, 0 to `longest`; NaN for clips without a bounce
    before the last frame. Raises InputError as `bounce_f1`. Source: this benchmark's.
    """
    track, shown = _track(target, prediction)
    change = torch.where(shown.unfold(-1, 3, 1).all(-1), _changes(track), 0)[..., 1:]  # at frames 0 to T - 2
    events = target.events[:, None, :-1].to(change)
    lags = range(longest + 1)
    either_way = [(_correlation(change, events, lag), _correlation(change, events, -lag)) for lag in lags]
    best = torch.stack([torch.maximum(late, early) for late, early in either_way], -1)
    highest = best.amax(-1, keepdim=True)
    in_time = (best >= highest - 1e-9) & (highest > 0)
    lag = torch.where(in_time, torch.arange(longest + 1.0).to(change), longest).amin(-1, keepdim=True)
    return torch.where(events.any(-1, keepdim=True), lag, torch.nan)


def bounces(track: Tensor) -> Tensor:
    """Where a track (..., T + 2, 2) of centres, px, bounces: (..., T) bool, for all points but the first two.

    A bounce at t shortens the step to t and turns the next, so that velocity changes at t - 1 and at t: of a run of
    frames at which it changes all but the first are bounces. So is the only one of a run of one: the step was whole.
    Where velocity is steady from frame to frame, a bend that shows over two frames either way is a bounce too.
    """
    changed = _changes(track) >= LEAST_CHANGE
    before, here = changed[..., :-1], changed[..., 1:]  # at frames -1 to T - 3, and 0 to T - 2
    after = pad(changed[..., 2:], (0, 1))
    sharp = here & (before | ~after)
    return pad(sharp, (0, 1)) | _bends(track, changed)


def _bends(track: Tensor, changed: Tensor) -> Tensor:
    """(..., T): the sharpest of neighbouring bends, where velocity does not change from frame to frame nearby."""
    bend = (track[..., 4:, :] - 2 * track[..., 2:-2, :] + track[..., :-4, :]).norm(dim=-1)  # at frames 0 to T - 3
    near = _around(pad(changed, (0, 2))).any(-1)[..., 1:-1]  # frame -1 is the first
    around = _around(torch.where(near, 0, pad(bend, (0, 2))))
    here, before, after = around[..., 2], around[..., :2].amax(-1), around[..., 3:].amax(-1)
    return (here >= LEAST_CHANGE) & (here > before) & (here >= after)


def _around(values: Tensor) -> Tensor:
    """Each value between the two before and the two after it: (..., N) to (..., N, 5), 0 outside."""
    return pad(values, (2, 2)).unfold(-1, 5, 1)


def matched(true: Tensor, predicted: Tensor) -> Tensor:
    """Which true events (..., T) have a predicted one within one frame, one for one, as many as can be.

    In the order of time every event takes the earliest that is free: as all may take equally far, none takes one that
    a later event needs more.
    """
    free = pad(predicted, (1, 1))
    found = torch.zeros_like(true)
    for t in range(true.shape[-1]):
        for other in (t, t + 1, t + 2):  # frames t - 1, t, t + 1
            taken = true[..., t] & ~found[..., t] & free[..., other]
            found[..., t] |= taken
            free[..., other] &= ~taken
    return found


def _changes(track: Tensor) -> Tensor:
    """Lengths of the changes of velocity at frames -1 to T - 2: (..., T + 2, 2) to (..., T), px a frame."""
    return track.diff(n=2, dim=-2).norm(dim=-1)


def _correlation(change: Tensor, events: Tensor, lag: int) -> Tensor:
    """Pearson's correlation of `change` (B, K, N) with the events (B, 1, N) `lag` frames before; 0 where undefined."""
    count = change.shape[-1] - abs(lag)
    if count < 2:
        return torch.zeros(change.shape[:-1]).to(change)
    later, earlier = max(lag, 0), max(-lag, 0)
    x, y = change[..., later : later + count], events[..., earlier : earlier + count]
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    spread = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(spread > 1e-9, (x * y).sum(-1) / spread.clamp(min=1e-9), 0)


def _track(target: Bounces, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted track behind the two true centres seen, (B, K, T + 2, 2) px, and where frames show any ink."""
    _check(target, prediction)
    counted = ~target.frames.isnan()
    seen = moments(target.frames[:, :, :2], counted[:, :, :2]).expand(-1, prediction.shape[1], -1, -1)
    sums = torch.cat([seen, moments(prediction, counted[:, :, 2:])], 2)
    track = (centroids(sums, *prediction.shape[-2:]) / RESOLUTION).round() * RESOLUTION
    return track, sums[..., 0] >= LEAST_INK


def _check(target: Bounces, prediction: Tensor) -> None:
    frames, events = target.frames, target.events
    if prediction.ndim != 6 or prediction.shape[2] < 3 or not prediction.is_floating_point():
        raise InputError(f"float frames (B, K, T, C, H, W), T 3 or more, wanted, not {tuple(prediction.shape)}")
    clips, _, count, *frame = prediction.shape
    if frames.shape != (clips, 1, count + 2, *frame) or events.shape != (clips, count) or events.dtype != torch.bool:
        raise InputError(
            f"true frames (B, 1, T + 2, C, H, W) and bool events (B, T) wanted for a prediction "
            f"{tuple(prediction.shape)}, not {tuple(frames.shape)} and {tuple(events.shape)} {events.dtype}"
        )
    low, high = (bound.item() for bound in prediction.aminmax())
    if not (low >= 0 and high <= 1):  # a NaN fails too
        raise InputError(f"prediction: values in [0, 1] wanted, not {low:g} to {high:g}")
