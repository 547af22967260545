"""What the metrics of a clip compare: computed again from the simulation of a generated dataset."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.predictor import Prediction
from benchmark.catalogue import find_protocol
from benchmark.metrics.block import block_iou, clip_block_iou
from benchmark.metrics.bounces import BounceTarget, bounce_f1, clip_bounce_f1, clip_sync_lag, sync_lag
from benchmark.metrics.flow import aepe, clip_aepe
from benchmark.metrics.reader import clip_digit_accuracy, digit_accuracy
from benchmark.metrics.track import clip_digit_visible, clip_position_error, digit_visible, position_error
from benchmark.metrics.uncertainty import clip_uncertainty_rank
from benchmark.scoring.ground_truth import TargetClip, TargetClips
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.picture import backward_flow, block_mask, render_frames
from mmnist_av.m3so.spec import NONE, Spec
from mmnist_av.m3so.world import simulate
from mmnist_av.system.errors import InputError

CLIPS, SAMPLES, SEED = 3, 4, 1


@pytest.fixture(scope="module", params=["m3so-nb", "m3so"])
def world(request, tmp_path_factory):
    """Return a protocol, the target clips of a small dataset, and the simulation that the dataset was made of."""
    protocol = find_protocol(request.param)
    spec, digits = Spec(**protocol.world), load_pool("embedded")["test"]
    dataset = generate(tmp_path_factory.mktemp("data") / "small", spec, {"train": 1, "test": CLIPS}, seed=SEED)
    clips = TargetClips(dataset, "test", protocol, CLIPS, torch.device("cpu"))
    truth = simulate(digits, spec, SEED, "test", np.arange(CLIPS)).until(protocol.test_frames)
    frames = torch.from_numpy(render_frames(truth, digits, spec)).float()[:, :, None] / 255
    return SimpleNamespace(protocol=protocol, clips=clips, spec=spec, truth=truth, frames=frames)


def random_samples(target, seed=0):
    """Return (1, K, P, C, H, W): the target's frames, moved and mixed with noise."""
    rng = torch.Generator().manual_seed(seed)
    samples = torch.cat([target.roll(step, (2, 5)[step % 2]) for step in range(SAMPLES)], 1)
    return samples.lerp(torch.rand(samples.shape, generator=rng), 0.1)


@pytest.fixture(params=range(CLIPS))
def case(world, request):
    """Return one clip: its target, its simulation, and a prediction of it."""
    index, seen = request.param, world.protocol.seen
    clip, frames = world.clips(index), world.frames[index : index + 1]
    assert torch.equal(clip.unseen, frames[:, None, seen:])
    samples = random_samples(clip.unseen)
    variance = torch.rand(samples.shape[:3], generator=torch.Generator().manual_seed(index))
    flow = torch.randn(*samples.shape[:3], 2, 48, 48, generator=torch.Generator().manual_seed(index))
    hidden = torch.from_numpy(block_mask(world.truth, world.spec)[index : index + 1])[:, :, None]
    return SimpleNamespace(
        clip=clip,
        seen=seen,
        truth=world.truth.clips(slice(index, index + 1)),
        spec=world.spec,
        without_block=frames.masked_fill(hidden, torch.nan)[:, None],
        prediction=Prediction(samples, flow=flow, variance=variance),
    )


def assert_equal(result, expected):
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


def test_the_position_is_compared_outside_the_block(case):
    expected = position_error(case.without_block[:, :, case.seen :], case.prediction.frames)
    assert_equal(clip_position_error(case.clip, case.prediction), expected)


@pytest.mark.parametrize(("of_clip", "of_tensors"), [(clip_bounce_f1, bounce_f1), (clip_sync_lag, sync_lag)])
def test_bounces_are_the_simulations_events_behind_the_last_two_seen_frames(case, of_clip, of_tensors):
    events = torch.from_numpy(case.truth.event[:, case.seen :, 0] != NONE)
    target = BounceTarget(frames=case.without_block[:, :, case.seen - 2 :], events=events)
    assert_equal(of_clip(case.clip, case.prediction), of_tensors(target, case.prediction.frames))


