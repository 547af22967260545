"""Two runs compared on the same clips."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmark.catalogue import PROTOCOLS, find_metric
from benchmark.cli import main
from benchmark.compare import VERDICTS, compare, judge, measure
from benchmark.job import Job
from benchmark.run import run
from benchmark.runs.seal import remove_seal
from benchmark.scoring.archives import RUN
from benchmark.scoring.statistics import paired_interval
from benchmark.significance import holm, sign_flip_test
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from narrow import THIN

OF_FRAMES = ("psnr", "psnr_exact", "ink", "ssim", "ssim_uniform")
EACH = (*OF_FRAMES, "digit_visible", "position_error", "digit_accuracy", "bounce_f1", "sync_lag")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of puq (K = 3) and of a floor, on the same 4 clips."""
    folder = tmp_path_factory.mktemp("runs")
    data = generate(folder / "data", Spec(), {"train": 2, "test": 4}, seed=2).path
    run(Job("puq", data=data, out=folder / "puq", samples=3, steps=1, device="cpu", settings=THIN, report=False))
    run(Job("copy-last", data=data, out=folder / "copy", device="cpu", report=False))
    return folder


def test_differences_are_those_of_the_kept_scores(runs):
    rows = compare(runs / "puq", runs / "copy").rows
    assert set(zip(rows["metric"], rows["sampling"], strict=True)) == {
        (metric, sampling) for metric in EACH for sampling in find_metric(metric).samplings if "best" not in sampling
    }
    with np.load(runs / "puq/scores.npz") as scores, np.load(runs / "copy/scores.npz") as others:
        one = scores["puq/ssim"].astype(np.float64).mean(1)
        other = others["copy-last/ssim"][:, 0].astype(np.float64)
    row = rows.query("metric == 'ssim' and sampling == 'mean' and frame == '15'").iloc[0]
    assert row["one"] == pytest.approx(one[:, 9].mean())
    assert row["difference"] == pytest.approx((one - other)[:, 9].mean())
    interval = paired_interval(one[:, [9]], other[:, [9]])
    assert (row["low"], row["high"]) == (pytest.approx(interval.low[0]), pytest.approx(interval.high[0]))


def test_a_run_is_not_better_than_its_copy_and_is_not_compared_with_itself(runs, tmp_path):
    with pytest.raises(InputError, match="a run is given twice"):
        compare(runs / "puq", runs / "copy" / ".." / "puq")
    rows = compare(runs / "puq", shutil.copytree(runs / "puq", tmp_path / "puq")).rows
    assert set(rows["sampling"]) == {"mean", "best_sequence", "best_frame", "mean_frame", "pairs"}
    assert (rows["difference"].dropna() == 0).all()
    assert (rows["verdict"] == "not shown").all()
    assert (rows["p_holm"].dropna() == 1).all()


def judged(one, other, metric="ssim", replicated=True):
    """The rows of one metric, given (runs, clips) values, the same in all frames."""
    one, other = (np.repeat(np.array(side, np.float64)[:, :, None], 20, 2) for side in (one, other))
    return judge([*measure(find_metric(metric), "mean", PROTOCOLS["m3so-nb"], one, other)], replicated)


def verdicts(*sides, **options):
    return {row.verdict for row in judged(*sides, **options)}


HIGH, LOW = [0.9] * 9, [0.5] * 9


def test_the_better_side_is_named_by_the_metrics_direction():
    for metric, better, worse in (("ssim", "one", "other"), ("position_error", "other", "one")):
        assert verdicts([HIGH], [LOW], metric=metric) == {f"{better} better"}
        assert verdicts([LOW], [HIGH], metric=metric) == {f"{worse} better"}


def test_one_training_seed_is_only_ahead():
    assert verdicts([HIGH], [LOW], replicated=False) == {"one ahead"}
    assert verdicts([LOW], [HIGH], replicated=False) == {"other ahead"}


