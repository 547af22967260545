"""Any dataset and any kind of model: colour video that is nothing like M3SO, under a protocol that is one new row."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from baselines import registry
from baselines.predictor import Prediction, Predictor
from benchmark.catalogue import METRICS, PROTOCOLS, Metric, Protocol
from benchmark.job import Job
from benchmark.report.runs import open_runs
from benchmark.run import run
from benchmark.scoring import ground_truth
from mmnist_av.audio_features import Spectrogram
from mmnist_av.system.errors import InputError
from narrow import thin
from plain_clips import make_plain
from toys import TOYS

VIDEO = Protocol(
    name="video",
    family="plain",
    dataset="squares",
    world={},
    seen=3,
    train_predicted=2,
    test_predicted=5,
    reported=(4, 8),
    audio=Spectrogram(n_fft=512, hop=92, bins=93),
)
SIZES = {"train": 4, "val": 1, "test": 2}
LEARNED = [name for name in registry.MODELS if registry.is_trained(name)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Colour clips with sound: 64x64x3 at 30 fps, 44.1 kHz, 3 s, without any annotation."""
    return make_plain(tmp_path_factory.mktemp("data") / "video", SIZES)


@pytest.fixture(scope="module")
def with_flow(tmp_path_factory):
    """The same kind of clips with stored flow."""
    return make_plain(tmp_path_factory.mktemp("data") / "flow", SIZES, flow=True)


@pytest.fixture(autouse=True)
def protocol_row(monkeypatch):
    """The new protocol: one row."""
    monkeypatch.setitem(PROTOCOLS, VIDEO.name, VIDEO)


@pytest.fixture
def toys(monkeypatch):
    """The toy models, by name."""
    for name, predictor in TOYS.items():
        monkeypatch.setitem(registry.MODELS, name, registry.Model(predictor))


def job(dataset, out, model, **changes):
    facts = {"samples": 2, "steps": 1, "device": "cpu", "settings": thin(model), "eval_every": 0}
    return Job(model=model, protocol=VIDEO.name, data=dataset.path, out=out, **{**facts, **changes})


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_model_trains_is_scored_and_reported_on_any_dataset(name, video, tmp_path, drawn):
    rows, folder = run(job(video, tmp_path / name, name, metrics="psnr"))
    own = rows[rows["model"] == name]
    assert set(own[own["metric"] == "psnr"]["frame"]) == {"4", "8", "mean"}
    assert np.isfinite(own["value"]).all()
    assert set(rows["dataset"]) == {"squares"}
    assert len(pd.read_csv(folder / "training.csv")) == 1
    (opened,) = open_runs([folder])
    assert opened.examples.target.shape == (2, 8, 3, 64, 64)
    assert (folder / "report" / "index.html").is_file()


def test_metrics_are_those_that_the_dataset_allows(video, tmp_path):
    rows, _ = run(job(video, tmp_path / "run", "copy-last"))
    assert set(rows["metric"]) == {"psnr", "psnr_exact", "ink", "ssim", "ssim_uniform"}


@pytest.mark.parametrize("name", TOYS)
def test_stages_turns_state_windows_and_flow_work_without_special_code(name, with_flow, toys, tmp_path):
    steps = {"steps": 4, "eval_every": 2}
    rows, folder = run(job(with_flow, tmp_path / name, name, **steps))
    own = rows[rows["model"] == name]
    assert set(own["steps"]) == {"4"}
    assert np.isfinite(own[own["metric"] == "psnr"]["value"]).all()
    assert ("aepe" in set(own["metric"])) == (name == "flow-user")
    assert set(pd.read_csv(folder / "validation.csv")["step"]) == {2, 4}
    again, _ = run(job(with_flow, tmp_path / "again", name, **steps))
    pd.testing.assert_frame_equal(rows, again)


