"""The judge of fooling_rate: its training data, that it tells easy samples apart, and that it repeats."""

from dataclasses import replace

import pytest
import torch

from baselines.predictor import ClipShape, Prediction
from benchmark.metrics import fooling
from benchmark.metrics.fooling import HISTORY, judge_loss, judge_true_frames, train_judge, trained
from benchmark.metrics.resources import Resources, TrainingSamples, Unavailable
from benchmark.scoring.ground_truth import TargetClip

SEEN, LENGTH, CLIPS = 3, 7, 6
SHAPE = ClipShape(frame=(1, 16, 16), audio=(11, 11), seen=SEEN, train_frames=LENGTH, fps=10)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(fooling, "STEPS", 12)
    monkeypatch.setattr(fooling, "BATCH", 4)


def true_clips(indices):
    """Return noise that is bright in its upper half, unlike a blank frame."""
    frames, audio = (torch.stack([noise(each, shape) for each in indices]) for shape in (SHAPE.frame, SHAPE.audio))
    frames[..., :8, :] = 1
    return frames, audio


def noise(seed, shape):
    return torch.rand(LENGTH, *shape, generator=torch.Generator().manual_seed(seed))


def training_samples(sample, drawn=None):
    def draw(indices):
        frames, audio = true_clips(indices)
        if drawn is not None:
            drawn.extend(indices)
        return frames, audio, sample(frames[:, SEEN:])

    return TrainingSamples(clips=CLIPS, shape=SHAPE, draw=draw)


def rate(measure, sample, index=77):
    frames, audio = true_clips([index])
    clip = TargetClip(index=index, frames=frames, audio=audio, seen=SEEN, annotate=None)
    samples = torch.stack([sample(frames[0, SEEN:])] * 2)[None]
    result = measure(clip, Prediction(samples))
    assert result.shape == (1, 2, LENGTH - SEEN)
    assert set(result.unique().tolist()) <= {0.0, 1.0}
    return result.mean().item()


def resources(sample, seed=0):
    return Resources(device=CPU, clips=16, training_samples=training_samples(sample), seed=seed)


def test_black_samples_are_told_apart_and_true_frames_are_taken_for_real():
    measure = train_judge(resources(torch.zeros_like))
    assert rate(measure, torch.zeros_like) == 0
    assert rate(measure, lambda frames: frames) == 1


def test_what_the_judge_says_of_true_frames_is_from_the_same_judge(monkeypatch):
    trainings = []
    monkeypatch.setattr(fooling, "trained", lambda *given: trainings.append(given) or trained(*given))
    own = resources(torch.zeros_like)
    fooled, right = train_judge(own), judge_true_frames(own)
    assert len(trainings) == 1
    expected = rate(fooled, lambda frames: frames)  # whatever is predicted
    assert rate(right, torch.zeros_like) == rate(right, torch.rand_like) == expected == 1
    train_judge(resources(torch.ones_like))
    assert len(trainings) == 2  # the judge of another model's samples is another


def test_all_training_clips_are_used():
    drawn = []
    trained(training_samples(torch.zeros_like, drawn), resources(torch.zeros_like))
    assert set(drawn) == set(range(CLIPS))


def test_the_same_seed_gives_the_same_judge_whatever_was_drawn_before():
    first = trained(training_samples(torch.zeros_like), resources(torch.zeros_like))
    torch.rand(5)
    state = torch.get_rng_state()
    second = trained(training_samples(torch.zeros_like), resources(torch.zeros_like))
    assert torch.equal(torch.get_rng_state(), state)
    other = trained(training_samples(torch.zeros_like), resources(torch.zeros_like, seed=1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


def test_its_loss_is_the_mean_cross_entropy_of_true_and_of_generated_windows():
    judge = trained(training_samples(torch.zeros_like), resources(torch.zeros_like)).eval()
    frames, audio = true_clips([0, 1])
    samples = torch.rand_like(frames[:, SEEN:])
    with torch.no_grad():
        result = judge_loss(judge, SEEN, frames, audio, samples)
        losses = {1: [], 0: []}
        for clip in range(2):
            for end in range(SEEN, LENGTH):
                window = slice(end - HISTORY, end + 1)
                generated = torch.cat([frames[clip, :SEEN], samples[clip]])
                for label, pictures in ((1, frames[clip]), (0, generated)):
                    seen = judge.encode_frames(pictures[None, window])[:, None]
                    embedded = judge.encode_audio(audio[clip][None, window])[:, None]
                    log = judge.judge_windows(seen, embedded).log_softmax(1)
                    losses[label].append(-log[0, label])
    expected = sum(torch.stack(each).mean() for each in losses.values())
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_without_training_samples_or_with_few_seen_frames_the_judge_is_unavailable():
    with pytest.raises(Unavailable, match="no generated training samples"):
        train_judge(Resources(device=CPU, clips=16))
    short = TrainingSamples(clips=CLIPS, shape=replace(SHAPE, seen=1), draw=lambda indices: None)
    with pytest.raises(Unavailable, match="its windows begin 2 frames before the predicted one, 1 are seen"):
        train_judge(Resources(device=CPU, clips=16, training_samples=short))
