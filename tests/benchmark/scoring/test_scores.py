"""Scores of every kind come from one pass, are kept, and are not computed twice."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from baselines.predictor import Prediction
from benchmark.catalogue import METRICS, PROTOCOLS
from benchmark.metrics import load
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.image import psnr, ssim
from benchmark.metrics.resources import Resources, Unavailable
from benchmark.scoring import scores as scores_module
from benchmark.scoring.examples import ExampleWriter
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.rows import Result, make_rows
from benchmark.scoring.scores import RECORDS_OF, Entry, check_ranges, read_scores, samplings, score_all, score_clip
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

CLIPS, SAMPLES = 17, 3
CPU = torch.device("cpu")
RESOURCES = Resources(device=CPU, clips=CLIPS)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    dataset = generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"test": CLIPS}, seed=3)
    return TargetClips(dataset, "test", PROTOCOLS["m3so-nb"], CLIPS, CPU)


def predicted(index):
    return Prediction(torch.rand(1, SAMPLES, 20, 1, 48, 48, generator=torch.Generator().manual_seed(index)))


def entry(name="theirs", predict=predicted, **facts):
    return Entry(name, lambda clip: [predict(clip.index)], **facts)


def counted(drawn):
    return entry(predict=lambda index: drawn.append(index) or predicted(index))


def metrics(*names):
    return [METRICS[name] for name in names]


def test_every_sample_and_their_mean_are_scored(clips, tmp_path):
    scores = score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path)["theirs"]
    assert scores["psnr"].shape == (CLIPS, SAMPLES, 20)
    for index in range(CLIPS):
        drawn, truth = predicted(index).frames, clips(index).unseen
        np.testing.assert_array_equal(scores["psnr"][index], psnr(truth, drawn)[0].float())
        expected = psnr(truth, drawn.mean(1, keepdim=True))[0, 0].float()
        np.testing.assert_array_equal(scores["psnr/mean_frame"][index], expected)


def test_existing_metrics_are_not_computed_again_and_others_are_added(clips, tmp_path):
    drawn = []
    first = score_all([counted(drawn)], metrics("psnr"), clips, RESOURCES, tmp_path)
    assert drawn == list(range(CLIPS))
    again = score_all([counted(drawn)], metrics("psnr"), clips, RESOURCES, tmp_path)
    assert len(drawn) == CLIPS
    more = score_all([counted(drawn)], metrics("psnr", "ssim"), clips, RESOURCES, tmp_path)
    assert len(drawn) == 2 * CLIPS
    np.testing.assert_array_equal(first["theirs"]["psnr"], again["theirs"]["psnr"])
    np.testing.assert_array_equal(first["theirs"]["psnr"], more["theirs"]["psnr"])
    alone = score_all([entry()], metrics("ssim"), clips, RESOURCES, tmp_path / "..")
    np.testing.assert_array_equal(more["theirs"]["ssim"], alone["theirs"]["ssim"])
    assert set(read_scores(tmp_path / "scores.npz")["theirs"]) == {"psnr", "psnr/mean_frame", "ssim", "ssim/mean_frame"}


def test_a_killed_scoring_continues_and_ends_with_the_same_file(clips, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    score_all([entry()], metrics("psnr", "bounce_f1"), clips, RESOURCES, whole)

    def dying(index):
        if index == 9:
            raise KeyboardInterrupt
        return predicted(index)

    with pytest.raises(KeyboardInterrupt):
        score_all([entry(predict=dying)], metrics("psnr", "bounce_f1"), clips, RESOURCES, broken)
    drawn = []
    score_all([counted(drawn)], metrics("psnr", "bounce_f1"), clips, RESOURCES, broken)
    assert drawn == list(range(9, CLIPS))
    assert (broken / "scores.npz").read_bytes() == (whole / "scores.npz").read_bytes()
    assert [path.name for path in broken.iterdir()] == ["scores.npz"]


def interrupt(index):
    raise KeyboardInterrupt


def test_records_of_another_run_or_of_nobody_knows_whom_are_not_continued(clips, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        score_all([entry(predict=interrupt)], metrics("psnr"), clips, RESOURCES, tmp_path, run='{"seed": 1}')
    with pytest.raises(InputError, match=r"is of another run \(seed: 1 found, 0 requested\): move it"):
        score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path, run='{"seed": 0}')
    (tmp_path / "scores" / RECORDS_OF).unlink()
    with pytest.raises(InputError, match="scores does not say which run it is of"):
        score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path, run='{"seed": 1}')


def test_a_file_of_the_users_among_the_records_stays(clips, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        score_all([entry(predict=interrupt)], metrics("psnr"), clips, RESOURCES, tmp_path)
    (tmp_path / "scores/my_analysis.csv").write_text("mine")
    score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path)
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["my_analysis.csv"]


def test_files_of_the_users_with_the_names_of_scores_are_refused_without_advice_to_delete_them(clips, tmp_path):
    (tmp_path / "scores").write_text("mine")
    with pytest.raises(InputError, match=r"scores is a file, and .*: move it away"):
        score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path)
    (tmp_path / "scores.npz").write_text("mine")
    with pytest.raises(InputError, match=r"damaged \(an \.npz file is expected\): move it away to score"):
        score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path)


def test_pairs_have_one_score_a_clip_and_none_for_one_sample(clips, tmp_path):
    found = score_all([entry()], metrics("self_similarity"), clips, RESOURCES, tmp_path)["theirs"]
    assert found["self_similarity"].shape == (CLIPS, 1, 20)
    drawn = predicted(0).frames[0]
    pairs = [ssim(drawn[one][None], drawn[other][None])[0] for one, other in ((0, 1), (0, 2), (1, 2))]
    mean = torch.stack(pairs).mean(0)
    np.testing.assert_allclose(samplings(found, "self_similarity")["pairs"][0], mean, atol=1e-6)
    alone = entry("one", lambda index: Prediction(predicted(index).frames[:, :1]))
    found = score_all([alone], metrics("self_similarity"), clips, RESOURCES, tmp_path)["one"]
    assert samplings(found, "self_similarity") == {}


def test_flow_is_scored_where_a_model_predicts_it(clips, tmp_path):
    def still(index):
        return Prediction(predicted(index).frames, flow=torch.zeros(1, SAMPLES, 20, 2, 48, 48))

    entries = [entry("flowing", still, predicts=frozenset({"flow"})), entry()]
    found = score_all(entries, metrics("aepe"), clips, RESOURCES, tmp_path)
    assert set(found["theirs"]) == set()
    flows = [clips(index).annotation("flow")[0, 5:25] for index in range(CLIPS)]
    expected = np.stack([flow.norm(dim=1).mean((1, 2)) for flow in flows])
    np.testing.assert_allclose(found["flowing"]["aepe"][:, 1], expected, rtol=1e-5)


def test_expected_errors_are_ranked_where_a_model_has_them(clips, tmp_path):
    def growing(index):
        return Prediction(predicted(index).frames, variance=torch.arange(1.0, 21).expand(1, SAMPLES, 20))

    entries = [entry("knowing", growing, predicts=frozenset({"variance"})), entry()]
    found = score_all(entries, metrics("uncertainty_rank"), clips, RESOURCES, tmp_path)
    assert set(found["theirs"]) == set()
    assert set(found["knowing"]) == {"uncertainty_rank"}  # averaged samples have no error of their own
    assert set(samplings(found["knowing"], "uncertainty_rank")) == {"mean"}
    for index in range(CLIPS):
        errors = (predicted(index).frames[0] - clips(index).unseen[0]).double().square().mean((2, 3, 4))
        expected = [spearmanr(range(20), each.tolist()).statistic for each in errors]
        np.testing.assert_allclose(found["knowing"]["uncertainty_rank"][index, :, 0], expected, atol=1e-6)


def corner_features(clip, prediction):
    return prediction.frames[:, 0, :, 0, 20:24, 20:24].mean((2, 3))  # (1, T)


def load_corner_features(resources):
    return corner_features


def test_distances_are_between_the_target_clips_and_the_first_samples(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "fvd", replace(METRICS["fvd"], function=f"{__name__}:load_corner_features"))
    found = score_all([entry()], metrics("fvd"), clips, RESOURCES, tmp_path)["theirs"]
    target = np.concatenate([corner_features(None, Prediction(clips(index).unseen)) for index in range(CLIPS)])
    first = np.concatenate([corner_features(None, predicted(index)) for index in range(CLIPS)])
    assert found["fvd"] == pytest.approx(frechet_distance(target, first))
    assert found["fvd"].shape == ()


def test_a_metric_that_cannot_be_computed_is_left_out_with_a_note(clips, tmp_path, monkeypatch, caplog):
    def unavailable(metric, resources):
        if metric.name == "ssim":
            raise Unavailable("its weights are absent")
        return load(metric, resources)

    monkeypatch.setattr(scores_module, "load", unavailable)
    found = score_all([entry()], metrics("psnr", "ssim"), clips, RESOURCES, tmp_path)["theirs"]
    assert set(found) == {"psnr", "psnr/mean_frame"}
    assert caplog.messages == ["ssim left out for theirs: its weights are absent"]


class Counting(TargetClips):
    """Target clips that note which of them are loaded."""

    loaded: ClassVar[list[int]] = []

    def __call__(self, index):
        self.loaded.append(index)
        return super().__call__(index)


def test_each_clip_is_loaded_once_and_each_sample_drawn_once(clips, tmp_path):
    counting = Counting(clips.dataset, clips.split, clips.protocol, clips.count, clips.device)
    Counting.loaded.clear()
    drawn = {"theirs": [], "other": []}

    def draw(name):
        return lambda index: (
            drawn[name].append(index)
            or Prediction(predicted(index).frames, flow=torch.zeros(1, SAMPLES, 20, 2, 48, 48))
        )

    entries = [entry(name, draw(name), predicts=frozenset({"flow"})) for name in drawn]
    examples = ExampleWriter(counting, tmp_path / "examples.npz", tmp_path / "scores")
    chosen = metrics("psnr", "ssim", "aepe", "self_similarity", "bounce_f1")
    score_all(entries, chosen, counting, RESOURCES, tmp_path, examples)
    assert Counting.loaded == list(range(CLIPS))
    assert drawn == {"theirs": list(range(CLIPS)), "other": list(range(CLIPS))}
    assert (tmp_path / "examples.npz").exists()


def test_windows_of_a_prediction_score_as_the_whole_where_frames_have_scores_of_their_own(clips):
    measures = {name: load(METRICS[name], RESOURCES) for name in ("psnr", "aepe", "position_error", "bounce_f1")}
    whole = Prediction(predicted(0).frames, flow=torch.rand(1, SAMPLES, 20, 2, 48, 48))
    windows = [Prediction(whole.frames[:, :, a:b], whole.flow[:, :, a:b]) for a, b in ((0, 3), (3, 10), (10, 20))]
    first, second = (score_clip(measures, clips(0), each) for each in ([whole], windows))
    for name in ("psnr", "psnr/mean_frame", "aepe", "position_error"):
        np.testing.assert_array_equal(first[name], second[name])
    assert np.isnan(second["bounce_f1"]).all()  # a score of the whole clip has no value in windows
    assert first["bounce_f1"].shape == second["bounce_f1"].shape


def test_a_model_that_carries_state_draws_every_clip_from_the_first_on(clips, tmp_path):
    drawn = []
    score_all([counted([])], metrics("psnr"), clips, RESOURCES, tmp_path)
    ordered = replace(counted(drawn), in_order=True)
    score_all([ordered], metrics("psnr", "ssim"), clips, RESOURCES, tmp_path)
    assert drawn == list(range(CLIPS))
    drawn.clear()

    def dying(index):
        if index == 9:
            raise KeyboardInterrupt
        return predicted(index)

    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        score_all([entry(predict=dying, in_order=True)], metrics("psnr"), clips, RESOURCES, folder)
    score_all([ordered], metrics("psnr"), clips, RESOURCES, folder)
    assert drawn == list(range(CLIPS))


def test_a_damaged_file_of_scores_is_named(clips, tmp_path):
    score_all([entry()], metrics("psnr"), clips, RESOURCES, tmp_path)
    path = tmp_path / "scores.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scores\.npz is damaged"):
        read_scores(path)


def test_a_metric_of_the_first_samples_gets_no_others_and_its_rows_say_how_many(small_dataset):
    clip = TargetClips(small_dataset, "test", PROTOCOLS["m3so"], 1, torch.device("cpu"))(0)
    samples = torch.rand(1, 12, *clip.unseen.shape[2:])
    given = []

    def measure(clip, prediction):
        given.append(prediction.frames)
        return torch.zeros(prediction.frames.shape[:3], dtype=torch.float64)

    scores = score_clip({"digit_accuracy": measure}, clip, [Prediction(samples)])
    assert torch.equal(given[0], samples[:, :10])
    assert scores["digit_accuracy"].shape == (10, 40)
    result = Result(model="a", protocol=PROTOCOLS["m3so"], preset="small", samples=100, clips=1, provenance={})
    assert set(make_rows({"digit_accuracy": {"mean": np.zeros((1, 40))}}, result)["k"]) == {10}


@pytest.mark.parametrize("values", [torch.zeros(()), torch.zeros(1, SAMPLES, 1), torch.zeros(SAMPLES, 20), 0.5])
def test_a_metric_that_returns_another_shape_is_named(clips, values):
    with pytest.raises(InputError, match=r"metric psnr must return a tensor of the shape \(1, 3, 20\), not"):
        score_clip({"psnr": lambda clip, prediction: values}, clips(0), [predicted(0)])


def too_good(target, prediction):
    return torch.full(prediction.shape[:3], 1.5)


def slightly_rounded(target, prediction):
    return torch.full(prediction.shape[:3], 1 + 1e-6)


def test_a_value_outside_the_range_of_its_row_is_refused_with_metric_model_and_clip(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "ssim", replace(METRICS["ssim"], function=f"{__name__}:slightly_rounded"))
    score_all([entry("rounded")], metrics("ssim"), clips, RESOURCES, tmp_path)
    monkeypatch.setitem(METRICS, "ssim", replace(METRICS["ssim"], function=f"{__name__}:too_good"))
    with pytest.raises(InputError, match=r"metric ssim of theirs, clip 0: 1\.5 is not within -1 and 1"):
        score_all([entry()], metrics("ssim"), clips, RESOURCES, tmp_path)


@pytest.mark.parametrize("value", [-np.inf, np.inf, -1.0])
def test_a_distance_is_finite_and_not_negative(value):
    with pytest.raises(InputError, match="metric aepe of theirs, clip 3: "):
        check_ranges({"aepe": np.array([[0.0, np.nan, value]], np.float32)}, "theirs", 3)