def test_digits_are_visible_or_not_outside_the_block(case):
    samples = case.prediction.frames * torch.tensor([1, 0.5, 0.2, 0]).view(-1, 1, 1, 1, 1)
    visible = digit_visible(case.without_block[:, :, case.seen :], samples)
    assert_equal(clip_digit_visible(case.clip, Prediction(samples)), visible)
    assert visible[:, 0].all()
    assert not visible[:, 3].any()


def test_the_label_is_the_simulations_and_only_read_where_a_digit_is_visible(case):
    label = torch.from_numpy(case.truth.label[:, 0].astype(np.int64))
    assert_equal(clip_digit_accuracy(case.clip, case.prediction), digit_accuracy(label, case.prediction.frames))
    half = case.prediction.frames.clone()
    half[:, :, ::2] = 0
    result = clip_digit_accuracy(case.clip, Prediction(half))
    assert result[..., ::2].isnan().all()
    assert_equal(result[..., 1::2], digit_accuracy(label, half)[..., 1::2])


def test_the_flow_is_the_exact_backward_flow_into_each_predicted_frame(case):
    exact = torch.from_numpy(backward_flow(case.truth, case.spec)[:, case.seen - 1 :])[:, None]
    assert_equal(clip_aepe(case.clip, case.prediction), aepe(exact, case.prediction.flow))
    assert (clip_aepe(case.clip, Prediction(case.prediction.frames, flow=exact)) == 0).all()


@pytest.mark.parametrize("world", ["m3so"], indirect=True)
def test_the_block_is_the_simulations_where_the_last_frame_shows_it(case):
    shown = 0 <= case.truth.block_first_frame[0] < case.truth.frames
    corner = case.truth.block_place.astype(np.int64) if shown else np.full((1, 2), -1)
    expected = block_iou(torch.from_numpy(corner), case.prediction.frames)
    assert_equal(clip_block_iou(case.clip, case.prediction), expected)
    assert clip_block_iou(case.clip, Prediction(case.clip.unseen)).item() > 0.9


@pytest.mark.parametrize("world", ["m3so"], indirect=True)
def test_a_clip_cut_before_its_block_appears_has_no_block(world):
    cut = TargetClips(world.clips.dataset, "test", find_protocol("m3so-nb"), CLIPS, torch.device("cpu"))(0)
    assert cut.frames.shape[1] < world.spec.block_frame
    assert clip_block_iou(cut, Prediction(cut.unseen)).isnan().all()


def test_uncertainty_ranks_the_variance_of_the_prediction(case):
    result = clip_uncertainty_rank(case.clip, case.prediction)
    assert result.shape == (1, SAMPLES, 1)
    errors = (case.prediction.frames - case.clip.unseen).square().mean((3, 4, 5))
    assert (clip_uncertainty_rank(case.clip, Prediction(case.prediction.frames, variance=errors)) > 0.999).all()


def test_a_prediction_without_flow_or_variance_is_refused(case):
    frames_alone = Prediction(case.prediction.frames)
    with pytest.raises(InputError, match="aepe needs a predicted flow"):
        clip_aepe(case.clip, frames_alone)
    with pytest.raises(InputError, match="uncertainty_rank needs a predicted variance"):
        clip_uncertainty_rank(case.clip, frames_alone)


def test_a_track_needs_two_seen_frames():
    clip = TargetClip(index=0, frames=torch.zeros(1, 5, 1, 8, 8), audio=torch.zeros(1, 5, 2, 2), seen=1, annotate=None)
    with pytest.raises(InputError, match="needs 2 seen frames, found 1"):
        clip_bounce_f1(clip, Prediction(torch.zeros(1, 1, 4, 1, 8, 8)))