def test_seeds_that_do_not_agree_are_not_called_better():
    assert verdicts([HIGH, HIGH], [LOW, LOW]) == {"one better"}
    worst = [0.4] * 9
    for replicated in (True, False):
        assert verdicts([HIGH, HIGH, worst], [LOW], replicated=replicated) == {"seeds differ"}
    assert verdicts([HIGH, LOW], [LOW, worst]) == {"seeds differ"}  # one pair is equal
    assert verdicts([HIGH, LOW], [worst, worst]) == {"one better"}


def test_what_clips_do_not_show_is_not_shown():
    assert verdicts([HIGH[:4]], [LOW[:4]]) == {"not shown"}  # 4 clips have 16 sign flips
    assert verdicts([[0.9, 0.1] * 10], [[0.5] * 20]) == {"not shown"}
    assert verdicts([HIGH], [[np.nan] * 9]) == {"not shown"}


def test_values_are_means_over_seeds_clip_by_clip():
    rng = np.random.default_rng(0)
    one, other = rng.random((3, 12)), rng.random((2, 12))
    one[2, 5] = np.nan
    kept = [clip for clip in range(12) if clip != 5]
    gains = [np.mean([seed[clip] for seed in one]) - np.mean([seed[clip] for seed in other]) for clip in kept]
    for row in judged(one, other):
        assert row.clips == 11
        assert row.one == pytest.approx(one[:, kept].mean())
        assert row.other == pytest.approx(other[:, kept].mean())
        assert row.difference == pytest.approx(np.mean(gains))
        assert row.p == pytest.approx(sign_flip_test(np.array(gains)[:, None])[0])
        assert row.p_holm == pytest.approx(min(1, 4 * row.p))


def test_p_values_are_corrected_for_all_rows_of_the_table(runs):
    rows = compare(runs / "puq", runs / "copy").rows
    assert rows["p_holm"].to_numpy() == pytest.approx(holm(rows["p"].to_numpy()), nan_ok=True)
    fewer = compare(runs / "puq", runs / "copy", metrics=["psnr"])
    assert fewer.family == len(fewer.rows) == 8
    assert fewer.rows["p"].to_numpy() == pytest.approx(rows.query("metric == 'psnr'")["p"].to_numpy())
    assert (fewer.rows["p_holm"].to_numpy() <= rows.query("metric == 'psnr'")["p_holm"].to_numpy()).all()


def test_equal_models_are_called_better_in_no_more_than_5_percent_of_comparisons():
    rng, wrong, comparisons = np.random.default_rng(0), 0, 200
    for _ in range(comparisons):
        shared = rng.normal(size=(1, 12))
        one, other = (shared + rng.normal(size=(2, 12)) for _ in range(2))
        wrong += verdicts(one, other) != {"not shown"}
    assert wrong < comparisons * 0.05 + 3 * np.sqrt(comparisons * 0.05 * 0.95)


def test_a_frame_without_a_value_in_one_run_is_left_out_of_both():
    one, other = np.tile(np.arange(20.0), (2, 3, 1))
    other += 1
    one[0, 10:], other[1, :5], one[2] = np.nan, np.nan, np.nan  # one shows no digit late, the other none early
    metric, protocol = find_metric("position_error"), PROTOCOLS["m3so-nb"]
    found = measure(metric, "mean", protocol, one[None], other[None])
    first, middle, last, mean = (each.row for each in found)
    assert [each.frame for each in (first, middle, last, mean)] == ["6", "15", "25", "mean"]
    assert [each.clips for each in (first, middle, last, mean)] == [1, 2, 1, 2]
    assert (mean.one, mean.other, mean.difference) == ((4.5 + 12) / 2, (4.5 + 12) / 2 + 1, -1)
    assert {each.difference for each in (first, middle, last)} == {-1}


