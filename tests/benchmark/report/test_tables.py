"""Tables on terminals: no figure is lost, and what a run prints at its end fits on a screen."""

import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmark.catalogue import METRICS, find_protocol
from benchmark.report import tables
from benchmark.report.summary import MAIN_METRICS, summary
from benchmark.runs.seal import seal
from benchmark.scoring.judges import cannot_tell
from benchmark.scoring.rows import write_rows
from mmnist_av.system.errors import InputError

RULES = ("mean", "best_sequence", "best_frame", "mean_frame")
FLOORS = ("black", "copy-last", "mean-seen")
ABOUT = {"seed": "0", "fingerprint": "1e5" * 20}


def rows_of(model="s2s", samples=7, protocol="m3so", metrics=("psnr", "ssim", "block_iou"), clips=12, **about):
    """Rows of one model; every figure is another one."""
    found, rng = find_protocol(protocol), np.random.default_rng(len(model) + samples)
    lines = []
    for metric in metrics:
        facts = METRICS[metric]
        samplings = ("pairs",) if facts.score_of == "pairs" else ("single",)
        if samples > 1 and facts.score_of == "sample":
            samplings = RULES
        frames = {"last": (found.test_frames,), "clip": ("mean",)}.get(facts.frames, found.reported_frames)
        for sampling in samplings:
            for frame in frames:
                low, value, high = np.sort(rng.random(3)) * (60 if facts.unit else 1)
                line = {"model": model, "protocol": protocol, "preset": "demo", "metric": metric, "sampling": sampling}
                line |= {"k": 1 if sampling == "single" else samples, "frame": str(frame), "value": value}
                interval = {"low": np.nan, "high": np.nan} if facts.score_of == "set" else {"low": low, "high": high}
                lines.append({**line, **interval, "clips": clips, **ABOUT, **about})
    return pd.DataFrame(lines)


def board(*models, **options):
    return pd.concat([rows_of(name, samples, **options) for name, samples in models], ignore_index=True)


def run_of(model="s2s", samples=100, **options):
    """Rows of a run: a model, and the floors beside it."""
    return board((model, samples), *((floor, 1) for floor in FLOORS), **options)


def printed(rows, capsys):
    tables.print_all(rows)
    return capsys.readouterr().out


def on_terminal(rows, width):
    screen = io.StringIO()
    tables.print_all(rows, Console(file=screen, width=width, force_terminal=False))
    return screen.getvalue()


def test_tables_are_plain_and_fit_their_width(capsys):
    text = printed(board(("a-model-with-a-long-name", 7), ("black", 1)), capsys)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= tables.PLAIN_WIDTH
    for name in ("psnr, dB (higher is better); m3so, demo, dataset 1e51e51e51e5; 12 clips", "ssim (higher", "frame 42"):
        assert name in text


def test_every_figure_is_printed_with_its_interval(capsys):
    rows = board(("s2s", 100), metrics=("position_error", "block_iou", "fid"))
    text = printed(rows, capsys)
    for _, row in rows.iterrows():
        digits = 2 if METRICS[row["metric"]].unit else 4
        interval = f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]" if row["metric"] != "fid" else ""
        assert f"{row['value']:.{digits}f}{interval}" in text
    assert "nan" not in text


def test_a_narrow_table_cuts_no_name_and_no_interval():
    rows = board(("a-model-with-a-long-name", 100), ("black", 1)).query("metric == 'ssim'")
    text = on_terminal(rows, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(f"{rule} of 100 ") == 1 for rule in RULES)
    for row in rows.to_dict("records"):
        frame = "mean" if row["frame"] == "mean" else f"frame {row['frame']}"
        assert re.search(rf"{frame}  {row['value']:.4f}  \[{row['low']:.4f}, {row['high']:.4f}\]", text)


def test_a_metric_without_any_score_has_a_dash(capsys):
    rows = rows_of(samples=1, metrics=["block_iou"], clips=0)
    assert re.search(r"s2s +single +-\s*$", printed(rows, capsys), re.MULTILINE)


