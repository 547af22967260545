"""What the harness hands to a model, and what it may not."""

from dataclasses import replace

import pytest
import torch

from baselines import registry
from baselines.predictor import ClipShape, Prediction, Predictor
from benchmark.compute import Compute
from benchmark.inputs import load_clips
from benchmark.protocols import PROTOCOLS
from benchmark.scoring.samples import draw_futures, seen_and_heard
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError

PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, test_predicted=4)
CPU = Compute(torch.device("cpu"), bfloat16=False)
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
TRAINED = [
    name for name, model in registry.MODELS.items() if model.predictor.stochastic and not name.startswith("bayes")
]


def clips(seed=0, count=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 7, *SHAPE.frame, generator=generator), torch.rand(
        count, 7, *SHAPE.audio, generator=generator
    )


def network(name):
    torch.manual_seed(0)
    return registry.build(name, SHAPE, registry.configure(name, {})).eval()


@pytest.mark.parametrize("name", registry.MODELS)
def test_changing_future_frames_changes_no_prediction_and_the_last_seen_frame_does(name):
    model, (frames, audio) = network(name), clips()
    future, last = frames.clone(), frames.clone()
    future[:, 3:] = torch.rand_like(future[:, 3:])
    last[:, 2] = 1 - last[:, 2]
    drawn = [
        draw_futures(model, given, audio, PROTOCOL, 2, 0, [0, 1, 2], CPU).frames for given in (frames, future, last)
    ]
    assert drawn[0].shape == (3, 2, 4, *SHAPE.frame)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2]) == (name in ("black", "audio-only"))


def test_a_model_is_handed_the_seen_frames_and_the_sound_and_nothing_else():
    class Spy(Predictor):
        def predict(self, context, samples, noise):
            self.handed = (context.frames, context.audio)
            seen = context.frames
            return Prediction(seen.new_zeros(len(seen), samples, context.predicted, *seen.shape[2:]))

    model, (frames, audio) = Spy(), clips()
    draw_futures(model, frames, audio, PROTOCOL, 2, 0, [0, 1, 2], CPU)
    seen, heard = model.handed
    assert torch.equal(seen, frames[:, :3])
    assert torch.equal(heard, audio)
    assert seen.untyped_storage().nbytes() == seen.nbytes  # no view through which the future could be read


@pytest.mark.parametrize("made", [(3, 1, 4, 1, 48, 48), (3, 2, 3, 1, 48, 48), (2, 3, 4, 1, 48, 48), (3, 2, 4, 48, 48)])
def test_futures_of_another_shape_are_refused(made):
    class Careless(Predictor):
        def predict(self, context, samples, noise):
            return Prediction(context.frames.new_zeros(made))

    with pytest.raises(InputError, match=r"Careless.predict must return futures of the shape \(3, 2, 4, 1, 48, 48\)"):
        draw_futures(Careless(), *clips(), PROTOCOL, 2, 0, [0, 1, 2], CPU)


@pytest.mark.parametrize("name", TRAINED)
def test_futures_of_a_clip_do_not_depend_on_its_neighbours_or_their_order(name, lively):
    model, (frames, audio) = lively(network(name)), clips()
    together = draw_futures(model, frames, audio, PROTOCOL, 2, 0, [5, 6, 7], CPU).frames
    shuffled = draw_futures(model, frames[[2, 0]], audio[[2, 0]], PROTOCOL, 2, 0, [7, 5], CPU).frames
    spread = (together[:, 0] - together[:, 1]).abs().mean()
    assert spread > 1e-4
    assert (together[[2, 0]] - shuffled).abs().mean() < 1e-2 * spread


@pytest.mark.parametrize("name", TRAINED)
def test_futures_repeat_with_the_seed_and_differ_without(name):
    model, (frames, audio) = network(name), clips(count=1)
    first, again, other = (draw_futures(model, frames, audio, PROTOCOL, 2, seed, [0], CPU).frames for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:, 0], first[:, 1])


def test_mismatched_sound_is_the_next_clips_and_the_last_clips_is_the_firsts(small_dataset):
    clips = StoredClips(small_dataset.split("test"), 7)
    mismatch = replace(PROTOCOL, mismatched=True)
    frames, sound = load_clips(clips, [0, 1, 2], PROTOCOL, CPU.device)
    seen, heard = seen_and_heard(clips, [0, 1, 2], mismatch, CPU.device)
    assert torch.equal(seen, frames)
    assert torch.equal(heard, sound[[1, 2, 0]])
    assert torch.equal(seen_and_heard(clips, [0, 1, 2], PROTOCOL, CPU.device)[1], sound)


def test_sound_cannot_be_mismatched_where_there_is_one_clip():
    one = [{"frames": torch.zeros(7, 1, 48, 48, dtype=torch.uint8), "audio": torch.zeros(7, 800)}]
    with pytest.raises(InputError, match="takes the sound of another clip, and there is only one"):
        seen_and_heard(one, [0], replace(PROTOCOL, mismatched=True), CPU.device)
