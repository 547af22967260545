"""Metrics without a value are named, with the reason where it is known."""

import numpy as np
import pytest

from benchmark.job import Job
from benchmark.run import run
from benchmark.scoring.evaluate import note_undefined
from mmnist_av.system.errors import InputError

NONE = np.full((2, 3, 1), np.nan, np.float32)
SOME = np.array([[[np.nan]], [[0.5]]], np.float32)


def test_metrics_without_a_value_in_any_clip_are_named_once_for_each_reason(caplog):
    note_undefined("a", {"psnr": SOME, "bounce_f1": NONE, "uncertainty_rank": NONE, "block_iou": NONE})
    assert caplog.messages == [
        "no clip of a has a value of uncertainty_rank, bounce_f1: there is none where a prediction comes in windows",
        "no clip of a has a value of block_iou: there is none in clips without a block",
    ]


def test_all_values_being_undefined_without_a_known_reason_is_noted(caplog):
    note_undefined("theirs", {"psnr": NONE})
    assert caplog.messages == ["no clip of theirs has a value of psnr"]


def test_metrics_that_have_values_are_not_noted(caplog):
    note_undefined("theirs", {"psnr": SOME, "block_iou": SOME})
    assert caplog.messages == []


def test_a_run_whose_only_metric_has_no_value_ends_in_one_line(small_dataset, tmp_path, caplog):
    job = Job("black", "m3so", data=small_dataset.path, out=tmp_path / "run", metrics="self_similarity", device="cpu")
    with pytest.raises(InputError, match="none of self_similarity can be computed for black: name other --metrics"):
        run(job)
    assert caplog.messages == ["no clip of black has a value of self_similarity: there is none for a single sample"]
