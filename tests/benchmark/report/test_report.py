"""Reports from run folders: what is drawn is what was scored, every file is whole, and what does not fit is refused."""

import csv
import itertools
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
from click.testing import CliRunner

import sketches
from benchmark.catalogue import METRICS, PROTOCOLS, choose_metrics, find_protocol
from benchmark.cli import main
from benchmark.compare import compare
from benchmark.report import figures, movies, strips, tables, write
from benchmark.report.curves import best_of_k_curve, frame_curves, training_curves, uncertainty_curve, validation_curves
from benchmark.report.page import render
from benchmark.report.runs import open_run, open_runs
from benchmark.report.write import write_report
from benchmark.runs.folder import MARKS
from benchmark.runs.seal import seal
from benchmark.scoring.rows import read_rows
from benchmark.scoring.scores import read_scores, samplings
from benchmark.scoring.statistics import bootstrap_interval, mean_over_clips
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import PART

CLIPS, K = 6, 4
FACTS = {"preset": "demo", "fingerprint": "f" * 64, "dataset": "M3SO", "digits": "embedded", "test_clips": CLIPS}
WHERE = {"device": "cpu", "precision": "float32", "code_version": "0.1.0", "machine": "a <fast> one"}
FLOORS = ("black", "copy-last", "mean-seen")


ANNOTATIONS = {"block_mask", "events", "label", "flow"}  # of the test protocols' datasets; m3so has "block", too


def metrics_of(protocol):
    block = {"block"} if has_block(protocol) else set()
    return [metric.name for metric in choose_metrics("all", ANNOTATIONS | block, seen=5)]


def has_block(protocol):
    return protocol.dataset == "m3so"


PUBLISHED = ("psnr", "ssim", "ssim_uniform", "lpips")  # the metrics that have a best of K


def names_of(protocol, frames=("all", "last", "clip"), of=("sample", "pairs", "set")):
    """The protocol's metrics of these kinds."""
    names = metrics_of(find_protocol(protocol))
    return [name for name in names if METRICS[name].frames in frames and METRICS[name].score_of in of]


def scores_of(protocol, model, samples, seed, metrics):
    """Scores of a model and the floors; the floors' do not depend on the seed."""
    scores = {}
    for number, (name, k) in enumerate([(model, samples), *((floor, 1) for floor in FLOORS if floor != model)]):
        rng = np.random.default_rng([seed if name == model else 0, number])
        for metric in metrics:
            facts = METRICS[metric]
            frames = protocol.test_predicted if facts.frames == "all" else 1
            if facts.score_of == "set":
                scores[f"{name}/{metric}"] = rng.random(())
                continue
            values = rng.random((CLIPS, 1 if facts.score_of == "pairs" else min(k, facts.max_samples or k), frames))
            if metric == "block_iou":
                values[0] = np.nan
            if facts.score_of == "pairs" and k == 1:
                values[:] = np.nan
            scores[f"{name}/{metric}"] = values.astype(np.float32)
            if k > 1 and facts.score_of == "sample":
                scores[f"{name}/{metric}/mean_frame"] = rng.random((CLIPS, frames), np.float32)
    return scores


def write_results(folder, protocol, facts):
    """Write results.csv from scores.npz."""
    lines = []
    for model, scores in read_scores(folder / "scores.npz").items():
        k = facts["samples"] if model == facts["model"] else 1
        for metric, (sampling, values) in (
            (name, item) for name in scores if name in METRICS for item in samplings(scores, name).items()
        ):
            name = (model, protocol.name, facts["preset"], metric, sampling)
            name += (1 if sampling == "single" else min(k, METRICS[metric].max_samples or k),)
            about = (facts["seed"], facts["fingerprint"], WHERE["machine"])
            if METRICS[metric].score_of == "set":
                lines.append((*name, "mean", float(values), "nan", "nan", CLIPS, *about))
                continue
            values, frames = values.astype(np.float64), [protocol.test_frames]
            if METRICS[metric].frames == "all":
                frames = [*protocol.reported, "mean"]
                reported = [values[:, frame - protocol.seen - 1] for frame in protocol.reported]
                values = np.stack([*reported, mean_over_clips(values.T)], 1)
            elif METRICS[metric].frames == "clip":
                frames = ["mean"]
            figures = zip(mean_over_clips(values), *bootstrap_interval(values), (~np.isnan(values)).sum(0), strict=True)
            lines += [(*name, frame, *row, *about) for frame, row in zip(frames, figures, strict=True)]
    with (folder / "results.csv").open("w", newline="") as file:
        header = "model,protocol,preset,metric,sampling,k,frame,value,low,high,clips,seed,fingerprint,machine"
        csv.writer(file).writerows([header.split(","), *lines])


FEW = ("psnr", "fid", "block_iou", "self_similarity")  # metrics, where a test needs a report but not all of its figures


def make_run(folder, model="puq", protocol="m3so-nb", samples=K, seed=0, metrics=None, **changes):
    """A run's folder as benchmark.run leaves it, without training and examples."""
    folder.mkdir(parents=True)
    facts = FACTS | {"model": model, "protocol": protocol, "samples": samples, "seed": seed} | changes
    (folder / "config.json").write_text(json.dumps(facts))
    (folder / "environment.json").write_text(json.dumps(WHERE))
    found = find_protocol(protocol)
    np.savez(folder / "scores.npz", **scores_of(found, model, samples, seed, metrics or metrics_of(found)))
    write_results(folder, found, facts)
    return folder


def add_training(folder, steps=450):
    losses = np.random.default_rng(1).normal(size=steps)
    lines = [f"{step},{step // 100},{step / 10},{loss},{loss**2}" for step, loss in enumerate(losses)]
    (folder / "training.csv").write_text("\n".join(["step,epoch,seconds,generator,generator/mse", *lines]) + "\n")
    return losses


