"""Scores of every kind come from one pass, are kept, and are not computed twice."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from baselines.predictor import Prediction
from benchmark.metrics import METRICS, Metric
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.image import psnr, ssim
from benchmark.metrics.resources import Setting, Unavailable
from benchmark.protocols import PROTOCOLS
from benchmark.scoring.ground_truth import TrueClips
from benchmark.scoring.rows import make_rows
from benchmark.scoring.scores import Contender, read_all, samplings, score_all, score_clip
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

CLIPS, SAMPLES = 17, 3
CPU = torch.device("cpu")
SETTING = Setting(CPU, CLIPS, 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    dataset = generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"test": CLIPS}, seed=3)
    return TrueClips(dataset, "test", PROTOCOLS["m3so-nb"], CLIPS, CPU)


def futures(index):
    return Prediction(torch.rand(1, SAMPLES, 20, 1, 48, 48, generator=torch.Generator().manual_seed(index)))


def counted(asked):
    return Contender("theirs", lambda index: asked.append(index) or futures(index))


def test_every_future_and_their_mean_are_scored(clips, tmp_path):
    scores = score_all([Contender("theirs", futures)], ["psnr"], clips, SETTING, tmp_path)["theirs"]
    assert scores["psnr"].shape == (CLIPS, SAMPLES, 20)
    for index in range(CLIPS):
        drawn, truth = futures(index).frames, clips(index).unseen
        np.testing.assert_array_equal(scores["psnr"][index], psnr(truth, drawn)[0].float())
        expected = psnr(truth, drawn.mean(1, keepdim=True))[0, 0].float()
        np.testing.assert_array_equal(scores["psnr/mean_frame"][index], expected)


def test_metrics_that_are_there_are_not_computed_again_and_others_are_added(clips, tmp_path):
    asked = []
    first = score_all([counted(asked)], ["psnr"], clips, SETTING, tmp_path)
    assert asked == list(range(CLIPS))
    again = score_all([counted(asked)], ["psnr"], clips, SETTING, tmp_path)
    assert len(asked) == CLIPS
    more = score_all([counted(asked)], ["psnr", "ssim"], clips, SETTING, tmp_path)
    assert len(asked) == 2 * CLIPS
    np.testing.assert_array_equal(first["theirs"]["psnr"], again["theirs"]["psnr"])
    np.testing.assert_array_equal(first["theirs"]["psnr"], more["theirs"]["psnr"])
    alone = score_all([Contender("theirs", futures)], ["ssim"], clips, SETTING, tmp_path / "..")
    np.testing.assert_array_equal(more["theirs"]["ssim"], alone["theirs"]["ssim"])
    assert set(read_all(tmp_path / "scores.npz")["theirs"]) == {"psnr", "psnr/mean_frame", "ssim", "ssim/mean_frame"}


def test_a_killed_scoring_goes_on_and_ends_with_the_same_file(clips, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    contender = Contender("theirs", futures)
    score_all([contender], ["psnr", "bounce_f1"], clips, SETTING, whole)

    def dying(index):
        if index == 9:
            raise KeyboardInterrupt
        return futures(index)

    with pytest.raises(KeyboardInterrupt):
        score_all([Contender("theirs", dying)], ["psnr", "bounce_f1"], clips, SETTING, broken)
    asked = []
    score_all([counted(asked)], ["psnr", "bounce_f1"], clips, SETTING, broken)
    assert asked == list(range(9, CLIPS))
    assert (broken / "scores.npz").read_bytes() == (whole / "scores.npz").read_bytes()
    assert [path.name for path in broken.iterdir()] == ["scores.npz"]


def test_pairs_have_one_score_a_clip_and_none_where_there_is_one_future(clips, tmp_path):
    found = score_all([Contender("theirs", futures)], ["self_similarity"], clips, SETTING, tmp_path)["theirs"]
    assert found["self_similarity"].shape == (CLIPS, 1, 20)
    drawn = futures(0).frames[0]
    pairs = [ssim(drawn[one][None], drawn[other][None])[0] for one, other in ((0, 1), (0, 2), (1, 2))]
    mean = torch.stack(pairs).mean(0)
    np.testing.assert_allclose(samplings(found, "self_similarity")["pairs"][0], mean, atol=1e-6)
    alone = Contender("one", lambda index: Prediction(futures(index).frames[:, :1]))
    found = score_all([alone], ["self_similarity"], clips, SETTING, tmp_path)["one"]
    assert samplings(found, "self_similarity") == {}


def test_flow_is_scored_where_a_model_predicts_it(clips, tmp_path):
    def still(index):
        return Prediction(futures(index).frames, flow=torch.zeros(1, SAMPLES, 20, 2, 48, 48))

    contenders = [Contender("flowing", still), Contender("theirs", futures)]
    found = score_all(contenders, ["aepe"], clips, SETTING, tmp_path)
    assert set(found["theirs"]) == set()
    from benchmark.scoring.ground_truth import flow

    expected = np.stack([flow(clips(index))[0, 0].norm(dim=1).mean((1, 2)) for index in range(CLIPS)])
    np.testing.assert_allclose(found["flowing"]["aepe"][:, 1], expected, rtol=1e-5)


def test_expected_errors_are_ranked_where_a_model_has_them(clips, tmp_path):
    def growing(index):
        return Prediction(futures(index).frames, variance=torch.arange(1.0, 21).expand(1, SAMPLES, 20))

    contenders = [Contender("knowing", growing), Contender("theirs", futures)]
    found = score_all(contenders, ["uncertainty_rank"], clips, SETTING, tmp_path)
    assert set(found["theirs"]) == set()
    assert set(found["knowing"]) == {"uncertainty_rank", "uncertainty_rank/mean_frame"}
    for index in range(CLIPS):
        made = (futures(index).frames[0] - clips(index).unseen[0]).double().square().mean((2, 3, 4))
        expected = [spearmanr(range(20), each.tolist()).statistic for each in made]
        np.testing.assert_allclose(found["knowing"]["uncertainty_rank"][index, :, 0], expected, atol=1e-6)


def test_distances_are_between_the_true_clips_and_the_first_futures(clips, tmp_path, monkeypatch):
    def features(truth, prediction):
        return prediction[:, :, :, 0, 20:24, 20:24].mean((3, 4)).flatten(0, 1)  # (1, T)

    metric = Metric("fvd", lambda setting: features, "lower", (0, 1), "", "clip", "frames", "", of="set")
    monkeypatch.setitem(METRICS, "fvd", metric)
    found = score_all([Contender("theirs", futures)], ["fvd"], clips, SETTING, tmp_path)["theirs"]
    true = np.concatenate([features(None, clips(index).unseen) for index in range(CLIPS)])
    drawn = np.concatenate([features(None, futures(index).frames[:, :1]) for index in range(CLIPS)])
    assert found["fvd"] == pytest.approx(frechet_distance(true, drawn))
    assert found["fvd"].shape == ()


def test_what_cannot_be_had_is_left_out_with_a_word(clips, tmp_path, monkeypatch, caplog):
    def absent(setting):
        raise Unavailable("its weights are absent")

    monkeypatch.setitem(METRICS, "ssim", Metric("ssim", absent, "lower", (0, 1), "", "all", "frames", ""))
    found = score_all([Contender("theirs", futures)], ["psnr", "ssim"], clips, SETTING, tmp_path)["theirs"]
    assert set(found) == {"psnr", "psnr/mean_frame"}
    assert caplog.messages == ["ssim left out for theirs: its weights are absent"]


def test_a_damaged_file_of_scores_is_named(clips, tmp_path):
    score_all([Contender("theirs", futures)], ["psnr"], clips, SETTING, tmp_path)
    path = tmp_path / "scores.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"scores\.npz is damaged"):
        read_all(path)


def test_a_metric_of_the_first_futures_gets_no_others_and_its_rows_say_how_many(small_dataset):
    clip = TrueClips(small_dataset, "test", PROTOCOLS["m3so"], 1, torch.device("cpu"))(0)
    futures = torch.rand(1, 12, *clip.unseen.shape[2:])
    handed = []

    def measure(target, what):
        handed.append(what)
        return torch.zeros(what.shape[:3], dtype=torch.float64)

    scores = score_clip({"digit_accuracy": measure}, clip, Prediction(futures))
    assert torch.equal(handed[0], futures[:, :10])
    assert scores["digit_accuracy"].shape == (10, 40)
    rows = make_rows(
        {"digit_accuracy": {"mean": np.zeros((1, 40))}},
        model="a",
        protocol="m3so",
        preset="small",
        samples=100,
        clips=1,
        frames=range(31, 71),
        report=(31,),
        provenance={},
    )
    assert set(rows["k"]) == {10}
