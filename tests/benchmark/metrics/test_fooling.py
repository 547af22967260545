"""The judge of fooling_rate: what it learns from, that it tells what can be told, and that it repeats."""

import pytest
import torch

from baselines.predictor import ClipShape
from benchmark.metrics import fooling
from benchmark.metrics.fooling import HISTORY, telling_apart, train_judge, trained
from benchmark.metrics.resources import Practice, Setting, Unavailable
from benchmark.scoring.ground_truth import TrueClip

SHAPE = ClipShape((1, 16, 16), (11, 11), seen=5, train_frames=20, fps=10)
SEEN, LENGTH, CLIPS = 3, 7, 6
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(fooling, "STEPS", 12)
    monkeypatch.setattr(fooling, "BATCH", 4)


def true_clips(indices):
    """Noise, bright in its upper half: nothing that a blank frame could be taken for."""
    frames, audio = (torch.stack([noise(each, shape) for each in indices]) for shape in (SHAPE.frame, SHAPE.audio))
    frames[..., :8, :] = 1
    return frames, audio


def noise(seed, shape):
    return torch.rand(LENGTH, *shape, generator=torch.Generator().manual_seed(seed))


def practice(future, asked=None):
    def draw(indices):
        frames, audio = true_clips(indices)
        if asked is not None:
            asked.extend(indices)
        return frames, audio, future(frames[:, SEEN:])

    return Practice(CLIPS, SHAPE, SEEN, draw)


def rate(measure, future, index=77):
    frames, audio = true_clips([index])
    clip = TrueClip(frames, audio, SEEN, None, None)
    futures = torch.stack([future(frames[0, SEEN:])] * 2)[None]
    found = measure(clip, futures)
    assert found.shape == (1, 2, LENGTH - SEEN)
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    return found.mean().item()


def setting(future, asked=None, seed=0):
    return Setting(CPU, 16, 1, practice=practice(future, asked), seed=seed)


def test_black_futures_fool_nobody_and_true_ones_are_taken_for_real():
    measure = train_judge(setting(torch.zeros_like))
    assert rate(measure, torch.zeros_like) == 0
    assert rate(measure, lambda frames: frames) == 1


def test_it_asks_for_all_training_clips():
    asked = []
    trained(practice(torch.zeros_like, asked), setting(torch.zeros_like))
    assert set(asked) == set(range(CLIPS))


def test_the_same_seed_gives_the_same_judge_whatever_was_drawn_before():
    first = trained(practice(torch.zeros_like), setting(torch.zeros_like))
    torch.rand(5)
    state = torch.get_rng_state()
    second = trained(practice(torch.zeros_like), setting(torch.zeros_like))
    assert torch.equal(torch.get_rng_state(), state)
    other = trained(practice(torch.zeros_like), setting(torch.zeros_like, seed=1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


def test_its_loss_is_the_mean_cross_entropy_of_true_and_of_generated_windows():
    judge = trained(practice(torch.zeros_like), setting(torch.zeros_like)).eval()
    frames, audio = true_clips([0, 1])
    futures = torch.rand_like(frames[:, SEEN:])
    with torch.no_grad():
        found = telling_apart(judge, SEEN, frames, audio, futures)
        losses = {1: [], 0: []}
        for clip in range(2):
            for end in range(SEEN, LENGTH):
                window = slice(end - HISTORY, end + 1)
                generated = torch.cat([frames[clip, :SEEN], futures[clip]])
                for label, pictures in ((1, frames[clip]), (0, generated)):
                    seen = judge.encode_frames(pictures[None, window])[:, None]
                    heard = judge.encode_audio(audio[clip][None, window])[:, None]
                    log = judge.judge_windows(seen, heard).log_softmax(1)
                    losses[label].append(-log[0, label])
    expected = sum(torch.stack(each).mean() for each in losses.values())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_training_clips_no_judge():
    with pytest.raises(Unavailable, match="no futures of training clips"):
        train_judge(Setting(CPU, 16, 1))
    short = Practice(CLIPS, SHAPE, 1, lambda indices: None)
    with pytest.raises(Unavailable, match="its windows reach 2 frames back, and 1 are seen"):
        train_judge(Setting(CPU, 16, 1, practice=short))
