"""Two runs compared on the same clips."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.catalogue import PROTOCOLS, find_metric
from benchmark.cli import main
from benchmark.compare import compare, differences
from benchmark.job import Job
from benchmark.run import run
from benchmark.runs.seal import remove_seal
from benchmark.scoring.statistics import paired_interval
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from narrow import THIN

EACH = ("psnr", "ssim", "ssim_uniform", "position_error", "bounce_f1", "sync_lag", "digit_accuracy")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of puq (K = 3) and of a floor, on the same 4 clips."""
    folder = tmp_path_factory.mktemp("runs")
    data = generate(folder / "data", Spec(), {"train": 2, "test": 4}, seed=2).path
    run(Job("puq", data=data, out=folder / "puq", samples=3, steps=1, device="cpu", settings=THIN, report=False))
    run(Job("copy-last", data=data, out=folder / "copy", device="cpu", report=False))
    return folder


def test_differences_are_those_of_the_kept_scores(runs):
    rows = compare(runs / "puq", runs / "copy")
    assert set(zip(rows["metric"], rows["sampling"], strict=True)) == {
        (metric, sampling) for metric in EACH for sampling in ("mean", "mean_frame")
    }
    with np.load(runs / "puq/scores.npz") as scores, np.load(runs / "copy/scores.npz") as others:
        one = scores["puq/ssim"].astype(np.float64).mean(1)
        other = others["copy-last/ssim"][:, 0].astype(np.float64)
    row = rows.query("metric == 'ssim' and sampling == 'mean' and frame == '15'").iloc[0]
    assert row["one"] == pytest.approx(one[:, 9].mean())
    assert row["difference"] == pytest.approx((one - other)[:, 9].mean())
    interval = paired_interval(one[:, [9]], other[:, [9]])
    assert (row["low"], row["high"]) == (pytest.approx(interval.low[0]), pytest.approx(interval.high[0]))


def test_a_run_is_not_better_than_itself(runs):
    rows = compare(runs / "puq", runs / "puq")
    assert set(rows["sampling"]) == {"mean", "best_sequence", "best_frame", "mean_frame", "pairs"}
    assert (rows["difference"].dropna() == 0).all()
    assert (rows["better"] == "neither").all()


def test_the_better_one_is_named_by_the_metrics_direction():
    one, other, protocol = np.full((9, 20), 0.9), np.full((9, 20), 0.5), PROTOCOLS["m3so-nb"]
    for name, better in (("ssim", "one"), ("position_error", "other")):
        metric = find_metric(name)
        assert {row.better for row in differences(metric, "mean", protocol, one, other)} == {better}
        assert better not in {row.better for row in differences(metric, "mean", protocol, other, one)}


@pytest.mark.parametrize("name", ["protocol", "fingerprint", "test_clips"])
def test_runs_on_other_clips_do_not_compare(runs, tmp_path, name):
    shutil.copytree(runs / "copy", tmp_path / "other")
    remove_seal(tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    (tmp_path / "other/config.json").write_text(json.dumps({**config, name: "m3so"}))
    with pytest.raises(InputError, match=f"the runs do not compare: {name} is .* m3so in"):
        compare(runs / "puq", tmp_path / "other")


def test_best_of_other_numbers_is_left_out(runs, tmp_path):
    data = runs / "data"
    run(Job("puq", data=data, out=tmp_path / "two", samples=2, steps=1, device="cpu", settings=THIN))
    assert set(compare(runs / "puq", tmp_path / "two")["sampling"]) == {"mean", "pairs"}  # mean_frame is of K, too
    run(Job("puq", data=data, out=tmp_path / "one", samples=1, steps=1, device="cpu", settings=THIN))
    assert set(compare(runs / "puq", tmp_path / "one")["sampling"]) == {"mean"}


def test_a_run_that_was_changed_is_not_compared(runs, tmp_path):
    shutil.copytree(runs / "copy", tmp_path / "other")
    (tmp_path / "other/notes.txt").write_text("not in the seal: so it is not checked")
    compare(runs / "puq", tmp_path / "other")
    with (tmp_path / "other/scores.npz").open("ab") as file:
        file.write(b" ")
    with pytest.raises(InputError, match=r"other has changed since its run ended: scores\.npz has changed"):
        compare(runs / "puq", tmp_path / "other")


def test_a_metric_that_an_older_run_lacks_is_left_out(runs, tmp_path):
    shutil.copytree(runs / "copy", tmp_path / "older")
    remove_seal(tmp_path / "older")
    with np.load(runs / "copy/scores.npz") as scores:
        np.savez(tmp_path / "older/scores.npz", **{name: scores[name] for name in scores if "position" not in name})
    assert set(compare(runs / "puq", tmp_path / "older")["metric"]) == set(EACH) - {"position_error"}


def test_the_command_prints_a_line_a_row(runs):
    result = CliRunner().invoke(main, ["compare", str(runs / "puq"), str(runs / "copy")])
    assert result.exit_code == 0
    assert result.output.count("\n") == 4 + len(compare(runs / "puq", runs / "copy"))
    assert result.output.startswith("one:   puq, m3so-nb, demo (")
    missing = CliRunner().invoke(main, ["compare", str(runs / "puq"), str(runs / "nowhere")])
    assert missing.exit_code == 2