def test_of_a_metric_that_is_best_at_1_the_better_run_is_nearer_1_clip_by_clip():
    def better(one, other):
        values = (np.tile(each, 20)[None] for each in (one, other))
        return {row.verdict for row in judged(*values, metric="ink")}

    assert better([0.9, 1.1], [0.5, 0.6]) == better([0.9, 1.1], [1.5, 1.6]) == {"one better"}
    assert better([0.5, 1.5], [0.9, 0.8]) == {"other better"}  # although the mean over clips is 1
    assert better([0.75, 0.5], [1.25, 1.5]) == {"not shown"}


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
    two = compare(runs / "puq", tmp_path / "two")
    assert set(two.rows["sampling"]) == {"mean", "pairs"}  # mean_frame is of K, too
    assert two.left_out == ["best_sequence, best_frame, mean_frame: they depend on K, which is 3 and 2"]
    run(Job("puq", data=data, out=tmp_path / "one", samples=1, steps=1, device="cpu", settings=THIN))
    one = compare(runs / "puq", tmp_path / "one")
    assert set(one.rows["sampling"]) == {"mean"}
    assert one.left_out == [
        "best_sequence, best_frame, pairs: run other has one sample per clip",
        "mean_frame: they depend on K, which is 3 and 1",
    ]


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
    older = compare(runs / "puq", tmp_path / "older")
    assert set(older.rows["metric"]) == set(EACH) - {"position_error"}
    assert "position_error: run other was not scored with it" in "\n".join(older.left_out)


def avbench(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_names_runs_k_clips_and_what_it_left_out(runs):
    result = avbench("compare", runs / "puq", runs / "copy")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    tests = compare(runs / "puq", runs / "copy").family
    assert lines[:4] == [
        f"one:   puq, m3so-nb, demo, K = 3, 1 training seed (0) ({runs / 'puq'})",
        f"other: copy-last, m3so-nb, demo, one sample, not trained ({runs / 'copy'})",
        "clips: 4 test clips of all runs; paired 95% intervals, each for its row alone",
        f"p:     paired sign flips of clips, corrected for {tests} tests (Holm)",
    ]
    assert {line.split(",")[0].split(" ")[0] for line in lines if "is better)" in line} == set(EACH)
    assert lines[-4:] == [
        f"not shown: {VERDICTS['not shown']}",
        "left out: best_sequence, best_frame, pairs: run other has one sample per clip",
        "left out: aepe: run one was not scored with it",
        "left out: uncertainty_rank: run other was not scored with it",
    ]
    assert max(map(len, lines[3:])) <= 80
    assert result.stderr == ""


def test_metrics_are_chosen_by_name(runs):
    result = avbench("compare", runs / "puq", runs / "copy", "--metric", "ssim,psnr", "--metric", "aepe")
    assert [line.split(",")[0].split(" ")[0] for line in result.stdout.splitlines() if "is better)" in line] == [
        "psnr",
        "ssim",
    ]
    for name, message in (
        ("psnrr", "unknown metric 'psnrr': did you mean psnr"),
        ("aepe", "nothing in common to compare: aepe: run one was not scored with it"),
        ("fid", "nothing in common to compare: fid: neither run was scored with it"),
    ):
        result = avbench("compare", runs / "puq", runs / "copy", "--metric", name)
        assert result.exit_code == 2
        assert message in result.stderr


def test_the_csv_has_the_rows_and_says_of_which_runs(runs, tmp_path):
    rows = compare(runs / "puq", runs / "copy", metrics=["psnr"]).rows
    options = ["--metric", "psnr", "--csv", tmp_path / "rows.csv"]
    assert avbench("compare", runs / "puq", runs / "copy", *options).exit_code == 0
    written = pd.read_csv(tmp_path / "rows.csv", dtype={"frame": str})
    assert len(written) == len(rows) > 0
    assert written["difference"].to_numpy() == pytest.approx(rows["difference"].to_numpy(), rel=1e-8)
    assert list(written["verdict"]) == list(rows["verdict"])
    assert written["p_holm"].to_numpy() == pytest.approx(rows["p_holm"].to_numpy(), rel=1e-8)
    about = {"one_run": str(runs / "puq"), "other_run": str(runs / "copy"), "one_k": 3, "other_k": 1, "clips": 4}
    about |= {"one_training_seeds": 1, "other_training_seeds": "not trained", "tests": 8}
    assert written[[*about]].drop_duplicates().to_dict("records") == [about]


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "mine.csv", "runs/puq/new.csv", "runs/puq/results.csv", "folder", "link", "nowhere/rows.csv", ""],
)
def test_the_csv_replaces_nothing(runs, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "puq", "runs/puq")
    Path("folder").mkdir()
    Path("notes.txt").write_text("mine")
    Path("mine.csv").write_text("metric,sampling,frame,what I think of it\n")
    Path("link").symlink_to("notes.txt")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = avbench("compare", runs / "puq", runs / "copy", "--metric", "psnr", "--csv", name)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_run_and_its_copy_are_noted(runs, tmp_path, caplog):
    shutil.copytree(runs / "puq", tmp_path / "copied")
    compare(runs / "puq", tmp_path / "copied")
    assert "all scores of the two are equal, clip by clip: one may be a copy of the other" in caplog.text
    caplog.clear()
    compare(runs / "puq", runs / "copy")
    assert "are equal" not in caplog.text


