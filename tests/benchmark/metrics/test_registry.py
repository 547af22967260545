"""Every row of the catalogue's metrics: its function loads, takes what the row says, and stays in the row's range."""

from functools import partial

import numpy as np
import pytest
import torch
from torchvision.models import alexnet, inception_v3

from baselines.predictor import ClipShape, Prediction
from benchmark.catalogue import METRICS, choose_metrics, find_metric
from benchmark.metrics import fooling, frechet, load
from benchmark.metrics.resources import Resources, TrainingSamples, Unavailable
from benchmark.networks import weights
from benchmark.networks.i3d import i3d
from benchmark.scoring.ground_truth import TargetClip
from mmnist_av.system.errors import InputError

SEEN, LENGTH, SAMPLES, SIDE = 5, 15, 3, 48
PREDICTED = LENGTH - SEEN
CPU = torch.device("cpu")
WEIGHTS = {"lpips": "alexnet", "fid": "inception", "fvd": "i3d"}
KINDS = ["random", "black", "perfect"]


def annotate(seed, name, frames):
    rng = np.random.default_rng(seed)
    return {
        "block": np.array([16, 16]),
        "block_mask": rng.random((LENGTH, SIDE, SIDE)) < 0.1,
        "label": np.int64(seed % 10),
        "events": np.arange(LENGTH) % 4 == seed % 4,
        "flow": rng.standard_normal((LENGTH, 2, SIDE, SIDE)).astype(np.float32),
    }[name]


def random_clip(seed=0):
    rng = torch.Generator().manual_seed(seed)
    frames, audio = torch.rand(1, LENGTH, 1, SIDE, SIDE, generator=rng), torch.rand(1, LENGTH, 11, 11, generator=rng)
    return TargetClip(index=seed, frames=frames, audio=audio, seen=SEEN, annotate=partial(annotate, seed))


def predict(clip, kind):
    rng = torch.Generator().manual_seed(clip.index + 100)
    shape = (1, SAMPLES, PREDICTED, 1, SIDE, SIDE)
    frames = {"random": torch.rand(shape, generator=rng), "black": torch.zeros(shape)}.get(kind)
    frames = clip.unseen.expand(shape) if frames is None else frames
    flow = torch.randn(*shape[:3], 2, SIDE, SIDE, generator=rng)
    return Prediction(frames, flow=flow, variance=torch.rand(shape[:3], generator=rng))


def draw(indices):
    clips = [random_clip(index) for index in indices]
    frames, audio = (torch.cat([getattr(clip, name) for clip in clips]) for name in ("frames", "audio"))
    return frames, audio, torch.rand_like(frames[:, SEEN:])


@pytest.fixture(scope="module")
def random_weights():
    """Return state dicts like those that are published."""
    torch.manual_seed(0)
    inception = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    return {"alexnet": alexnet().state_dict(), "inception": inception.state_dict(), "i3d": i3d().state_dict()}


@pytest.fixture
def resources(monkeypatch, tmp_path, random_weights):
    monkeypatch.setattr(fooling, "STEPS", 2)
    monkeypatch.setattr(weights, "read", lambda name, source: random_weights[name])
    shape = ClipShape(frame=(1, SIDE, SIDE), audio=(11, 11), seen=SEEN, train_frames=LENGTH, fps=10)
    samples = TrainingSamples(clips=4, shape=shape, draw=draw)
    return Resources(device=CPU, clips=frechet.LEAST, weights=tmp_path, training_samples=samples)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_loads_and_its_values_are_in_its_range(metric, resources):
    measure, clip = load(metric, resources), random_clip()
    for kind in KINDS[:1] if metric.score_of == "set" else KINDS:  # those of sets are slow
        prediction = predict(clip, kind)
        if metric.score_of == "set":
            few, shape = {"fid": (2, (2, 2048)), "fvd": (9, (1, 400))}[metric.name]  # frames of a clip, and features
            frames = prediction.frames[:, :, :few]
            features = measure(clip, Prediction(frames))
            assert features.shape == shape
            assert torch.equal(features, measure(clip, Prediction(frames[:, :1])))
            assert features.isfinite().all()
            continue
        scores = measure(clip, prediction)
        rows, columns = (1 if metric.score_of == "pairs" else SAMPLES), (PREDICTED if metric.frames == "all" else 1)
        assert scores.shape == (1, rows, columns)
        assert scores.dtype == torch.float64
        scored = scores[..., 1:] if metric.name == "self_similarity_flow" else scores
        none = scored.isnan()
        assert not none.any() or (metric.undefined == "where no digit is visible" and kind == "black")
        assert (none | ((scored >= metric.lowest) & (scored <= metric.highest))).all()


@pytest.mark.parametrize("name", ["psnr", "ssim", "psnr_exact", "ink", "ssim_uniform", "lpips", "position_error"])
def test_a_perfect_prediction_has_the_best_value_and_a_random_one_has_not(name, resources):
    metric, clip = METRICS[name], random_clip()
    measure = load(metric, resources)
    best = {"higher": metric.highest, "lower": metric.lowest, "nearer 1": 1.0}[metric.better]
    perfect, worse = (measure(clip, predict(clip, kind)) for kind in ("perfect", "random"))
    torch.testing.assert_close(perfect, torch.full_like(perfect, best))
    assert (worse != best).all()


@pytest.mark.parametrize("name", WEIGHTS)
def test_metrics_without_their_weights_say_how_to_get_them(name, tmp_path):
    with pytest.raises(Unavailable, match="name their folder with --weights DIR, or use --weights download"):
        load(METRICS[name], Resources(device=CPU, clips=16))
    with pytest.raises(Unavailable, match=f"{name} needs .* it is not in {tmp_path}: download https://"):
        load(METRICS[name], Resources(device=CPU, clips=16, weights=tmp_path))


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_weights_that_a_metric_needs_are_published(name):
    assert METRICS[name].needs == {f"weights:{WEIGHTS[name]}"}
    assert weights.PUBLISHED[WEIGHTS[name]].metric == name


@pytest.mark.parametrize("name", ["fid", "fvd"])
def test_distances_of_sets_need_clips_enough(name, resources, monkeypatch, caplog):
    load(METRICS[name], resources)
    frechet._warn_of_few.cache_clear()
    load(METRICS[name], resources)
    assert "fid and fvd of only 16 clips are too large" in caplog.text
    few = Resources(device=CPU, clips=frechet.LEAST - 1, weights=resources.weights)
    with pytest.raises(Unavailable, match="needs 16 clips or more, 15 are scored"):
        load(METRICS[name], few)


def test_metrics_are_chosen_by_name_or_as_a_set():
    def names(text, *annotations):
        return [metric.name for metric in choose_metrics(text, annotations, seen=5)]

    of_nb = ("block_mask", "centres", "label", "events", "flow")
    assert set(METRICS) - set(names("all", *of_nb)) == {"block_iou"}
    assert set(names("all", *of_nb)) - set(names("standard", *of_nb)) == {
        "fooling_rate",
        "fooling_rate_true",
        "self_similarity_flow",
    }
    assert names("ssim, psnr") == ["psnr", "ssim"]
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        names("psnr,sim")
    with pytest.raises(InputError, match="--metrics block_iou: it needs block of the dataset"):
        names("block_iou", *of_nb)
    several_digits = names("all", "block_mask", "centres")
    assert not {"bounce_f1", "sync_lag", "digit_accuracy", "aepe"} & set(several_digits)
    assert "position_error" in several_digits


def test_an_unknown_metric_is_answered_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        find_metric("sim")
