"""The examples of a run are the samples that were drawn, and the report reads them back."""

import numpy as np
import pytest
import torch

from baselines.predictor import Prediction
from benchmark.catalogue import METRICS, PROTOCOLS
from benchmark.metrics.resources import Resources
from benchmark.report.examples import read_examples
from benchmark.scoring.archives import write_archive
from benchmark.scoring.examples import ExampleWriter
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.scores import Entry, score_all
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

SAMPLES = 5


def predicted(index, predicted):
    generator = torch.Generator().manual_seed(index)
    drawn = torch.rand(1, SAMPLES, predicted, 1, 48, 48, generator=generator)
    return Prediction(drawn, variance=torch.rand(1, SAMPLES, predicted, generator=generator))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("byte", "is damaged"),
        ("cut", "is damaged"),
        ("text", r"is damaged \(an \.npz file is expected\)"),
        ("another run", r"is of another run \(seed: 1 found, 0 requested\)"),
        ("nobody knows whose", "does not say which run it is of"),
    ],
)
def test_examples_of_an_unfinished_run_that_are_damaged_or_not_its_own_are_refused(
    tmp_path, small_dataset, damage, message
):
    path = tmp_path / "examples.npz"
    targets = TargetClips(small_dataset, "test", PROTOCOLS["m3so"], 1, torch.device("cpu"))
    write_archive(path, {"target": np.zeros(1000)}, '{"seed": 0}')
    assert ExampleWriter(targets, path, tmp_path / "scores", '{"seed": 0}').count == 0
    content = path.read_bytes()
    half = len(content) // 2
    if damage == "another run":
        write_archive(path, {"target": np.zeros(1000)}, '{"seed": 1}')
    elif damage == "nobody knows whose":
        np.savez(path, target=np.zeros(1000))
    else:
        changed = {"byte": content[:half] + b"\x01" + content[half + 1 :], "cut": content[:half], "text": b"mine"}
        path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=f"examples.npz {message}.*: move it away to score again"):
        ExampleWriter(targets, path, tmp_path / "scores", '{"seed": 0}')


@pytest.mark.parametrize(("name", "clips"), [("m3so-nb", 3), ("m3so", 8)])
def test_examples_are_the_drawn_samples(tmp_path, name, clips):
    protocol = PROTOCOLS[name]
    dataset = generate(tmp_path / "data", Spec(**protocol.world), {"test": clips}, seed=3)
    targets = TargetClips(dataset, "test", protocol, clips, torch.device("cpu"))
    entry = Entry("theirs", lambda clip: [predicted(clip.index, protocol.test_predicted)])
    examples = ExampleWriter(targets, tmp_path / "examples.npz", tmp_path / "scores")
    resources = Resources(device=targets.device, clips=clips)
    score_all([entry], [METRICS["psnr"]], targets, resources, tmp_path, examples)
    found = read_examples(tmp_path / "examples.npz", protocol)
    kept, split = min(clips, 6), dataset.split("test")
    assert found.clips.tolist() == list(range(kept))
    np.testing.assert_array_equal(found.target[:, :, 0], split.frames[:kept, : protocol.test_frames])
    np.testing.assert_array_equal(found.audio, split.audio[:kept, : protocol.test_frames * 800])
    for index in range(kept):
        drawn = predicted(index, protocol.test_predicted)
        errors = ((drawn.frames[0] - targets(index).unseen[0]) ** 2).mean((2, 3, 4)).log().mean(1)
        for array, expected in (
            (found.mean, drawn.frames[0].mean(0)),
            (found.best, drawn.frames[0, errors.argmin()]),
            (found.random, drawn.frames[0, :3]),
        ):
            np.testing.assert_array_equal(array[index], (expected * 255).round())
        np.testing.assert_allclose(found.variance[index], drawn.variance[0].mean(0), rtol=1e-6)