def test_every_model_and_sampling_has_one_line_a_metric(capsys):
    text = printed(board(("learned", 7), ("floor", 1), metrics=["ssim"]), capsys)
    names = re.findall(r"^(learned|floor) +(\w+(?: of \d+)?)  ", text, re.MULTILINE)
    assert names == [*(("learned", f"{rule} of 7") for rule in RULES), ("floor", "single")]


def test_lines_of_one_model_are_told_apart_by_what_differs(capsys):
    text = printed(pd.concat([rows_of("s2s", 1, seed=seed) for seed in "01"], ignore_index=True), capsys)
    assert "s2s (seed 0)" in text
    assert "s2s (seed 1)" in text


def test_datasets_and_protocols_are_never_in_one_table(capsys):
    two = pd.concat([rows_of("a", 1), rows_of("b", 1, fingerprint="2f6")], ignore_index=True)
    text = printed(two.query("metric == 'psnr'"), capsys)
    assert text.count("psnr, dB") == 2
    assert "dataset 1e5" in text
    assert "dataset 2f6" in text


def test_brackets_in_names_are_printed(capsys):
    assert "a[b]" in printed(rows_of("a[b]", 1, metrics=["ssim"]), capsys)


def test_a_terminal_gets_one_line_a_figure_where_there_is_room():
    screen = io.StringIO()
    tables.print_all(rows_of("s2s", 1), Console(file=screen, width=160, force_terminal=True))
    assert re.search(r"s2s.*\d\.\d\d \[\d+\.\d\d, \d+\.\d\d\]", screen.getvalue())
    assert "\x1b" in screen.getvalue()


def test_show_prints_all_tables_of_a_run_and_marks_one_without_a_seal(tmp_path, capsys, caplog):
    rows = run_of()
    rows.to_csv(tmp_path / "results.csv", index=False)
    tables.show(tmp_path)
    assert capsys.readouterr().out == printed(rows, capsys)
    assert caplog.messages == [f"{tmp_path} has no seal (files.json): it is unfinished, or was changed after its end"]
    seal(tmp_path)
    tables.show(tmp_path)
    assert len(caplog.messages) == 1
    (tmp_path / "results.csv").write_text((tmp_path / "results.csv").read_text().replace("s2s", "sss"))
    with pytest.raises(InputError, match=r"has changed since its run ended: results\.csv has changed"):
        tables.show(tmp_path)
    with pytest.raises(InputError, match=r"has no results\.csv"):
        tables.show(tmp_path / "report")


def test_a_comparison_has_every_difference_and_its_interval(capsys):
    names = {"metric": "psnr", "sampling": "mean", "frame": "15", "verdict": "other ahead"}
    figures = {"one": 12.34567, "other": 13.0, "low": -1.0, "high": -0.25, "p_holm": 0.0414, "clips": 60}
    none = dict.fromkeys(("one", "other", "low", "high", "p_holm"), np.nan)
    without = {**names, **none, "frame": "25", "verdict": "not shown", "clips": 0}
    tables.print_comparison(pd.DataFrame([{**names, **figures}, without]))
    title, *rest = capsys.readouterr().out.splitlines()
    header, _, line, last, _ = (re.split(r" {2,}", line.strip()) for line in rest)
    assert title == "psnr, dB (higher is better); 0-60 clips"
    assert dict(zip(header, line, strict=True)) == {
        "sampling": "mean",
        "frame": "15",
        "one": "12.35",
        "other": "13.00",
        "one - other, 95%": "[-1.00, -0.25]",
        "p": "0.041",
        "verdict": "other ahead",
    }
    assert last == ["mean", "25", "-", "-", "-", "-", "not shown"]