def test_names_of_folders_that_are_no_utf_8_are_written_as_escapes(runs, tmp_path):
    odd = shutil.copytree(runs / "puq", tmp_path / os.fsdecode(b"caf\xe9"))
    assert avbench("compare", odd, runs / "copy", "--metric", "psnr", "--csv", tmp_path / "rows.csv").exit_code == 0
    assert set(pd.read_csv(tmp_path / "rows.csv")["one_run"]) == {f"{tmp_path}/caf\\udce9"}


def test_the_csv_of_another_comparison_may_hold_the_users_own_rows_and_is_not_replaced(runs, tmp_path):
    csv, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    link.symlink_to(csv)
    command = ["compare", runs / "puq", runs / "copy", "--metric", "psnr", "--csv"]
    assert avbench(*command, csv).exit_code == 0
    written = csv.read_bytes()
    assert avbench(*command, link).exit_code == 0  # the same rows: nothing is to be done
    assert link.is_symlink()
    csv.write_bytes(written + written.splitlines(keepends=True)[-1])
    collected = csv.read_bytes()
    for path in (csv, link):
        refused = avbench(*command, path)
        assert refused.exit_code == 2
        reason = "exists and is something else: name another file, or remove that one"
        assert refused.stderr == f"Error: {path} {reason}\n"
    assert csv.read_bytes() == collected


def test_a_third_partys_model_is_compared_without_its_package(runs, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(runs / "puq", theirs)
    remove_seal(theirs)
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps({**config, "model": "not-installed"}))
    with np.load(runs / "puq/scores.npz") as scores:
        np.savez(
            theirs / "scores.npz",
            **{name.replace("puq/", "not-installed/"): scores[name] for name in scores if name != RUN},
        )
    same = compare(runs / "puq", theirs)
    assert same.other.samples == 3
    assert (same.rows["difference"].dropna() == 0).all()


