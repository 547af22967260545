import subprocess
import sys
from dataclasses import replace

import pytest

from benchmark.catalogue import (
    METRICS,
    PRESETS,
    PROTOCOLS,
    SAMPLINGS,
    choose_metrics,
    find_metric,
    find_preset,
    find_protocol,
)
from mmnist_av.audio_features import Spectrogram
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

M3SO_ANNOTATIONS = {"block_mask", "centres", "label", "events", "flow"}


def test_the_catalogue_is_read_without_torch():
    code = "import benchmark.catalogue, benchmark.scoring.rows, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_m3so_protocols_are_the_papers():
    nb, block = PROTOCOLS["m3so-nb"], PROTOCOLS["m3so"]
    assert (nb.seen, nb.train_predicted, nb.test_predicted, nb.reported) == (5, 15, 20, (6, 15, 25))
    assert (block.seen, block.train_predicted, block.test_predicted, block.reported) == (30, 30, 40, (31, 42, 70))
    assert nb.audio.shape(800) == block.audio.shape(800) == (41, 21)
    assert nb.predicted_frames == range(6, 26)
    assert nb.reported_frames == (6, 15, 25, "mean")


def test_the_long_protocols_train_as_the_short_ones_and_predict_further():
    for name, predicted, last in (("m3so-nb", 25, 30), ("m3so", 60, 90)):
        long, short = PROTOCOLS[f"{name}-long"], PROTOCOLS[name]
        assert long.training_key == short.training_key
        assert long.test_predicted == predicted
        assert long.reported == (*short.reported, last)
        assert long.test_frames == last


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if not name.endswith("-av-mismatch")])
def test_every_protocol_has_a_mismatched_form_of_the_same_frames(name):
    mismatched = PROTOCOLS[f"{name}-av-mismatch"]
    assert mismatched.mismatched
    assert mismatched.matched == PROTOCOLS[name]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_reported_frames_are_predicted(protocol):
    assert all(frame in protocol.predicted_frames for frame in protocol.reported)


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match="unknown protocol 'm3so_nb': did you mean m3so-nb"):
        find_protocol("m3so_nb")
    with pytest.raises(InputError, match="unknown preset 'smal': did you mean small"):
        find_preset("smal")
    with pytest.raises(InputError, match="unknown metric 'sim': did you mean ssim"):
        find_metric("sim")
    with pytest.raises(InputError, match=r"unknown metric 'PSNR': did you mean psnr"):
        find_metric("PSNR")