def test_a_sweep_has_mean_and_deviation_over_seeds(capsys):
    line = {"model": "puq", "protocol": "m3so-nb", "preset": "demo", "fingerprint": "f" * 64, "metric": "psnr"}
    line |= {"sampling": "mean", "k": 10}
    over = [{"frame": "6", "mean": 16.5, "sd": 0.25, "seeds": 3}, {"frame": "mean", "mean": 13.25, "sd": 1, "seeds": 3}]
    floor = {**line, "model": "black", "sampling": "single", "k": 1, "frame": "6", "mean": 9, "sd": np.nan, "seeds": 1}
    last = {**line, "model": "svg-lp", "frame": "6", "mean": 15, "sd": 0.5, "seeds": 3}
    tables.print_sweep(pd.DataFrame([*({**line, **figures} for figures in over), floor, last]))
    text = capsys.readouterr().out
    assert "psnr, dB (higher is better); m3so-nb, demo, dataset ffffffffffff; mean +- standard deviation over" in text
    assert re.search(r"puq +mean of 10 +3 +16\.5 \+- 0\.25 +13\.25 \+- 1", text)
    assert re.search(r"black +single +1 +9\s*$", text, re.MULTILINE)
    assert text.index("svg-lp ") < text.index("black ")
    assert "References" not in text
    tables.print_sweep(pd.DataFrame([{**line, "model": "bayes-v", **figures} for figures in over]))
    assert "References (bayes-v) know the rules" in capsys.readouterr().out


@pytest.mark.parametrize(("fooled", "true", "weak"), [(0.4, 0.5, True), (0.99, 0.98, True), (0.3, 0.95, False)])
def test_a_judge_that_cannot_tell_is_said_to_be_one(fooled, true, weak, capsys):
    rows = rows_of(samples=3, metrics=["psnr", "fooling_rate", "fooling_rate_true"])
    rows.loc[rows["metric"] == "fooling_rate", "value"] = fooled
    rows.loc[rows["metric"] == "fooling_rate_true", "value"] = true
    assert cannot_tell(rows) == ["s2s"] * weak
    titles = [line for line in printed(rows, capsys).splitlines() if "is better)" in line]
    assert ["the judge cannot tell: s2s" in title for title in titles] == [False, weak, weak]
    assert cannot_tell(rows[rows["metric"] != "fooling_rate_true"]) == []