def test_a_model_that_needs_what_the_dataset_lacks_is_refused_before_anything_is_written(video, toys, tmp_path):
    with pytest.raises(InputError, match=r"flow-user needs flow: .* has no such annotation"):
        run(job(video, tmp_path / "run", "flow-user"))
    assert not (tmp_path / "run").exists()


def test_a_model_that_needs_what_nobody_provides_is_refused(video, tmp_path, monkeypatch):
    class Typo(TOYS["two-stage"]):
        needs = frozenset({"sen"})

    monkeypatch.setitem(registry.MODELS, "typo", registry.Model(Typo))
    with pytest.raises(InputError, match="typo needs sen: a model can need seen, flow, centres, weights:NAME"):
        run(job(video, tmp_path / "run", "typo"))


def test_without_a_seen_frame_models_and_floors_that_need_one_are_left_out(video, toys, tmp_path, monkeypatch, drawn):
    monkeypatch.setitem(PROTOCOLS, VIDEO.name, replace(VIDEO, seen=0, reported=(1, 5)))
    with pytest.raises(InputError, match="two-stage needs a seen frame, and protocol video shows none"):
        run(job(video, tmp_path / "run", "two-stage"))
    rows, folder = run(job(video, tmp_path / "sound", "audio-only", metrics="psnr"))
    assert set(rows["model"]) == {"audio-only", "black"}
    assert (folder / "report" / "index.html").is_file()


class Counting(Predictor):
    """Predicts noise, and notes the clips that it was given."""

    modality, stochastic, paper = "V", True, ""
    given: ClassVar[list[bytes]] = []

    def __init__(self, shape):
        super().__init__()

    def predict(self, context, samples, noise):
        self.given.append(context.frames.numpy().tobytes())
        return Prediction(noise.normal(context.predicted, *context.frames.shape[2:]).sigmoid())


def test_a_run_draws_each_clips_samples_once_and_loads_each_clip_once(video, tmp_path, monkeypatch, drawn):
    monkeypatch.setitem(registry.MODELS, "counting", registry.Model(Counting))
    loaded, load_clips = [], ground_truth.load_clips

    def counting(clips, indices, *rest):
        loaded.extend(indices)
        return load_clips(clips, indices, *rest)

    monkeypatch.setattr(ground_truth, "load_clips", counting)
    Counting.given.clear()
    run(job(video, tmp_path / "run", "counting"))
    assert len(Counting.given) == len(set(Counting.given)) == 2
    assert loaded == [0, 1]


def brightness(target, prediction):
    """Return the difference in mean brightness of every frame: a metric that is one function and one row."""
    return (prediction.mean((-3, -2, -1)) - target.mean((-3, -2, -1))).abs().double()


def test_a_metric_is_added_by_one_row(video, tmp_path, monkeypatch, drawn):
    row = Metric(name="brightness", function=f"{__name__}:brightness", better="lower", unit="", summary="")
    monkeypatch.setitem(METRICS, "brightness", row)
    rows, folder = run(job(video, tmp_path / "run", "copy-last", metrics="psnr,brightness"))
    found = rows.query("model == 'copy-last' and metric == 'brightness' and frame == '8'")["value"].item()
    frames = video.split("test").frames[:, :8] / 255
    expected = np.abs(frames[:, 2].mean((1, 2, 3)) - frames[:, 7].mean((1, 2, 3))).mean()
    assert found == pytest.approx(expected, abs=1e-6)
    assert "brightness" in (folder / "report" / "index.html").read_text()


def test_a_metric_row_that_names_no_function_is_refused_before_anything_is_written(video, tmp_path, monkeypatch):
    row = Metric(name="typo", function="benchmark.metrics.image:psnrr", better="lower", unit="", summary="")
    monkeypatch.setitem(METRICS, "typo", row)
    with pytest.raises(InputError, match=r"the row of metric typo names .*image:psnrr, not found"):
        run(job(video, tmp_path / "run", "copy-last"))
    assert not (tmp_path / "run").exists()
