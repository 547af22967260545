import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.catalogue import METRICS, PROTOCOLS
from benchmark.scoring.rows import COLUMNS, Result, make_rows, read_rows, write_rows
from benchmark.scoring.statistics import bootstrap_interval, by_sampling
from mmnist_av.system.errors import InputError

RNG = np.random.default_rng(0)
ABOUT = {"seed": 0, "dataset": "M3SO", "fingerprint": "1e5", "machine": 'a "fast", one', "precision": "bfloat16"}


def scores_of(samples, level=0.5, clips=12):
    scores = {}
    for metric, frames, scale in (("psnr", 40, 60), ("ssim", 40, 1), ("block_iou", 1, 1)):
        values = (level + 0.1 * RNG.random((clips, samples, frames))) * scale
        if metric == "block_iou":
            values[:2] = np.nan
        scores[metric] = by_sampling(values, METRICS[metric].samplings, "higher", values.mean(1))
    return scores


def rows_of(model="s2s", samples=7, level=0.5, scores=None, about=ABOUT, **names):
    facts = {"protocol": PROTOCOLS["m3so"], "preset": "demo", "clips": 9} | names
    scores = scores or scores_of(samples, level)
    return make_rows(scores, Result(model=model, samples=samples, provenance=about, **facts))


def test_a_row_says_all_that_decides_its_number():
    rows = rows_of()
    assert tuple(rows.columns) == (*COLUMNS, *ABOUT)
    assert len(rows) == 4 * (4 + 4) + 2  # nobody publishes a best block_iou of K samples
    assert not rows.duplicated([column for column in rows.columns if column not in ("value", "low", "high")]).any()
    assert rows["k"].unique().tolist() == [7]
    assert rows_of(samples=1)[["sampling", "k"]].drop_duplicates().values.tolist() == [["single", 1]]


def test_figures_are_the_mean_over_clips_and_its_interval():
    scores = scores_of(7)
    rows = rows_of(scores=scores).set_index(["metric", "sampling", "frame"])
    for metric, sampling, frame, values in (
        ("psnr", "best_frame", "42", scores["psnr"]["best_frame"][:, 11]),
        ("ssim", "mean", "mean", scores["ssim"]["mean"].mean(1)),
        ("block_iou", "mean_frame", "70", scores["block_iou"]["mean_frame"][2:, 0]),
    ):
        row = rows.loc[(metric, sampling, frame)]
        assert row["clips"] == len(values)
        assert row["value"] == pytest.approx(values.mean(), rel=1e-12)
        if metric != "block_iou":
            interval = bootstrap_interval(values[:, None])
            assert (row["low"], row["high"]) == (interval.low.item(), interval.high.item())
        assert row["low"] < row["value"] < row["high"]


def test_a_metric_of_the_last_frame_has_one_row_under_that_frames_number():
    assert set(rows_of().query("metric == 'block_iou'")["frame"]) == {"70"}
    nearer = rows_of(protocol=replace(PROTOCOLS["m3so"], seen=0, reported=(3,)))
    assert set(nearer.query("metric == 'block_iou'")["frame"]) == {"40"}