VALIDATION = """step,epoch,metric,sampling,k,frame,value,low,high
200,1,psnr,mean,4,6,18,17,19
200,1,psnr,mean,4,mean,14,13,15
100,0,psnr,mean,4,mean,12,11,13
100,0,psnr,best_frame,4,mean,20,19,21
"""


def examples_of(protocol, channels=1, variance=False, side=48):
    """Two examples, the second without a block."""
    rng, frames, predicted = np.random.default_rng(2), protocol.test_frames, protocol.test_predicted
    picture = (channels, side, side)
    found = {
        "clips": np.array([0, 5]),
        "seen": protocol.seen,
        "fps": 10,
        "sample_rate": 8000,
        "target": rng.integers(0, 256, (2, frames, *picture), np.uint8),
        "mean": rng.integers(0, 256, (2, predicted, *picture), np.uint8),
        "best": rng.integers(0, 256, (2, predicted, *picture), np.uint8),
        "random": rng.integers(0, 256, (2, 3, predicted, *picture), np.uint8),
        "audio": rng.integers(-9000, 9000, (2, 800 * frames), np.int16),
    }
    if variance:
        found["variance"] = rng.random((2, predicted), np.float32)
    if has_block(protocol):
        found |= {"block": np.array([[3, 5], [-1, -1]]), "block_side": 16, "windows": rng.integers(0, 32, (2, K, 2))}
    return found