def test_a_list_has_a_column_per_name(capsys):
    tables.list_table(("model", "paper"), [("puq", "Chatterjee [2021]"), ("black", "")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()][2:] == [
        "puq    Chatterjee [2021]",
        "black",
    ]


def test_tables_are_read_without_torch():
    code = "import sys, benchmark.report.tables, benchmark.report.summary; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("protocol", ["m3so-nb", "m3so", "m3so-long", "m3so-nb-long-av-mismatch"])
@pytest.mark.parametrize("model", ["puq", "a-third-party-model-with-a-name-longer-than-any-of-ours" * 4])
@pytest.mark.parametrize("samples", [1, 100, 1000])
def test_a_summary_fits_on_a_screen_and_cuts_nothing(protocol, model, samples, tmp_path):
    rows = run_of(model, samples, protocol=protocol, metrics=[*METRICS])
    (tmp_path / "report").mkdir()
    (tmp_path / "report/index.html").touch()
    seal(tmp_path, drawn=("index.html",))
    lines = summary(rows, find_protocol(protocol), tmp_path).replace(str(tmp_path), "runs/some-run").splitlines()
    assert "\n".join(lines).isascii()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 80
    shown = [line.split(",")[0].split(" ")[0] for line in lines if re.search("  (mean of|single) ", line)]
    assert shown == [*MAIN_METRICS][: len(shown)]
    assert len(shown) >= 3
    title = "".join(lines[: lines.index(next(line for line in lines if line.lstrip().startswith("frame ")))])
    for word in (model, protocol, "demo", "seed 0", "12 test clips"):
        assert word.replace(" ", "") in title.replace(" ", "")
    assert lines[-2:] == ["report: runs/some-run/report/index.html", "all tables: avbench show runs/some-run"]


@pytest.mark.parametrize("samples", [1, 100])
def test_a_summary_has_the_models_figures_and_the_best_floors(samples, tmp_path):
    shown = ("psnr", "position_error", "block_iou", "ink")
    rows = run_of(samples=samples, metrics=shown)
    lines = summary(rows, find_protocol("m3so"), tmp_path).splitlines()
    for metric in shown:
        facts, own = METRICS[metric], rows[rows["metric"] == metric]
        first = next(number for number, line in enumerate(lines) if re.match(rf"{metric}[ ,]", line))
        assert re.match(f"  {facts.better} is better +best floor: ", lines[first + 1])
        last = own[own["frame"] == ("70" if metric == "block_iou" else "mean")]
        floors = last[last["model"] != "s2s"].set_index("model")["value"]
        best = {
            "higher": floors.idxmax(),
            "lower": floors.idxmin(),
            "nearer 1": (floors - 1).abs().idxmin(),
        }[facts.better]
        rule = "mean" if samples > 1 else "single"
        for number, model, sampling, label in (
            (first, "s2s", rule, f"mean of {samples}" if samples > 1 else "single"),
            (first + 1, best, "single", f"best floor: {best}"),
        ):
            values = own[(own["model"] == model) & (own["sampling"] == sampling)]["value"]
            figures = "  +".join(f"{value:.{2 if facts.unit else 3}f}" for value in values)
            assert re.search(rf"  {label}  +{figures}$", lines[number])
    assert lines[-2] == f"to draw its report: avbench report {tmp_path}"


def test_a_summary_without_a_floor_or_a_figure_says_so(tmp_path):
    text = summary(rows_of(samples=1, metrics=["block_iou"], clips=0), find_protocol("m3so"), tmp_path)
    assert re.search(r"^block_iou +single +-$", text, re.MULTILINE)
    assert "best floor" not in text


def test_the_widest_comparison_fits_80_columns():
    row = {"metric": "ssim", "sampling": "best_sequence", "frame": "mean", "one": -0.1234, "other": -0.2345}
    row |= {"low": -0.3456, "high": 0.4567, "clips": 12, "p_holm": 0.049, "verdict": "other better"}
    tiny = row | {"p_holm": 1e-9, "verdict": "seeds differ"}
    none = row | {"one": np.nan, "other": np.nan, "clips": 0, "p_holm": np.nan, "verdict": "not shown"}
    screen = io.StringIO()
    tables.print_comparison(pd.DataFrame([row, tiny, none]), Console(file=screen, width=tables.PLAIN_WIDTH))
    lines = screen.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert [line.split()[-2:] for line in lines[3:6]] == [["other", "better"], ["seeds", "differ"], ["not", "shown"]]
    assert [line.split()[6 if clips else 5] for line, clips in zip(lines[3:6], (1, 1, 0), strict=True)] == [
        "0.049",
        "<.001",
        tables.NOTHING,
    ]


@pytest.mark.parametrize("model", ["bayes-v", "bayes-av"])
def test_the_summary_and_the_tables_of_a_reference_say_what_bounds_psnr(model, tmp_path):
    lines = summary(run_of(model, metrics=MAIN_METRICS), find_protocol("m3so"), tmp_path).splitlines()
    assert f"References ({model}) know the rules" in "\n".join(lines)
    assert "only their `mean_frame` bounds PSNR" in " ".join(lines)
    assert len(lines) <= 15
    assert "bounds PSNR" not in summary(run_of(metrics=MAIN_METRICS), find_protocol("m3so"), tmp_path)
    write_rows(run_of(model, metrics=["psnr"]), tmp_path / "results.csv")
    console = Console(file=io.StringIO(), width=tables.PLAIN_WIDTH)
    tables.show(tmp_path, console)
    assert f"References ({model}) know the rules" in console.file.getvalue()


def test_a_summary_without_main_metrics_shows_the_others(tmp_path):
    text = summary(run_of(metrics=["fid", "self_similarity"]), find_protocol("m3so"), tmp_path)
    assert re.search(r"^fid +single ", text, re.MULTILINE)
    assert re.search(r"^self_similarity +pairs of 100 ", text, re.MULTILINE)
    assert "nan" not in text