def test_a_metric_without_any_value_has_nan_and_no_clips(tmp_path):
    rows = rows_of(scores={"block_iou": {"single": np.full((5, 1), np.nan)}}, samples=1)
    assert rows["clips"].tolist() == [0]
    write_rows(rows, tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(read_rows(tmp_path / "rows.csv"), rows)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scores": {"ssim": {"mean": np.zeros((5, 39))}}}, ValueError, r"ssim: scores \(clips, 40\) expected"),
        (
            {"scores": {"block_iou": {"mean": np.zeros((5, 40))}}},
            ValueError,
            r"block_iou: scores \(clips, 1\) expected",
        ),
        ({"scores": {"sim": {"mean": np.zeros((5, 40))}}}, InputError, "unknown metric 'sim': did you mean ssim"),
        ({"scores": {"ssim": {"best": np.zeros((5, 40))}}}, InputError, "unknown sampling 'best': did you mean best_"),
        ({"about": {"frame": 3}}, ValueError, "own names: .'frame'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        rows_of(**changes)


def test_rows_come_back_from_csv_as_they_were_written(tmp_path):
    rows = pd.concat([rows_of(), rows_of("black", 1)], ignore_index=True)
    write_rows(rows, tmp_path / "rows.csv")
    found = read_rows(tmp_path / "rows.csv")
    pd.testing.assert_frame_equal(found, rows, check_exact=False, rtol=1e-8)
    assert found["fingerprint"].unique().tolist() == ["1e5"]
    write_rows(found, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()


def test_equal_scores_give_equal_bytes(tmp_path):
    scores = scores_of(7)
    for name in ("one", "two"):
        write_rows(rows_of(scores=scores), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert b"\r" not in (tmp_path / "one").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["one", "two"]


def test_two_results_of_one_name_are_not_written_and_the_old_file_stays(tmp_path):
    rows, path = rows_of(), tmp_path / "rows.csv"
    write_rows(pd.concat([rows, rows]), path)  # the same thing twice is the same thing
    before = path.read_bytes()
    other = rows.assign(value=rows["value"] + 0.01)
    with pytest.raises(ValueError, match="two different results share one name"):
        write_rows(pd.concat([rows, other]), path)
    with pytest.raises(ValueError, match="columns must begin with"):
        write_rows(rows.drop(columns="k"), path)
    assert path.read_bytes() == before
    write_rows(pd.concat([rows, other.assign(seed="1")]), path)


LINE = "s2s,m3so,demo,psnr,mean,100,31,20.5,20,21,50,0"
HEADER = ",".join((*COLUMNS, "seed"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1, column 1: expected 'model', found ''"),
        ([HEADER.replace("sampling,k", "k,sampling")], "line 1, column 5: expected 'sampling', found 'k'"),
        ([HEADER + ",seed"], "line 1: a column appears twice"),
        ([HEADER, LINE, LINE + ",1"], "line 3: expected 12 fields, found 13"),
        ([HEADER, LINE[:-2]], "line 2: expected 12 fields, found 11"),
        ([HEADER, LINE.replace("s2s", "")], "line 2, column model: expected a name, not empty, found ''"),
        ([HEADER, LINE.replace("psnr", "")], "line 2, column metric: expected a name, not empty"),
        (
            [HEADER, LINE.replace("mean", "best_seq")],
            "line 2, column sampling: expected a known sampling (mean, best_sequence, ",
        ),
        (
            [HEADER, LINE.replace(",31,", ",last,")],
            "line 2, column frame: expected 'mean' or a whole number from 1, found 'last'",
        ),
        ([HEADER, LINE.replace(",100,", ",0,")], "line 2, column k: expected a whole number from 1, found '0'"),
        ([HEADER, LINE.replace(",100,", ",1e2,")], "line 2, column k: expected a whole number from 1, found '1e2'"),
        ([HEADER, LINE.replace(",50,", ",-5,")], "line 2, column clips: expected a whole number from 0, found '-5'"),
        ([HEADER, LINE.replace("20.5", "20,5")], "line 2: expected 12 fields, found 13"),
        ([HEADER, LINE.replace("20.5", "high")], "line 2, column value: expected a number, found 'high'"),
        (
            [HEADER, LINE.replace("20.5", "61")],
            "line 2, column value: expected a finite number that its metric can have",
        ),
        (
            [HEADER, LINE.replace("20.5", "inf")],
            "line 2, column value: expected a finite number that its metric can have, or nan where clips is 0",
        ),
        (
            [HEADER, LINE, LINE.replace(",31,", ",42,").replace(",50,", ",0,")],
            "line 3, column value: expected a finite number that its metric can have, or nan where clips is 0",
        ),
        (
            [HEADER, LINE, LINE.replace("s2s", "b"), LINE.replace("20.5", "20.6")],
            "line 4: the same name as line 2, but other figures",
        ),
        ([HEADER, LINE, '"s2s"x'], "after line 2: not CSV in UTF-8"),
    ],
)
def test_a_bad_csv_is_refused_with_file_line_and_reason(lines, message, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(InputError, match=re.escape(f"{path}, {message}")):
        read_rows(path)


def test_results_without_a_row_are_refused(tmp_path):
    (tmp_path / "rows.csv").write_text(f"{HEADER}\n")
    with pytest.raises(InputError, match=r"rows\.csv has no row below its header: delete it, and score the run again"):
        read_rows(tmp_path / "rows.csv")


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "rows.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not CSV in UTF-8"):
        read_rows(tmp_path / "rows.csv")