def test_a_dataset_that_does_not_fit_is_refused(tmp_path):
    nb = generate(tmp_path / "nb", Spec(obstacle=False), {"test": 1}, seed=0)
    block = generate(tmp_path / "block", Spec(obstacle=True, block=8, block_frame=2), {"test": 1}, seed=0)
    with pytest.raises(
        InputError, match=r"needs the dataset m3so of .* is m3so-nb of .* a --protocol for it .m3so-nb, "
    ):
        PROTOCOLS["m3so"].check(nb)
    plain = replace(nb, family="plain")
    with pytest.raises(InputError, match=r"of the family plain: .* a --protocol for it \(there is none yet\)"):
        PROTOCOLS["m3so-nb"].check(plain)
    with pytest.raises(InputError, match=r"needs clips of 105 frames, those of .* have 100"):
        replace(PROTOCOLS["m3so-nb"], test_predicted=100).check(nb)
    PROTOCOLS["m3so-nb"].check(nb)
    with pytest.raises(InputError, match=r"needs block 16, .* has block 8: generate a dataset with block 16"):
        PROTOCOLS["m3so"].check(block)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reported": (5,)}, "reported frames must be within 6 and 25, each once, not 5"),
        ({"reported": (26,)}, "reported frames must be within 6 and 25, each once, not 26"),
        ({"reported": (7, 7)}, "reported frames must be within 6 and 25, each once, not 7, 7"),
        ({"test_predicted": 0, "reported": ()}, "at least one frame predicted"),
        ({"train_predicted": 0}, "at least one frame predicted"),
        ({"seen": -1}, "seen must be at least 0"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused_when_it_is_written_down(changes, message):
    with pytest.raises(InputError, match=message):
        replace(PROTOCOLS["m3so-nb"], **changes)


def test_audio_features_that_need_longer_frames_are_refused(tmp_path):
    nb = generate(tmp_path / "nb", Spec(), {"test": 1}, seed=0)
    long = replace(PROTOCOLS["m3so-nb"], audio=Spectrogram(n_fft=4000, hop=40, bins=41))
    with pytest.raises(InputError, match=r"audio features of protocol m3so-nb do not fit .* too short for windows"):
        long.check(nb)


def test_presets_grow():
    demo, small, paper = (PRESETS[name] for name in ("demo", "small", "paper"))
    assert (small.steps, small.batch, small.test_clips, small.samples) == (2000, 16, 1000, 100)
    assert demo.steps * demo.batch < small.steps * small.batch < paper.steps * paper.batch
    assert (paper.train_clips, paper.val_clips, paper.test_clips) == (8000, 1000, 1000)


def test_the_best_of_k_samples_is_only_of_metrics_for_which_papers_publish_it():
    assert {name for name, metric in METRICS.items() if set(metric.samplings) & {"best_sequence", "best_frame"}} == {
        "psnr",
        "ssim",
        "ssim_uniform",
        "lpips",
    }
    assert all({"mean"} <= set(metric.samplings) <= set(SAMPLINGS) for metric in METRICS.values())
    assert METRICS["uncertainty_rank"].samplings == ("mean",)


def names(text, annotations, seen=5):
    return [metric.name for metric in choose_metrics(text, annotations, seen)]


def test_metrics_are_offered_where_the_dataset_has_what_they_need():
    assert "block_iou" not in names("all", M3SO_ANNOTATIONS)
    assert names("all", M3SO_ANNOTATIONS | {"block"}) == list(METRICS)
    video = names("all", ())
    assert {"psnr", "ssim", "lpips", "fvd", "fooling_rate", "self_similarity"} <= set(video)
    assert not {"aepe", "position_error", "bounce_f1", "digit_accuracy", "block_iou"} & set(video)


@pytest.mark.parametrize("text", ["psnr,,ssim", "psnr,", ","])
def test_a_missing_name_between_commas_is_refused(text):
    with pytest.raises(InputError, match="a name is missing"):
        choose_metrics(text, M3SO_ANNOTATIONS, seen=5)


def test_standard_metrics_leave_out_the_costly_ones_and_named_ones_come_in_the_tables_order():
    costly = {"self_similarity_flow", "fooling_rate", "fooling_rate_true"}
    assert set(names("all", ())) - set(names("standard", ())) == costly
    assert names("ssim, psnr", ()) == ["psnr", "ssim"]


def test_a_named_metric_brings_along_the_one_that_says_what_it_is_worth():
    assert names("fooling_rate, psnr", ()) == ["psnr", "fooling_rate", "fooling_rate_true"]
    assert names("position_error", M3SO_ANNOTATIONS) == ["digit_visible", "position_error"]
    assert names("digit_accuracy", M3SO_ANNOTATIONS) == ["digit_visible", "digit_accuracy"]
    for metric in METRICS.values():
        if metric.beside:
            beside = METRICS[metric.beside]
            assert beside.needs <= metric.needs
            assert beside.min_seen <= metric.min_seen


def test_a_named_metric_that_the_dataset_cannot_have_is_refused():
    with pytest.raises(InputError, match="--metrics block_iou: it needs block of the dataset, which has no such"):
        names("psnr,block_iou", M3SO_ANNOTATIONS)
    with pytest.raises(InputError, match="unknown metric 'psnrr'"):
        names("psnrr", ())


def test_metrics_that_look_at_seen_frames_need_as_many():
    left_out = set(names("all", M3SO_ANNOTATIONS)) - set(names("all", M3SO_ANNOTATIONS, seen=1))
    assert left_out == {"bounce_f1", "sync_lag", "fooling_rate", "fooling_rate_true"}
    with pytest.raises(InputError, match="--metrics sync_lag: it needs 2 seen frames, the protocol shows 0"):
        names("sync_lag", M3SO_ANNOTATIONS, seen=0)