def full_run(folder, protocol="m3so", channels=1, **changes):
    make_run(folder, protocol=protocol, **changes)
    add_training(folder)
    (folder / "validation.csv").write_text(VALIDATION)
    np.savez(folder / "examples.npz", **examples_of(find_protocol(protocol), channels, variance=True))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of M3SO with all that a run may leave; to be read only."""
    return full_run(tmp_path_factory.mktemp("runs") / "puq")


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    with sketches.finished():
        return write_report([run], tmp_path_factory.mktemp("reports") / "report")


class References(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]


def test_every_picture_can_be_read_and_every_reference_leads_to_a_file(report):
    there = {path.name for path in report.parent.iterdir()}
    drawn = names_of("m3so", frames=("all", "last"))
    sampled = [name for name in drawn if name in PUBLISHED]
    names = {f"frames-{metric}" for metric in drawn} | {f"best-of-k-{metric}" for metric in sampled}
    names |= {"validation-psnr", "training", "uncertainty", "puq-block"}
    names |= {f"puq-clip-{clip:06d}-strip" for clip in (0, 5)}
    pictures = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert there == {"index.html", "report.json", "puq-clip-000000.mp4", "puq-clip-000005.mp4"} | pictures
    for path in report.parent.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    for path in report.parent.glob("*.png"):
        assert imageio.imread(path).std() > 0
    assert set(References(report.read_text()).found) == there - {"index.html"}


def test_the_page_says_what_the_run_is_and_its_rows(report, run):
    text = report.read_text()
    assert "f" * 64 in text
    assert "a &lt;fast&gt; one" in text
    assert "<fast>" not in text
    rows = read_rows(run / "results.csv")
    row = rows.query("model == 'puq' and metric == 'psnr' and sampling == 'best_frame' and frame == '42'").iloc[0]
    assert f"{row['value']:.2f} <small>[{row['low']:.2f}, {row['high']:.2f}]</small>" in text
    assert text.count(f"best_frame of {K}</td>") == len([name for name in names_of("m3so") if name in PUBLISHED])
    assert not re.search(r"https?://", text)


def test_the_page_of_a_reference_says_what_bounds_psnr(run, tmp_path):
    reference = make_run(tmp_path / "bayes-v", model="bayes-v", protocol="m3so", metrics=FEW)
    said = "References (bayes-v) know the rules"
    assert said in render(open_runs([reference]), [], [])
    assert said not in render(open_runs([run]), [], [])


def test_curves_are_the_means_over_clips_and_their_intervals(run):
    found = frame_curves(open_run(run), "psnr")
    with np.load(run / "scores.npz") as scores:
        psnr = scores["puq/psnr"].astype(np.float64)
        average = scores["puq/psnr/mean_frame"].astype(np.float64)
    best = psnr[range(CLIPS), psnr.mean(2).argmax(1)]
    plain = {"mean": psnr.mean(1), "best_sequence": best, "best_frame": psnr.max(1), "mean_frame": average}
    assert list(found) == [f"{name} of {K}" for name in plain]
    for name, values in plain.items():
        curve = found[f"{name} of {K}"]
        assert curve.at.tolist() == list(range(31, 71))
        np.testing.assert_allclose(curve.value, values.mean(0), rtol=1e-12)
        np.testing.assert_array_equal((curve.low, curve.high), bootstrap_interval(values))
    floor = frame_curves(open_run(run), "psnr", "black")
    assert list(floor) == ["single"]
    block = frame_curves(open_run(run), "block_iou")[f"mean of {K}"]
    assert block.at.tolist() == [70]
    with np.load(run / "scores.npz") as scores:
        assert block.value[0] == pytest.approx(scores["puq/block_iou"][1:].mean())


def test_every_panel_draws_one_sampling_and_the_floors(run, tmp_path):
    single = make_run(tmp_path / "sure", model="sure", protocol="m3so", samples=1)
    runs = open_runs([run, single])
    own, other = (frame_curves(each, "ssim") for each in runs)
    panels = figures.by_frame(runs, METRICS["ssim"]).axes
    assert [panel.get_title() for panel in panels] == list(own)
    for panel in panels:
        lines = {line.get_label(): line for line in panel.get_lines() if not line.get_label().startswith("_")}
        with_single = panel.get_title().startswith("mean")  # one sample beside means, never beside a best of several
        assert set(lines) == {*(f"{floor} (floor)" for floor in FLOORS), "puq"} | (
            {"sure (single)"} if with_single else set()
        )
        curve = own[panel.get_title()]
        np.testing.assert_array_equal(lines["puq"].get_xydata(), np.stack([curve.at, curve.value], 1))
        band = panel.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (curve.low.min(), curve.high.max())
        if with_single:
            np.testing.assert_array_equal(lines["sure (single)"].get_ydata(), other["single"].value)
        floor = frame_curves(runs[0], "ssim", "black")["single"]
        np.testing.assert_array_equal(lines["black (floor)"].get_ydata(), floor.value)


def test_legends_have_models_first_as_they_are_read_row_by_row(run, tmp_path):
    models = ("a-model-with-a-very-long-name", "another-one")
    others = [make_run(tmp_path / name, name, protocol="m3so", metrics=["psnr"]) for name in models]
    figure = figures.by_frame(open_runs([run, *others]), METRICS["psnr"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    columns = [[*part] for part in np.array_split(labels, figure.legends[0]._ncols)]
    assert 1 < len(columns) < len(labels)
    rows = [label for row in itertools.zip_longest(*columns) for label in row if label]
    assert rows == ["puq", *models, *(f"{floor} (floor)" for floor in FLOORS)]


def test_panels_of_the_last_row_fill_its_width(tmp_path):
    folder = make_run(tmp_path / "run", metrics=["psnr"])
    lines = ["step,epoch,seconds,a,b,c,d,e", *(f"{n},0,{n},1,2,3,{n + 1},5" for n in range(30))]
    (folder / "training.csv").write_text("\n".join(lines) + "\n")
    panels = figures.training(open_runs([folder])).axes
    spans = [panel.get_subplotspec().colspan for panel in panels]
    assert [(span.start, span.stop) for span in spans] == [(0, 2), (2, 4), (4, 6), (0, 3), (3, 6)]
    assert [panel.get_xlabel() for panel in panels] == ["", "", "", "training step", "training step"]
    assert [panel.get_yscale() for panel in panels] == ["linear", "linear", "linear", "log", "linear"]
    panels[3].figure.draw_without_rendering()
    shown = [label.get_text() for label in panels[3].get_yticklabels()]
    assert {"1", "2", "5", "10", "20"} <= set(shown)


def test_axes_over_steps_have_ticks_at_whole_steps(tmp_path):
    folder = make_run(tmp_path / "run", metrics=["psnr"])
    (folder / "training.csv").write_text("step,epoch,seconds,a\n0,0,1,2\n1,0,2,3\n2,0,3,1\n")
    figure = figures.training(open_runs([folder]))
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) > 1
    assert all(float(tick).is_integer() for tick in ticks)


def test_ticks_have_no_offset(tmp_path):
    folder = make_run(tmp_path / "run", metrics=["psnr"])
    examples = examples_of(find_protocol("m3so-nb"), variance=True)
    examples["variance"] = np.float32(0.9999) + examples["variance"] * np.float32(1e-5)
    np.savez(folder / "examples.npz", **examples)
    opened = open_run(folder)
    with figures.style():
        drawn = [figures.uncertainty([opened]), strips.strip(opened, opened.examples, 0)]
    for panel in (figure.axes[-1] for figure in drawn):
        panel.figure.draw_without_rendering()
        assert panel.yaxis.get_offset_text().get_text() == ""
        assert panel.get_xlabel() == "frame (from 1)"


def test_other_numbers_of_samples_have_panels_of_their_own(run, tmp_path):
    two = make_run(tmp_path / "two", model="two", protocol="m3so", samples=2)
    titles = [panel.get_title() for panel in figures.by_frame(open_runs([run, two]), METRICS["psnr"]).axes]
    rules = ("mean", "best_sequence", "best_frame", "mean_frame")
    assert titles == [f"{rule} of {samples}" for rule in rules for samples in (K, 2)]


@pytest.mark.parametrize("metric", ["psnr", "ssim", "lpips"])
def test_best_of_k_is_the_mean_over_all_choices_of_k_samples(run, metric):
    curve = best_of_k_curve(open_run(run), metric)
    with np.load(run / "scores.npz") as scores:
        means = scores[f"puq/{metric}"].astype(np.float64).mean(2)
    pick = max if METRICS[metric].better == "higher" else min
    for k in range(1, K + 1):
        choices = [[pick(chosen) for chosen in itertools.combinations(clip, k)] for clip in means]
        assert curve.value[k - 1] == pytest.approx(np.nanmean(np.mean(choices, 1)))
    assert curve.at.tolist() == [1, 2, 3, 4]
    assert (curve.low < curve.value).all()
    assert (curve.value < curve.high).all()
    frames = frame_curves(open_run(run), metric)
    assert curve.value[-1] == pytest.approx(frames[f"best_sequence of {K}"].value.mean())


def test_metrics_whose_best_of_k_nobody_publishes_have_none(run):
    opened = open_run(run)
    assert best_of_k_curve(opened, "position_error") is None
    assert set(frame_curves(opened, "position_error")) == {f"mean of {K}", f"mean_frame of {K}"}


def test_a_frame_without_a_score_is_left_out_of_best_of_k(tmp_path):
    folder = make_run(tmp_path / "run")
    with np.load(folder / "scores.npz") as file:
        scores = dict(file)
    scores["puq/psnr"][2, 1, 7] = np.nan
    np.savez(folder / "scores.npz", **scores)
    kept = scores["puq/psnr"].astype(np.float64)
    means = np.array([np.delete(clip, 7, 1).mean(1) if n == 2 else clip.mean(1) for n, clip in enumerate(kept)])
    curve = best_of_k_curve(open_run(folder), "psnr")
    assert curve.value[[0, -1]] == pytest.approx([means.mean(), means.max(1).mean()])


def test_training_curves_are_means_of_stretches(tmp_path):
    folder = make_run(tmp_path / "run")
    losses = add_training(folder, 450)
    curve = training_curves(open_run(folder))["generator"]
    assert len(curve.value) == 200
    np.testing.assert_allclose(curve.value[:50], losses[:150].reshape(50, 3).mean(1))  # 50 of 3 steps, 150 of 2
    np.testing.assert_allclose(curve.value[50:], losses[150:].reshape(150, 2).mean(1))
    losses = add_training(folder, 30)
    curve = training_curves(open_run(folder))["generator/mse"]
    np.testing.assert_allclose((curve.at, curve.value), (np.arange(30), losses**2))
    (folder / "training.csv").write_text("")  # 0 steps
    assert training_curves(open_run(folder)) == {}


def test_validation_curves_are_the_rows_of_the_mean_over_frames_by_step(run):
    found = validation_curves(open_run(run), "psnr")
    assert {name: [*map(list, curve)] for name, curve in found.items()} == {
        "mean of 4": [[100, 200], [12, 14], [11, 13], [13, 15]],
        "best_frame of 4": [[100], [20], [19], [21]],
    }


def test_uncertainty_is_the_mean_over_clips(tmp_path):
    folder = make_run(tmp_path / "run")
    examples = examples_of(find_protocol("m3so-nb"), variance=True)
    np.savez(folder / "examples.npz", **examples)
    curve = uncertainty_curve(open_run(folder))
    each = examples["variance"].astype(np.float64)
    np.testing.assert_allclose(curve.value, each.mean(0))
    np.testing.assert_allclose((curve.low, curve.high), (each.min(0), each.max(0)))  # two clips: their extremes
    assert curve.at.tolist() == list(range(6, 26))


@pytest.mark.parametrize(("frames", "seen"), [(25, 5), (70, 30), (30, 5), (90, 30), (9, 3), (14, 1), (20, 0), (2, 1)])
def test_a_strip_shows_evenly_spaced_frames_up_to_the_last_and_few_seen_ones(frames, seen):
    shown = strips.shown_frames(frames, seen)
    assert len(set(np.diff(shown))) <= 1
    assert shown[-1] == frames
    assert len(shown) <= 14
    assert shown[0] >= 1
    assert sum(frame <= seen for frame in shown) <= 2
    assert sum(frame > seen for frame in shown) >= min(9, frames - seen)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_strip_shows_the_pixels(tmp_path, channels):
    folder = make_run(tmp_path / "run")
    found = examples_of(find_protocol("m3so-nb"), channels)
    np.savez(folder / "examples.npz", **found)
    opened = open_run(folder)
    axes = strips.strip(opened, opened.examples, 1).axes[0]
    shown = [int(label.get_text()) for label in axes.get_xticklabels()]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["ground truth", f"mean of {K}", "best PSNR", "sample 1", "sample 2", "sample 3", "sound"]
    assert sum(frame <= 5 for frame in shown) == 2
    picture = axes.images[0].get_array()
    wanted = [found["target"], found["mean"], found["best"], *found["random"].swapaxes(0, 1)]
    for row, column in itertools.product(range(6), range(len(shown))):
        tile = picture[2 + row * 50 : 50 + row * 50, 2 + column * 50 : 50 + column * 50]
        frame = shown[column] - 1 - (5 if row else 0)
        if frame < 0:
            assert (tile == 230).all()
        else:
            true = wanted[row][1, frame].transpose(1, 2, 0)
            np.testing.assert_array_equal(tile, np.broadcast_to(true, tile.shape))


def sounding(tmp_path, name, hertz, frames):
    """Return a run, opened, whose second example sounds at `hertz` in these frames and is silent in the others."""
    found = examples_of(find_protocol("m3so-nb"))
    found["audio"][:] = 0
    time = np.arange(800) / 8000
    for frame in frames:
        found["audio"][1, (frame - 1) * 800 : frame * 800] = 9000 * np.sin(2 * np.pi * hertz * time)
    folder = make_run(tmp_path / name, name)
    np.savez(folder / "examples.npz", **found)
    return open_run(folder)


def sound_row(axes):
    """Return the brightness of a strip's last row by frame: 48 x 48 px each."""
    picture = axes.images[0].get_array().sum(2, dtype=int)[-50:-2]
    shown = [int(label.get_text()) for label in axes.get_xticklabels()]
    return {frame: picture[:, 2 + 50 * column : 50 + 50 * column] for column, frame in enumerate(shown)}