def changed(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def rescored(folder, **changes):
    """Change scores.npz, which then no longer says which run it is of."""
    with np.load(folder / "scores.npz") as file:
        scores = dict(file) | {RUN: None} | changes
    np.savez(folder / "scores.npz", **{name: value for name, value in scores.items() if value is not None})


def another(run, folder, seed=1, shift=0.0, **changes):
    """A run as it would be with another seed: with its scores shifted, if wished."""
    shutil.copytree(run, folder)
    remove_seal(folder)
    changed(folder, seed=seed, **changes)
    with np.load(run / "scores.npz") as scores:
        rescored(folder, **{"puq/psnr": scores["puq/psnr"] + np.float32(shift)} if shift else {})
    return folder


def test_runs_that_differ_in_their_seeds_alone_form_a_side(runs, tmp_path):
    ours = [runs / "puq", another(runs / "puq", tmp_path / "puq1", shift=0.5, device="cuda")]
    theirs = [
        another(runs / "puq", tmp_path / f"long{seed}", seed, shift=-seed - 1, steps=2, device="cpu") for seed in (3, 4)
    ]
    found = compare(ours[0], theirs[0], ours[1], theirs[1], metrics=["psnr"])
    assert [run.folder for run in found.one.runs] == ours
    assert [run.folder for run in found.other.runs] == theirs
    rows = found.rows.query("sampling == 'mean'")
    assert rows["difference"].to_numpy() == pytest.approx(np.full(4, 0.25 + 4.5), abs=1e-5)
    result = avbench("compare", *ours, *theirs, "--metric", "psnr", "--csv", tmp_path / "rows.csv")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[8] == (
        "seeds: if only seeds made a difference, all pairs would agree in 33% of cases"
    )
    assert result.stdout.splitlines()[:6] == [
        "one:   puq, m3so-nb, demo, K = 3, 2 training seeds (0, 1)",
        *(f"       {folder}" for folder in ours),
        "other: puq, m3so-nb, demo, K = 3, 2 training seeds (3, 4)",
        *(f"       {folder}" for folder in theirs),
    ]
    assert "Note: the runs of puq differ in device\n" in result.stderr
    written = pd.read_csv(tmp_path / "rows.csv")
    assert set(written["one_run"]) == {";".join(map(str, ours))}
    assert set(written["other_training_seeds"]) == {2}
    assert written["agreement_by_chance"].to_numpy() == pytest.approx(1 / 3)


def test_more_than_two_runs_that_form_one_group_are_refused_in_one_line(runs, tmp_path):
    more = [another(runs / "puq", tmp_path / f"{seed}", seed) for seed in (1, 2)]
    result = avbench("compare", runs / "puq", *more)
    assert result.exit_code == 2
    assert re.match("Error: more than two runs must form two groups, not 1: ", result.stderr.splitlines()[-1])


def test_one_run_is_refused(runs):
    result = avbench("compare", runs / "puq")
    assert result.exit_code == 2
    assert "a comparison needs two runs or more" in result.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "scores.npz").unlink(), "has no scores.npz: finish its run first"),
        (lambda run: (run / "config.json").unlink(), "holds no run: it has no config.json"),
        (lambda run: changed(run, samples=None), "config.json is damaged: its samples is None"),
        (lambda run: changed(run, preset=None), "config.json is damaged: its preset is None"),
        (lambda run: changed(run, test_clips="4"), "the runs do not compare: test_clips is 4 in"),
        (lambda run: changed(run, protocol="m4so"), "unknown protocol 'm4so'"),
        (lambda run: changed(run, model="puq"), "scores.npz holds no scores of puq"),
        (lambda run: np.savez(run / "scores.npz"), "scores.npz holds no scores of copy-last"),
        (lambda run: (run / "scores.npz").write_bytes(b"PK"), "scores.npz is damaged"),
        (lambda run: np.save((run / "scores.npz").open("wb"), np.zeros(3)), "scores.npz is damaged"),
        (lambda run: rescored(run, **{"copy-last/psnr": np.zeros((3, 1, 20))}), r"expected \(4, K, 20\)"),
        (lambda run: rescored(run, **{"copy-last/psnr": np.zeros(())}), r"expected \(4, K, 20\)"),
        (lambda run: rescored(run, **{"copy-last/psnr": np.zeros((4, 2, 20))}), "has 2 samples per clip, the run 10"),
        (lambda run: rescored(run, **{"copy-last/psnr": np.full((4, 1, 20), np.inf)}), "must hold finite numbers"),
        (lambda run: rescored(run, **{"copy-last/psnr": np.full((4, 1, 20), 999.0)}), "finite numbers within 0 and 60"),
        (lambda run: rescored(run, **{"copy-last/fid": np.zeros(4)}), r"copy-last/fid has the shape .* expected \(\)"),
    ],
)
def test_what_is_wrong_with_a_folder_without_a_seal_is_said_in_one_line(runs, tmp_path, damage, message):
    shutil.copytree(runs / "copy", tmp_path / "other")
    remove_seal(tmp_path / "other")
    damage(tmp_path / "other")
    result = avbench("compare", runs / "puq", tmp_path / "other")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr)


def test_an_edited_or_unfinished_run_is_marked(runs, tmp_path):
    shutil.copytree(runs / "copy", tmp_path / "other")
    remove_seal(tmp_path / "other")
    result = avbench("compare", runs / "puq", tmp_path / "other")
    assert result.exit_code == 0
    note = f"{tmp_path / 'other'} has no seal (files.json): it is unfinished, or was changed after its end\n"
    assert result.stderr == f"Note: {note}"
