"""What --metrics names is computed, or refused in one line; `standard` and `all` leave out what cannot be had."""

import pytest

from benchmark.metrics import named
from mmnist_av.system.errors import InputError


def test_what_cannot_be_had_is_refused_where_it_is_named(tmp_path):
    for check, message in (
        (lambda text: named.check_weights(text, None), "--metrics fid: it needs published weights: give their folder"),
        (lambda text: named.check_weights(text, tmp_path), "fid needs weights-inception.*, and it is not in"),
        (lambda text: named.check_model(text, "puq", {"variance"}), "--metrics aepe: it needs a model that"),
        (lambda text: named.check_clips(text, 15, 9), "--metrics fid: it needs 16 test clips or more, 15 are scored"),
        (lambda text: named.check_clips(text, 16, 0), "--metrics fooling_rate: it needs samples that the model"),
    ):
        with pytest.raises(InputError, match=message):
            check("psnr,lpips,aepe,fid,fooling_rate")
        for text in ("standard", "all", "psnr,ssim"):
            check(text)


def test_what_is_there_is_not_refused(tmp_path, monkeypatch):
    named.check_model("aepe,uncertainty_rank", "theirs", {"flow", "variance"})
    named.check_clips("fid,fooling_rate", 16, 1)
    monkeypatch.setattr(named.published, "locate", lambda name, source: source / name)
    named.check_weights("lpips,fid,fvd", tmp_path)