def test_a_strip_shows_the_sound_since_the_frame_before_it_low_tones_below(tmp_path):
    for hertz in (300, 1700):
        for sounds in (20, 21):
            opened = sounding(tmp_path, f"{hertz}-{sounds}", hertz, [sounds])
            row = sound_row(strips.strip(opened, opened.examples, 1).axes[0])
            assert [frame for frame, part in row.items() if np.ptp(part)] == [21]  # every second frame is shown
            brightest = row[21].max(1).argmax()
            assert brightest > 36 if hertz == 300 else brightest < 14
            assert np.ptp(row[21][:, :20].max(1)) > 100 if sounds == 20 else np.ptp(row[21][:, :20]) == 0


def test_runs_side_by_side_show_each_ones_mean_and_sample(tmp_path):
    first, second = (sounding(tmp_path, name, 500, [21]) for name in ("puq", "svg"))
    examples = second.examples
    second = replace(second, examples=replace(examples, mean=examples.mean // 2, random=examples.random // 3))
    axes = strips.comparison(strips.comparable([first, second]), 1).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["ground truth", f"puq\nmean of {K}", "puq\nsample 1", f"svg\nmean of {K}", "svg\nsample 1", "sound"]
    last = axes.images[0].get_array()[:, -50:-2]
    shown = [examples.mean, examples.random[:, 0], examples.mean // 2, examples.random[:, 0] // 3]
    for row, wanted in enumerate([examples.target, *shown]):
        tile = last[2 + row * 50 : 50 + row * 50]
        np.testing.assert_array_equal(tile, np.broadcast_to(wanted[1, -1, 0, :, :, None], tile.shape))


def test_only_runs_with_the_same_clips_and_sound_stand_side_by_side(tmp_path):
    one, other, other_sound = (
        sounding(tmp_path, f"a{hertz}{n}", hertz, [21]) for n, hertz in enumerate((500, 500, 900))
    )
    without = replace(other, examples=None)
    assert strips.comparable([without, one, other_sound, other]) == [one, other]
    assert strips.comparable([one, without, other_sound]) == []


def test_the_true_block_is_drawn_where_the_picture_has_it(run):
    opened = open_run(run)
    figure = strips.block(opened, opened.examples)
    assert [panel.get_title() for panel in figure.axes] == ["clip 0", ""]  # the other example has no block
    for panel in figure.axes:
        square = panel.patches[-1]
        assert square.get_bbox().bounds == (2.5, 48 - 5 - 16 - 0.5, 16, 16)  # x 3, y 5 from below
        windows = [path.get_extents().bounds for path in panel.collections[0].get_paths()]
        assert windows == [(c - 0.5, r - 0.5, 16, 16) for r, c in opened.examples.windows[0]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_movie_shows_ground_truth_mean_best_and_a_sample_side_by_side(tmp_path, channels):
    folder = make_run(tmp_path / "run")
    found = examples_of(find_protocol("m3so-nb"), channels)
    np.savez(folder / "examples.npz", **found)
    movie = movies.side_by_side(open_run(folder).examples, 1, "mean of 4")
    assert movie.shape[:3] == (25, 192 + 2 * 28, 4 * 192 + 3 * 8)
    predicted = [found["target"][1, 5:], found["mean"][1], found["best"][1], found["random"][1, 0]]
    for place, frames in enumerate(predicted):
        picture = movie[:, 28:-28:4, place * 200 : place * 200 + 192 : 4].reshape(25, 48, 48, channels)
        wanted = np.concatenate([found["target"][1, :5], frames]).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(picture, wanted)


def test_the_movie_of_an_example_has_sound(report):
    reader = imageio_ffmpeg.read_frames(str(report.parent / "puq-clip-000005.mp4"))
    facts = next(reader)
    assert (facts["fps"], facts["audio_codec"]) == (10, "aac")
    width, height = facts["source_size"]
    assert f'width="{width}" style="aspect-ratio: {width} / {height + 64}" src="puq-clip-0' in report.read_text()
    assert sum(1 for _ in reader) == 70


def test_the_same_run_gives_the_same_bytes(tmp_path):
    folders = [full_run(tmp_path / name / "puq", metrics=FEW) for name in ("one", "other")]
    for folder in folders:  # the first example alone, because movies take most of the time
        with np.load(folder / "examples.npz") as file:
            first = {name: file[name][:1] if file[name].ndim else file[name] for name in file.files}
        np.savez(folder / "examples.npz", **first)
    with sketches.finished():
        report, again = (write_report([folder], folder.with_name("report")).parent for folder in folders)
    assert len([*report.iterdir()]) >= 20
    for path in report.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_several_runs_in_one_report(tmp_path):
    run = full_run(tmp_path / "runs/puq", metrics=FEW)
    other = make_run(tmp_path / "puq", protocol="m3so", seed=1, metrics=FEW)
    write_report([run, other], tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text()
    names = set(References(text).found)
    assert {"1-puq-clip-000005.mp4", "1-puq-block.png", "training.svg"} <= names
    assert "compared-clip-000005.png" not in names  # the other run has no examples
    assert all((tmp_path / "out" / name).is_file() for name in names)
    labels = [each.label for each in open_runs([run, other])]
    assert labels == [f"puq ({path.parent.name}/puq)" for path in (run, other)]  # folders of one name
    more = [make_run(tmp_path / name, name[:3], protocol="m3so", metrics=FEW) for name in ("puq2", "s2s")]
    assert [each.label for each in open_runs([run, *more])] == ["puq (puq)", "puq (puq2)", "s2s"]
    for floor in FLOORS:  # once, as they are the same in both
        assert text.count(f"<td>{floor} (floor)</td>") == len(FEW) - 1  # they have no pairs of samples
    first = text[text.index("<caption>psnr") :]
    assert first.index(f"<td>{labels[1]}</td>") < first.index("<td>black (floor)</td>")


def test_what_a_run_does_not_have_is_left_out(tmp_path):
    floor = make_run(tmp_path / "black", model="black", samples=1)
    names = {path.name for path in write_report([floor], floor / "report").parent.iterdir()}
    metrics = names_of("m3so-nb", ("all", "last"), of="sample")
    drawn = {f"frames-{metric}.{kind}" for metric in metrics for kind in ("png", "svg")}
    assert names == {"index.html", "report.json"} | drawn
    for name in ("scores.npz", "results.csv", "environment.json"):
        (floor / name).unlink()
    page = write_report([floor], floor / "report")  # replaces the first
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "report.json"]
    assert sorted(path.name for path in floor.iterdir()) == ["config.json", "report"]


def rewrite_examples(folder, **changes):
    with np.load(folder / "examples.npz") as file:
        found = dict(file)
    kept = {name: value for name, value in (found | changes).items() if value is not None}
    np.savez(folder / "examples.npz", **kept)


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", lambda path: path.write_text("{"), "is damaged"),
        ("config.json", lambda path: path.write_text("{}"), "names no model"),
        ("environment.json", lambda path: path.write_text("[]"), "an object is expected"),
        ("scores.npz", lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
        (
            "scores.npz",
            lambda path: np.savez(path, **{"puq/psnr": np.zeros((5, 4, 40), "f4")}),
            r"expected \(6, K, 40\)",
        ),
        ("scores.npz", lambda path: np.savez(path, **{"s2s/psnr": np.zeros((6, 4, 40), "f4")}), "no scores of puq"),
        (
            "scores.npz",
            lambda path: np.savez(path, **{"puq/psnr": np.full((6, 4, 40), np.inf)}),
            "must hold finite",
        ),
        (
            "scores.npz",
            lambda path: np.savez(path, **{f"{name}/ssim": np.zeros((6, 4, 40), "f4") for name in ("puq", "black")}),
            "black is a floor and must have one sample, found 4",
        ),
        *(
            (name, piped, "is not a regular file: move it away")
            for name in ("results.csv", "scores.npz", "examples.npz")
        ),
        ("results.csv", lambda path: path.write_text("model\n"), "line 1, column 2: expected 'protocol'"),
        ("training.csv", lambda path: path.write_text(path.read_text()[:-30]), "line 451: expected 5 fields"),
        (
            "training.csv",
            lambda path: path.write_text("step,epoch,seconds,g\n0,0,1,x\n"),
            "line 2, column g: .*found 'x'",
        ),
        (
            "training.csv",
            lambda path: path.write_text("step,epoch,seconds,g\nnan,0,1,1\n"),
            "column step: .*found 'nan'",
        ),
        (
            "training.csv",
            lambda path: path.write_text("step,epoch,seconds,g\n0,0,1,1\n2,0,1,1\n2,0,1,1\n"),
            "line 4, column step: expected a step after the step of the line before, found '2'",
        ),
        (
            "training.csv",
            lambda path: path.write_text("epoch,step\n"),
            "line 1, column 1: expected 'step', found 'epoch'",
        ),
        ("validation.csv", lambda path: path.write_text(VALIDATION.replace("18", "?")), "line 2, column value"),
        ("validation.csv", lambda path: path.write_text(VALIDATION.replace("best_", "most_")), "line 5, column samp"),
        ("examples.npz", lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged"),
        ("examples.npz", lambda path: rewrite_examples(path.parent, best=None), "it lacks best"),
        ("examples.npz", lambda path: rewrite_examples(path.parent, windows=None), "it lacks windows"),
        ("examples.npz", lambda path: rewrite_examples(path.parent, seen=np.array(5)), "needs 30 seen"),
        ("examples.npz", lambda path: rewrite_examples(path.parent, fps=np.array(0)), "fps must be one whole"),
        (
            "examples.npz",
            lambda path: rewrite_examples(path.parent, audio=np.zeros((2, 9), "i2")),
            "2, 56000",
        ),
        (
            "examples.npz",
            lambda path: rewrite_examples(path.parent, mean=np.zeros((2, 40, 1, 48, 48))),
            "mean is float",
        ),
        ("examples.npz", lambda path: rewrite_examples(path.parent, variance=-np.ones((2, 40), "f4")), "not negative"),
        (
            "examples.npz",
            lambda path: rewrite_examples(path.parent, windows=np.full((2, 4, 2), 33)),
            "leave the frames",
        ),
        ("examples.npz", lambda path: rewrite_examples(path.parent, clips=np.array([None, 1])), "is damaged"),
    ],
)
def test_a_damaged_file_is_refused_by_name(run, tmp_path, name, damage, message):
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run" / name)
    with pytest.raises(InputError, match=message) as error:
        write_report([tmp_path / "run"], tmp_path / "out")
    assert str(tmp_path / "run" / name) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_metrics_of_another_version_are_left_out_with_one_note(tmp_path, caplog, capsys):
    metrics = ("psnr", "ssim", "ssim_uniform", "position_error")
    run, older = (make_run(tmp_path / name, metrics=metrics) for name in ("run", "older"))
    (older / "validation.csv").write_text(VALIDATION)
    with np.load(run / "scores.npz") as scores:
        np.savez(older / "scores.npz", **{name.replace("/ssim", "/sim"): scores[name] for name in scores})
    for name in ("results.csv", "validation.csv"):
        (older / name).write_text((older / name).read_text().replace(",ssim", ",sim").replace(",psnr,", ",pnsr,"))
    note = f"{older}: left out sim, sim_uniform, pnsr, no metric of this version"
    metrics = set(open_run(older).scores["puq"])
    assert "position_error" in metrics
    assert not metrics & {"sim", "ssim"}
    assert caplog.messages == [note]
    caplog.clear()
    page = write_report([older], tmp_path / "report").read_text()
    assert "position_error" in page
    assert "ssim" not in page
    assert note in caplog.messages
    assert len(caplog.messages) == 2  # the other one says that there is no seal
    caplog.clear()
    tables.show(older)
    shown = capsys.readouterr().out
    assert "position_error" in shown
    assert "ssim" not in shown
    assert caplog.messages[1:] == [note.replace("sim, sim_uniform, pnsr", "pnsr, sim, sim_uniform")]
    caplog.clear()
    header, *rows = (older / "results.csv").read_text().splitlines()
    (older / "foreign").mkdir()
    only = [row for row in rows if ",pnsr," in row]
    (older / "foreign/results.csv").write_text("\n".join([header, *only, ""]))
    with pytest.raises(InputError, match="has no metric of this version: install the version or the package"):
        tables.show(older / "foreign")
    caplog.clear()
    compared = set(compare(run, older).rows["metric"])
    assert "psnr" in compared
    assert compared.isdisjoint({"sim", "ssim"})
    assert note.replace(", pnsr", "") in caplog.messages


@pytest.mark.parametrize("name", ["protocol", "fingerprint", "test_clips"])
def test_runs_of_other_clips_are_refused_and_the_difference_named(run, tmp_path, name):
    other = make_run(tmp_path / "other", protocol="m3so-nb" if name == "protocol" else "m3so")
    facts = json.loads((other / "config.json").read_text())
    if name == "test_clips":
        (other / "scores.npz").unlink()
    if name != "protocol":
        (other / "config.json").write_text(json.dumps({**facts, name: 7}))
    with pytest.raises(InputError, match=f"the runs do not compare: {name} is .* in {run}, .* in {other}"):
        write_report([run, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_whose_floors_differ_are_refused(run, tmp_path):
    other = make_run(tmp_path / "other", protocol="m3so")
    with np.load(other / "scores.npz") as file:
        scores = dict(file)
    scores["black/ssim"] *= 0.99
    np.savez(other / "scores.npz", **scores)
    with pytest.raises(InputError, match="the ssim of black is not the same"):
        open_runs([run, other])


def test_a_run_without_a_seal_is_marked_on_the_page_and_in_a_note(tmp_path, caplog):
    folder = make_run(tmp_path / "run", metrics=["psnr"])
    mark = "puq is unfinished, or was changed after its end"
    assert mark in write_report([folder], tmp_path / "report").read_text()
    assert caplog.messages == [f"{folder} has no seal (files.json): it is unfinished, or was changed after its end"]
    assert mark not in write_report([folder], tmp_path / "report", ended=True).read_text()
    seal(folder)
    assert mark not in write_report([folder], tmp_path / "report").read_text()
    assert len(caplog.messages) == 1


def test_what_is_no_run_or_given_twice_is_refused(run, tmp_path):
    for folders, message in (([], "at least one"), ([tmp_path], "holds no run"), ([run, run], "given twice")):
        with pytest.raises(InputError, match=message):
            write_report(folders, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_folder_with_something_else_is_not_touched(run, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<h1>precious</h1>")
    for out in (tmp_path / "site", run, run / "config.json"):
        with pytest.raises(InputError, match="holds no report: move it away, or choose another --out"):
            write_report([run], out)
    assert (tmp_path / "site/index.html").read_text() == "<h1>precious</h1>"


def test_a_report_that_fails_or_is_killed_leaves_the_one_before(tmp_path, monkeypatch):
    floor = make_run(tmp_path / "black", model="black", samples=1, metrics=FEW)
    page = write_report([floor], floor / "report")
    before = page.read_text()
    monkeypatch.setattr(write.page, "render", None)
    with pytest.raises(TypeError):
        write_report([floor], floor / "report")
    assert page.read_text() == before
    assert not [path for path in floor.iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    left = floor / "report" / f".report{PART}"  # by a report that was killed
    left.mkdir()
    (left / "half.png").write_text("")
    write_report([floor], floor / "report")
    assert not list(floor.rglob("half.png"))
    assert page.read_text() == before


def test_a_report_that_fails_leaves_no_new_folder(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write.page, "render", None)
    with pytest.raises(TypeError):
        write_report([run], tmp_path / "new")
    assert not any(tmp_path.iterdir())


def test_the_users_files_in_and_beside_a_report_stay(tmp_path):
    floor, other = (
        make_run(tmp_path / model, model, samples=1, metrics=metrics)
        for model, metrics in (("black", FEW), ("copy-last", ("psnr",)))
    )
    out = tmp_path / "site"
    mine = [out / "notes.txt", out / "talk/slides.txt", tmp_path / ".site.old/a", tmp_path / ".site.new/a"]
    write_report([other], out)
    drawn = {path.name for path in out.iterdir()}
    write_report([floor], out)
    assert drawn < {path.name for path in out.iterdir()}
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    write_report([other], out)
    assert all(path.read_text() == "precious" for path in mine)
    assert {path.name for path in out.iterdir()} == drawn | {"notes.txt", "talk"}


def test_a_figure_that_the_user_edited_is_not_replaced(tmp_path):
    floor, other = (make_run(tmp_path / model, model, samples=1, metrics=["psnr"]) for model in ("black", "copy-last"))
    out = tmp_path / "site"
    write_report([floor], out)
    figure = out / "frames-psnr.svg"
    figure.write_text("<svg>mine</svg>")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for run in (floor, other):
        with pytest.raises(InputError, match=r"frames-psnr\.svg has changed since the report was written: move it, or"):
            write_report([run], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    figure.rename(out / "mine.svg")
    figure.mkdir()
    with pytest.raises(InputError, match=r"frames-psnr\.svg has the name of a figure and is none: move it, or"):
        write_report([other], out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == {
        ("mine.svg" if name == figure.name else name): content for name, content in before.items()
    }
    figure.rmdir()
    write_report([other], out)
    assert (out / "mine.svg").read_text() == "<svg>mine</svg>"
    with (out / "index.html").open("a") as page:
        page.write("<!-- mine -->")
    with pytest.raises(InputError, match=r"index\.html has changed .*: move the folder away, or"):
        write_report([floor], out)


def test_a_report_without_a_record_of_its_files_is_replaced_only_where_it_is_known_to_be_unchanged(tmp_path):
    floor, other = (make_run(tmp_path / model, model, samples=1, metrics=["psnr"]) for model in ("black", "copy-last"))
    out = tmp_path / "site"

    def write_as_before(run):
        page = write_report([run], out)
        (out / "report.json").unlink()
        page.write_text(page.read_text().replace('href="report.json"', ""))

    write_as_before(floor)
    for run in (floor, other):  # the page has changed
        with pytest.raises(InputError, match=r"has no report\.json, so that nothing shows that its files are"):
            write_report([run], out)
    write_report([floor], out, unchanged=True)
    assert (out / "report.json").is_file()
    for forget in (lambda: write_as_before(floor), (out / "report.json").unlink):
        forget()
        write_report([floor], out, ended=True)
        assert (out / "report.json").is_file()


def test_a_file_that_no_report_wrote_is_not_replaced_by_one_of_its_name(tmp_path):
    floor = make_run(tmp_path / "black", model="black", samples=1, metrics=FEW)
    page = write_report([floor], tmp_path / "site")
    (picture,) = (tmp_path / "site").glob("frames-psnr.png")
    page.write_text(page.read_text().replace(picture.name, "other.png"))
    picture.write_text("mine")
    with pytest.raises(InputError, match=r"frames-psnr\.png is no report's, and in the way"):
        write_report([floor], tmp_path / "site")
    assert picture.read_text() == "mine"


def test_a_link_to_a_report_and_the_current_folder_are_written_into(tmp_path, monkeypatch):
    floor = make_run(tmp_path / "black", model="black", samples=1, metrics=FEW)
    (tmp_path / "site").mkdir()
    (tmp_path / "link").symlink_to("site")
    write_report([floor], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    monkeypatch.chdir(tmp_path / "site")
    assert CliRunner().invoke(main, ["report", "../black", "--out", "."]).exit_code == 0
    (tmp_path / "nowhere").symlink_to("missing")
    with pytest.raises(InputError, match="holds no report"):
        write_report([floor], tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["black", "link", "nowhere", "site"]


def test_folders_whose_names_are_no_utf_8_have_a_report(tmp_path):
    folders = [make_run(tmp_path / os.fsdecode(name), metrics=FEW) for name in (b"caf\xe9", b"caf\xe8")]
    page = write_report(folders, tmp_path / "site", ended=True)  # pytest-xdist cannot send a note with such a name
    assert r"puq (caf\udce9)" in page.read_text()


def test_a_report_of_several_runs_does_not_go_into_a_run(tmp_path):
    folders = [make_run(tmp_path / model, model, samples=1, metrics=FEW) for model in ("black", "copy-last")]
    config = json.loads((folders[0] / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps(dict.fromkeys(MARKS, "") | config))
    result = CliRunner().invoke(main, ["report", *map(str, folders), "--out", str(folders[0] / "report")])
    assert result.exit_code == 2
    assert "lies in the run" in result.stderr
    assert not (folders[0] / "report").exists()


def test_the_command_says_where_the_page_is(tmp_path):
    folders = [make_run(tmp_path / model, model, samples=1, metrics=FEW) for model in ("black", "copy-last")]
    result = CliRunner().invoke(main, ["report", str(folders[0])])
    assert (result.exit_code, result.stdout) == (0, f"report: {folders[0] / 'report/index.html'}\n")
    result = CliRunner().invoke(main, ["report", *map(str, folders)])
    assert (result.exit_code, result.stderr) == (2, "Error: a report of several runs needs --out\n")


def test_columns_of_another_stage_are_empty_and_drawn_where_they_are(tmp_path):
    folder = make_run(tmp_path / "run", metrics=FEW)
    lines = ["step,epoch,seconds,early,late", *(f"{n},0,{n},{n / 10}," for n in range(6)), "6,0,6,,9", "7,0,7,,8"]
    (folder / "training.csv").write_text("\n".join(lines) + "\n")
    curves = training_curves(open_runs([folder])[0])
    assert curves["early"].at.tolist() == [0, 1, 2, 3, 4, 5]
    assert (curves["late"].at.tolist(), curves["late"].value.tolist()) == ([6, 7], [9, 8])
    assert write_report([folder], tmp_path / "report").exists()


def test_a_training_of_no_steps_leaves_empty_files_and_has_a_report(tmp_path):
    folder = make_run(tmp_path / "run", metrics=FEW)
    for name in ("training.csv", "validation.csv"):
        (folder / name).write_text("")
    assert open_runs([folder])[0].validation is None
    assert write_report([folder], tmp_path / "report").exists()


def test_a_folder_that_holds_no_run_is_not_called_damaged(tmp_path):
    (tmp_path / "thesis").mkdir()
    for read in (open_run, lambda folder: compare(folder, tmp_path)):
        with pytest.raises(InputError, match=r"holds no run: it has no config\.json"):
            read(tmp_path / "thesis")


def test_colour_clips_have_a_whole_report(tmp_path):
    folder = full_run(tmp_path / "run", "m3so-nb", channels=3, metrics=FEW)
    page = write_report([folder], tmp_path / "report")
    assert all((page.parent / name).is_file() for name in References(page.read_text()).found)
    movie = imageio.imread(page.parent / "puq-clip-000005.mp4", index=7)
    assert np.ptp(movie.astype(int), axis=2).max() > 100


@pytest.fixture
def audio_only(monkeypatch):
    """A protocol in which a model is given no frame."""
    row = replace(find_protocol("m3so-nb"), name="audio-only", seen=0, reported=(1, 10, 20))
    monkeypatch.setitem(PROTOCOLS, row.name, row)
    return row


@pytest.mark.parametrize("channels", [1, 3])
def test_clips_without_seen_frames_have_a_whole_report(audio_only, tmp_path, channels):
    folder = full_run(tmp_path / "run", audio_only.name, channels, metrics=FEW)
    page = write_report([folder], tmp_path / "report")
    names = {"frames-psnr.svg", "puq-clip-000005-strip.png", "puq-clip-000005.mp4", "uncertainty.svg"}
    assert names <= set(References(page.read_text()).found)


def test_nothing_is_marked_as_seen_where_no_frame_was(audio_only, tmp_path):
    folder = full_run(tmp_path / "run", audio_only.name)
    opened = open_run(folder)
    panel = figures.by_frame([opened], METRICS["psnr"]).axes[0]
    assert [text.get_text() for text in panel.texts] == []
    assert panel.get_xticks().tolist() == [1, 10, 20]
    assert frame_curves(opened, "psnr")[f"mean of {K}"].at.tolist() == list(range(1, 21))
    axes = strips.strip(opened, opened.examples, 1).axes[0]
    assert "no frames seen" in axes.get_title()
    assert not axes.lines
    assert not (axes.images[0].get_array()[52:100, 2:50] == 230).all()  # the mean begins with frame 1
    assert movies.side_by_side(opened.examples, 0, "mean").shape[0] == 20
