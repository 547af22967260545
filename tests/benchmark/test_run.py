"""The whole job on a small dataset: what it leaves, that it repeats, resumes, and refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from benchmark import run as run_module
from benchmark import setup as run_setup
from benchmark.catalogue import PRESETS, find_protocol
from benchmark.compare import compare
from benchmark.finished import rows_of_finished
from benchmark.job import Job
from benchmark.metrics import fooling, named
from benchmark.options import Stream
from benchmark.report.runs import open_runs
from benchmark.report.summary import summary
from benchmark.report.write import renew_report, write_report, write_report_elsewhere
from benchmark.run import run
from benchmark.runs.pretrained import pretrained_config
from benchmark.runs.seal import check_complete, check_seal, find_missing, remove_seal
from benchmark.scoring import scores as scoring
from benchmark.scoring.rows import read_rows
from benchmark.training import batches as training
from benchmark.training import loop as training_loop
from benchmark.training.validation import Validation
from mmnist_av.dataset import open_dataset
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from mmnist_av.system.files import LOCK, PART, sha256, sole_writer
from narrow import THIN


@pytest.fixture(scope="session")
def nb_dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "m3so-nb"
    return generate(out, Spec(obstacle=False), {"train": 6, "val": 1, "test": 3}, seed=2)


SETTINGS = {**THIN, "transformer_warm_up": "0"}  # so that two steps let some audio through


def job(dataset, out: Path, **changes) -> Job:
    return replace(
        Job("puq", data=dataset.path, out=out, samples=3, steps=2, device="cpu", settings=SETTINGS), **changes
    )


@pytest.fixture(scope="session")
def finished(nb_dataset, tmp_path_factory):
    """A finished run of puq: its rows and folder; to be read only."""
    return run(job(nb_dataset, tmp_path_factory.mktemp("runs") / "puq"))


def test_a_run_leaves_its_config_environment_log_checkpoint_scores_and_rows(finished, nb_dataset):
    _, folder = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "environment.json",
        "examples.npz",
        "files.json",
        "job.json",
        "report",
        "results.csv",
        "scores.npz",
        "training.csv",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["fingerprint"] == nb_dataset.fingerprint
    assert config["settings"]["hidden"] == 16
    assert (config["model"], config["steps"], config["samples"], config["seed"]) == ("puq", 2, 3, 0)
    assert {"torch", "machine", "precision", "code_version"} <= set(
        json.loads((folder / "environment.json").read_text())
    )
    assert list(pd.read_csv(folder / "training.csv")["step"]) == [0, 1]


def test_rows_hold_model_and_floors_under_each_sampling_and_reported_frame(finished):
    rows, folder = finished
    assert set(rows["model"]) == {"puq", "black", "copy-last", "mean-seen"}
    assert len(read_rows(folder / "results.csv")) == len(rows)
    published, others = (
        {"psnr", "ssim", "ssim_uniform"},
        {"psnr_exact", "digit_visible", "position_error", "digit_accuracy"},
    )
    of_clips = {"ink", "bounce_f1", "sync_lag", "self_similarity", "aepe", "uncertainty_rank"}
    assert set(rows["metric"]) == published | others | of_clips
    own = rows[rows["model"] == "puq"].groupby("metric")["sampling"].agg(set)
    assert all(own[name] == {"mean", "best_sequence", "best_frame", "mean_frame"} for name in published)
    assert all(own[name] == {"mean", "mean_frame"} for name in others)
    rows = rows[rows["metric"].isin(published | others)]
    assert set(rows["frame"]) == {"6", "15", "25", "mean"}
    assert set(rows[rows["model"] != "puq"]["sampling"]) == {"single"}
    assert len(rows) == 4 * (len(published) * (4 + 3) + len(others) * (2 + 3))
    seen = rows["metric"].isin(["position_error", "digit_accuracy"])
    assert (rows[~seen]["clips"] == 3).all()
    assert (rows[seen & (rows["model"] == "black")]["clips"] == 0).all()  # which shows no digit anywhere
    assert (rows[seen & (rows["model"] == "copy-last")]["clips"] == 3).all()


def test_a_batch_is_never_larger_than_the_training_split(nb_dataset, tmp_path):
    few = generate(tmp_path / "few", Spec(), {"train": 1, "test": 1}, seed=2)
    rows, _ = run(job(few, tmp_path / "run", model="svg-lp", settings={"hidden": "16"}, steps=1, samples=1))
    assert set(rows[rows["model"] == "svg-lp"]["batch"]) == {"1"}
    scored = rows[rows["clips"] == 1]
    assert len(scored)
    assert scored[["low", "high"]].isna().all(axis=None)  # an interval of one clip is none


def test_rows_say_where_they_come_from(finished, nb_dataset):
    rows, _ = finished
    for column in ("seed", "dataset", "device", "precision", "code_version", "machine"):
        assert rows[column].nunique() == 1
    learned = rows["model"] == "puq"
    assert set(rows[learned]["settings"]) == {";".join(f"{name}={value}" for name, value in SETTINGS.items())}
    assert set(rows[learned]["steps"]) == {"2"}
    assert set(rows[~learned]["settings"]) == {""}
    assert set(rows[~learned]["steps"]) == {"0"}
    assert set(rows["fingerprint"]) == {nb_dataset.fingerprint}


def test_the_best_weights_are_scored_unless_the_last_are_wanted_and_the_rows_say_which(
    nb_dataset, tmp_path, monkeypatch
):
    falling = iter([0.3, 0.2, 0.1])
    monkeypatch.setattr(Validation, "above_floors", lambda self, scores: next(falling))
    first = job(nb_dataset, tmp_path / "best", steps=3, eval_every=1, metrics="psnr", report=False)
    best, trained = run(first)
    last, _ = run(
        replace(first, out=tmp_path / "last", trained=trained, checkpoint="last", steps=None, eval_every=None)
    )
    own = [rows[rows["model"] == "puq"] for rows in (best, last)]
    assert set(own[0]["checkpoint"]) == {"best: step 1 (validation above_floors 0.3)"}
    assert list(read_rows(trained / "validation.csv")["above_floors"].unique()) == ["0.3", "0.2", "0.1"]
    assert set(own[1]["checkpoint"]) == {"last: step 3"}
    assert (own[0]["value"].to_numpy() != own[1]["value"].to_numpy()).all()
    assert set(best[best["model"] == "black"]["checkpoint"]) == {""}


def test_rows_are_reductions_of_the_kept_scores(finished):
    rows, folder = finished
    with np.load(folder / "scores.npz") as scores:
        psnr = scores["puq/psnr"]
        assert psnr.shape == (3, 3, 20)  # clips, samples, frames
        expected = {
            ("mean", "6"): psnr[:, :, 0].mean(),
            ("best_frame", "25"): psnr[:, :, 19].max(1).mean(),
            ("best_sequence", "mean"): psnr.mean(2).max(1).mean(),
            ("mean_frame", "15"): scores["puq/psnr/mean_frame"][:, 9].mean(),
        }
        black = scores["black/psnr"][:, 0, 19].mean()
    found = rows[rows["metric"] == "psnr"].set_index(["model", "sampling", "frame"])["value"]
    for (sampling, frame), value in expected.items():
        assert found["puq", sampling, frame] == pytest.approx(value, rel=1e-6)
    assert found["black", "single", "25"] == pytest.approx(black, rel=1e-6)


def test_floors_are_scored_on_the_true_frames(finished, nb_dataset):
    rows, _ = finished
    true = nb_dataset.split("test").frames[:, 5:25].astype(np.float64) / 255
    seen = nb_dataset.split("test").frames[:, 4].astype(np.float64) / 255
    black = 10 * np.log10(1 / (true**2).mean((2, 3)))
    copy = 10 * np.log10(1 / np.maximum(((true - seen[:, None]) ** 2).mean((2, 3)), 1e-6))
    found = rows[rows["metric"] == "psnr"].set_index(["model", "frame"])["value"]
    assert found["black", "mean"] == pytest.approx(black.mean(), rel=1e-5)
    assert found["copy-last", "6"] == pytest.approx(copy[:, 0].mean(), rel=1e-5)


def test_two_runs_with_one_seed_give_the_same_results_file(finished, nb_dataset, tmp_path):
    _, folder = finished
    run(job(nb_dataset, tmp_path / "again"))
    assert (tmp_path / "again/results.csv").read_bytes() == (folder / "results.csv").read_bytes()


def test_another_seed_gives_other_results(finished, nb_dataset, tmp_path):
    rows, _ = finished
    other, _ = run(job(nb_dataset, tmp_path / "other", seed=1))
    mine = rows["model"] == "puq"
    assert not np.array_equal(rows[mine]["value"], other[mine]["value"])
    assert np.array_equal(rows[~mine]["value"], other[~mine]["value"], equal_nan=True)  # floors have no seed


def test_a_run_killed_while_scoring_continues_and_ends_with_the_same_results(
    finished, nb_dataset, tmp_path, monkeypatch
):
    _, folder = finished
    scored, score_clip = [], scoring.score_clip

    def score_one_clip_then_die(*arguments):
        if len(scored) == 4:  # of the model and of three floors
            raise KeyboardInterrupt
        scored.append(arguments)
        return score_clip(*arguments)

    monkeypatch.setattr(scoring, "score_clip", score_one_clip_then_die)
    with pytest.raises(KeyboardInterrupt):
        run(job(nb_dataset, tmp_path / "killed"))
    records = tmp_path / "killed/scores/puq"
    records.write_bytes(records.read_bytes() + b"torn")  # half a record is not taken for whole
    monkeypatch.setattr(scoring, "score_clip", lambda *given: scored.append(given) or score_clip(*given))
    run(job(nb_dataset, tmp_path / "killed"))
    assert len(scored) == 4 * 3  # three clips, of which one was scored before
    assert (tmp_path / "killed/results.csv").read_bytes() == (folder / "results.csv").read_bytes()
    assert not (tmp_path / "killed/scores").exists()


def test_a_finished_run_is_not_done_again(finished, nb_dataset, tmp_path, monkeypatch):
    rows, folder = finished
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr(scoring, "score_clip", None)
    monkeypatch.setattr(run_module, "train", lambda training: training.plan.steps)
    again, _ = run(job(nb_dataset, tmp_path / "copy"))
    pd.testing.assert_frame_equal(again, rows)
    assert (tmp_path / "copy/files.json").read_bytes() == (folder / "files.json").read_bytes()


def test_a_finished_run_is_scored_by_more_metrics_without_training_again(finished, nb_dataset, tmp_path, monkeypatch):
    rows, folder = finished
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr(fooling, "STEPS", 2)
    more, _ = run(job(nb_dataset, tmp_path / "copy", metrics="fooling_rate,psnr"))
    judges = ("fooling_rate", "fooling_rate_true")
    assert set(more["metric"]) == {*rows["metric"], *judges}
    judged = more[more["metric"].isin(judges)]
    assert set(judged["model"]) == {"puq"}
    assert set(judged[judged["metric"] == "fooling_rate_true"]["sampling"]) == {"single"}
    assert judged["value"].between(0, 1).all()
    kept = more[~more["metric"].isin(judges)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, rows)
    for name in ("checkpoint.safetensors", "training.csv"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "training.csv", "scores.npz", "examples.npz", "results.csv"]
)
def test_a_changed_file_of_a_finished_run_is_named(finished, nb_dataset, tmp_path, name):
    shutil.copytree(finished[1], tmp_path / "copy")
    path = tmp_path / "copy" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(f"has changed since its run ended: {name} has changed", nb_dataset, tmp_path / "copy")


def test_a_stochastic_model_with_one_sample_is_called_single(nb_dataset, tmp_path):
    rows, _ = run(job(nb_dataset, tmp_path / "one", samples=1))
    assert set(rows["sampling"]) == {"single"}


def test_a_floor_runs_without_training(nb_dataset, tmp_path):
    rows, folder = run(job(nb_dataset, tmp_path / "floor", model="black", settings={}))
    assert list(dict.fromkeys(rows["model"])) == ["black", "copy-last", "mean-seen"]
    assert not (folder / "training.csv").exists()


def test_the_block_is_scored_in_m3so(small_dataset, tmp_path):
    rows, folder = run(Job("copy-last", "m3so", data=small_dataset.path, out=tmp_path / "m3so"))
    block = rows[rows["metric"] == "block_iou"]
    assert set(block["frame"]) == {"70"}
    assert set(rows["frame"]) == {"31", "42", "70", "mean"}
    with np.load(folder / "scores.npz") as scores:
        assert scores["copy-last/block_iou"].shape == (3, 1, 1)


def test_a_dataset_is_generated_once_without_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = replace(PRESETS["demo"], train_clips=2, val_clips=1, test_clips=2)
    monkeypatch.setitem(PRESETS, "demo", small)
    _, folder = run(Job("black"))
    assert folder == Path("runs/black-m3so-nb-demo-seed0")
    before = Path("data/m3so-nb-demo/dataset.json").stat().st_mtime_ns
    run(Job("copy-last"))
    assert Path("data/m3so-nb-demo/dataset.json").stat().st_mtime_ns == before


def refused(match, dataset, out, **changes):
    with pytest.raises(InputError, match=match):
        run(job(dataset, out, **changes))


@pytest.mark.parametrize(("model", "split", "steps"), [("black", "test", None), ("puq-no-disc", "train", 2)])
def test_a_dataset_that_changes_while_it_is_used_is_refused(tmp_path, monkeypatch, model, split, steps):
    dataset = generate(tmp_path / "data", Spec(), {"train": 2, "test": 3}, seed=2)

    def open_and_write_again(setup):
        with (dataset.path / split / "frames.npy").open("r+b") as file:
            file.truncate(0)
        return ""

    monkeypatch.setattr(run_module, "opening_line", open_and_write_again)
    monkeypatch.setattr(run_module, "try_model", lambda setup: None)
    with pytest.raises(InputError, match=rf"{split}/frames\.npy was changed or replaced while it was used"):
        run(Job(model, data=dataset.path, out=tmp_path / "run", steps=steps, samples=1, report=False, device="cpu"))
    assert not (tmp_path / "run/results.csv").exists()


def test_a_package_that_takes_a_floors_name_is_named_before_the_training(nb_dataset, tmp_path, install):
    install("their-package", "avbench.models", {"black": "baselines.floors:Black"})
    refused("the model 'black' of their-package .* has the name of one of ours", nb_dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_of_another_world_say_so(tmp_path):
    spec = Spec(bounce="specular", frames=40)
    dataset = generate(tmp_path / "data", spec, {"train": 1, "test": 1}, seed=0)
    rows, _ = run(job(dataset, tmp_path / "run", model="black", settings={}))
    assert set(rows["dataset"]) == {"M3SO-NB digits=embedded frames=40 bounce=specular"}


def test_a_stream_takes_the_place_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "demo", replace(PRESETS["demo"], train_clips=16, val_clips=0, test_clips=2))
    rows, folder = run(Job("puq", data=Stream(), samples=2, steps=2, device="cpu", settings=THIN))
    assert set(rows["dataset"]) == {"M3SO-NB digits=embedded stream"}
    assert [path.name for path in Path("data").iterdir()] == ["m3so-nb-demo-without-train"]
    stored = generate(tmp_path / "all", Spec(), {"train": 32, "test": 2}, seed=0)
    test = open_dataset(Path("data") / "m3so-nb-demo-without-train").split("test")
    np.testing.assert_array_equal(test.frames, stored.split("test").frames)
    # the first epoch of the stream is the first clips in order: a shuffle that changes nothing gives the same weights
    monkeypatch.setattr(training, "batch_indices", lambda clips, plan, step: (step // 8, range(step * 2, step * 2 + 2)))
    _, other = run(
        Job("puq", data=stored.path, out=tmp_path / "other", samples=2, steps=2, device="cpu", settings=THIN)
    )
    weights = [safetensors.torch.load_file(each / "checkpoint.safetensors") for each in (folder, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_folder_with_another_run_or_with_something_else_is_refused(finished, nb_dataset, tmp_path):
    _, folder = finished
    refused("holds another run .*seed: 0 found, 1 requested", nb_dataset, folder, seed=1)
    refused("holds another run .*settings", nb_dataset, folder, settings={**SETTINGS, "beta": "1"})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/draft.txt").write_text("precious")
    refused("is not empty and holds no run", nb_dataset, tmp_path / "thesis")
    assert (tmp_path / "thesis/draft.txt").read_text() == "precious"


@pytest.mark.parametrize("config", [None, b'{"model": "pu'])
def test_a_training_whose_config_is_lost_says_how_to_get_it_back(finished, nb_dataset, tmp_path, config):
    _, folder = finished
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("files.json", "config.json"))
    if config is not None:
        (copy / "config.json").write_bytes(config)
    fault = "missing" if config is None else "damaged"
    refused(f"holds a checkpoint.safetensors, but its config.json is {fault}: restore it, or take", nb_dataset, copy)
    run(job(nb_dataset, tmp_path / "short", steps=1))
    (copy / "config.json").write_bytes((tmp_path / "short/config.json").read_bytes())
    refused("checkpoint.safetensors belongs to another run", nb_dataset, copy, steps=1)
    (copy / "config.json").write_bytes((folder / "config.json").read_bytes())
    run(job(nb_dataset, copy))
    for name in ("results.csv", "checkpoint.safetensors"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_named_after_the_home_is_a_folder_like_any_other(nb_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    run(job(nb_dataset, Path("~/floor"), model="black", settings={}))
    assert Path("~/floor/results.csv").is_file()
    assert not any((tmp_path / "home").iterdir())


def test_numbers_that_make_no_sense_are_refused_before_anything_is_written(nb_dataset, tmp_path):
    out = tmp_path / "none"
    refused("samples must be at least 1, not 0", nb_dataset, out, samples=0)
    refused("steps must be at least 0, not -1", nb_dataset, out, steps=-1)
    refused("seed must be at least 0, not -1", nb_dataset, out, seed=-1)
    refused("--samples 100000000: .* GiB of memory: choose fewer than", nb_dataset, out, samples=100_000_000)
    refused("eval_every must be at least 0, not -1", nb_dataset, out, eval_every=-1)
    refused("devices must be at least 1, not 0", nb_dataset, out, devices=0)
    refused("2 clips cannot be shared evenly among 3 processes", nb_dataset, out, devices=3)
    refused("unknown model 'pug': did you mean puq", nb_dataset, out, model="pug")
    refused("unknown setting of puq 'etta2': did you mean eta2", nb_dataset, out, settings={"etta2": "1"})
    refused("needs the dataset m3so of the family m3so, .* is m3so-nb", nb_dataset, out, protocol="m3so")
    assert not out.exists()


def test_a_dataset_with_a_flipped_byte_is_refused_and_the_file_named(nb_dataset, tmp_path):
    shutil.copytree(nb_dataset.path, tmp_path / "data")
    path = tmp_path / "data/train/audio.npy"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    refused("train/audio.npy", nb_dataset, tmp_path / "out", data=tmp_path / "data")


def test_a_run_of_other_code_is_not_continued(finished, nb_dataset, tmp_path, monkeypatch):
    shutil.copytree(finished[1], tmp_path / "copy")
    monkeypatch.setattr(run_setup.environment, "code_version", lambda *classes: "9.9.9")
    refused("holds another run .code_version: .* go back to that code; --trained", nb_dataset, tmp_path / "copy")


def test_a_run_killed_before_its_config_was_written_starts_again(nb_dataset, tmp_path):
    out = tmp_path / "killed"
    out.mkdir()
    (out / f".config.json.123{PART}").write_text('{"mod')
    run(job(nb_dataset, out, model="black", settings={}))
    assert not list(out.glob(".*"))


def test_files_that_the_command_can_remake_are_remade(finished, nb_dataset, tmp_path, drawn):
    shutil.copytree(finished[1], tmp_path / "copy")
    for name in ("scores.npz", "results.csv", "examples.npz"):
        (tmp_path / "copy" / name).unlink()
    shutil.rmtree(tmp_path / "copy/report")
    run(job(nb_dataset, tmp_path / "copy"))
    assert (tmp_path / "copy/files.json").read_bytes() == (finished[1] / "files.json").read_bytes()


def test_a_report_that_a_run_did_not_draw_is_neither_sealed_nor_named(nb_dataset, tmp_path, drawn):
    black = job(nb_dataset, tmp_path / "run", model="black", settings={}, metrics="psnr")
    rows, folder = run(black)
    assert f"report: {folder / 'report/index.html'}" in summary(rows, find_protocol("m3so-nb"), folder)
    run(replace(black, report=False))
    assert (folder / "report/index.html").exists()
    assert "report/index.html" not in (folder / "files.json").read_text()
    assert f"to draw its report: avbench report {folder}" in summary(rows, find_protocol("m3so-nb"), folder)
    check_seal(folder)


def test_a_folder_that_another_process_writes_is_left_alone(nb_dataset, tmp_path):
    with sole_writer(tmp_path / "busy"):
        refused("being written by another process", nb_dataset, tmp_path / "busy")
    assert not any((tmp_path / "busy").iterdir())


def test_two_processes_do_a_job_as_one_and_rank_0_scores(nb_dataset, tmp_path):
    pytest.importorskip("lightning_fabric")
    options = {"steps": 1, "eval_every": 1, "tensorboard": True, "metrics": "psnr", "report": False}
    rows, folder = run(job(nb_dataset, tmp_path / "two", devices=2, **options))
    pd.testing.assert_frame_equal(rows, read_rows(folder / "results.csv"))
    assert set(rows[rows["model"] == "puq"]["clips"]) == {3}
    assert json.loads((folder / "config.json").read_text())["ranks"] == 2
    assert set(pd.read_csv(folder / "validation.csv")["step"]) == {1}
    assert not (folder / LOCK).exists()
    refused("ranks: 2 found, 1 requested", nb_dataset, folder, **options)


def test_a_finished_runs_model_is_scored_without_training_it_again(finished, nb_dataset, tmp_path, monkeypatch):
    rows, trained = finished
    monkeypatch.setattr(run_module, "train", None)
    again, folder = run(job(nb_dataset, tmp_path / "again", trained=trained, steps=None))
    pd.testing.assert_frame_equal(again.drop(columns="pretrained"), rows.drop(columns="pretrained"))
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained"]["protocol"] == "m3so-nb"
    assert set(rows["pretrained"]) == {""}
    (text,) = set(again[again["model"] == "puq"]["pretrained"])
    assert text.startswith(f"m3so-nb, {config['code_version']}, ")
    assert text.endswith(f"checkpoint {config['pretrained']['checkpoint'][:12]}")
    assert config["pretrained"]["checkpoint"] == sha256(trained / "checkpoint.safetensors")
    assert not (folder / "checkpoint.safetensors").exists()


def test_under_av_mismatch_a_model_is_given_the_next_clips_sound_and_is_scored_on_its_own(
    finished, nb_dataset, tmp_path
):
    _, trained = finished
    own = scoring.read_scores(trained / "scores.npz")
    rows, folder = run(
        job(nb_dataset, tmp_path / "mismatch", protocol="m3so-nb-av-mismatch", trained=trained, steps=None)
    )
    assert set(rows["protocol"]) == {"m3so-nb-av-mismatch"}
    other = scoring.read_scores(folder / "scores.npz")
    assert np.array_equal(own["black"]["psnr"], other["black"]["psnr"])
    assert not np.array_equal(own["puq"]["psnr"], other["puq"]["psnr"])
    examples = np.load(trained / "examples.npz"), np.load(folder / "examples.npz")
    assert np.array_equal(*(each["target"] for each in examples))
    assert np.array_equal(examples[0]["audio"][[1, 2, 0]], examples[1]["audio"])
    assert set(compare(trained, folder).rows["metric"]) >= {"psnr", "ssim"}
    page = write_report([trained, folder], tmp_path / "report").read_text()
    assert "puq, other sound" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"model": "sound2sight"}, "model is puq there, sound2sight here"),
        ({"settings": {**SETTINGS, "beta": "0.5"}}, "the setting beta is 0.001 there, 0.5 here"),
        ({"steps": 2}, "takes a training as it was: leave out --steps"),
        ({"model": "black", "settings": {}}, "black needs no training"),
    ],
)
def test_a_pretrained_run_that_does_not_fit_is_refused(finished, nb_dataset, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(replace(job(nb_dataset, tmp_path / "run", trained=finished[1], steps=None), **changes))
    assert not list(tmp_path.glob("run/*"))


def test_a_trained_run_that_is_unfinished_damaged_or_of_another_training_is_refused(
    finished, nb_dataset, small_dataset, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(finished[1], copy)
    requested = job(nb_dataset, tmp_path / "run", trained=copy, steps=None)
    with pytest.raises(InputError, match="is the folder of this run"):
        run(replace(requested, out=copy))
    facts = json.loads((copy / "config.json").read_text())
    with pytest.raises(InputError, match="m3so-nb does not train as m3so does"):
        pretrained_config(copy, {**facts, "protocol": "m3so"})
    with pytest.raises(InputError, match="nothing was trained there"):
        run(
            replace(
                requested, trained=run(job(nb_dataset, tmp_path / "black", model="black", settings={}, steps=None))[1]
            )
        )
    damaged = bytearray((copy / "checkpoint.safetensors").read_bytes())
    damaged[-1] ^= 1
    (copy / "checkpoint.safetensors").write_bytes(damaged)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors has changed"):
        run(requested)
    (copy / "files.json").unlink()
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged"):
        run(requested)
    (copy / "checkpoint.safetensors").unlink()
    with pytest.raises(InputError, match="no finished training there"):
        run(requested)


def test_a_checkpoint_of_another_run_is_not_scored_as_the_run_it_lies_in(finished, nb_dataset, tmp_path):
    _, other = run(job(nb_dataset, tmp_path / "other", seed=1, report=False, metrics="psnr"))
    copy = tmp_path / "copy"
    shutil.copytree(finished[1], copy)
    shutil.copy(other / "checkpoint.safetensors", copy)
    (copy / "files.json").unlink()
    requested = job(nb_dataset, tmp_path / "run", trained=copy, steps=None)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is another run's \(seed: 1 found, 0 requested\)"):
        run(requested)


def test_scores_of_another_run_or_of_nobody_knows_whom_are_not_taken(finished, nb_dataset, tmp_path):
    _, other = run(job(nb_dataset, tmp_path / "other", seed=1, report=False))
    copy = tmp_path / "copy"
    shutil.copytree(finished[1], copy)
    for name in ("files.json", "results.csv"):
        (copy / name).unlink()
    shutil.copy(other / "scores.npz", copy)
    another = r"is of another run \(seed: 1 found, 0 requested\)"
    refused(f"{another}: move it away to score again", nb_dataset, copy)
    for read in (open_runs, lambda runs: compare(*runs, other)):
        with pytest.raises(InputError, match=f"{another}: restore the run's own"):
            read([copy])
    with np.load(finished[1] / "scores.npz") as arrays:
        np.savez(copy / "scores.npz", **{name: arrays[name] for name in arrays.files if name != scoring.RUN})
    refused("does not say which run it is of, as an older version wrote it: move it away", nb_dataset, copy)
    assert open_runs([copy])[0].samples == 3  # older runs are still read


def test_a_trained_run_whose_environment_is_lost_serves(finished, nb_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished[1], copy)
    (copy / "files.json").unlink()
    (copy / "environment.json").write_text("{")
    _, folder = run(job(nb_dataset, tmp_path / "run", trained=copy, steps=None, report=False, metrics="psnr"))
    assert json.loads((folder / "config.json").read_text())["pretrained"]["machine"] == "unknown"


def test_a_finished_training_serves_although_its_run_failed_and_the_code_has_changed_since(
    finished, nb_dataset, tmp_path, monkeypatch
):
    def fail(evaluation):
        raise InputError("the prediction has 19 frames")

    rows, _ = finished
    failed = job(nb_dataset, tmp_path / "failed")
    with monkeypatch.context() as broken:
        broken.setattr(run_module, "evaluate", fail)
        with pytest.raises(InputError, match="19 frames"):
            run(failed)
    monkeypatch.setattr(run_setup.environment, "code_version", lambda *classes: "9.9.9")
    with pytest.raises(InputError, match="holds another run"):
        run(failed)
    again, _ = run(replace(failed, out=tmp_path / "again", trained=failed.out, steps=None))
    assert np.array_equal(again["value"], rows["value"], equal_nan=True)
    assert set(again["code_version"]) == {"9.9.9"}
    (text,) = set(again[again["model"] == "puq"]["pretrained"])
    assert rows["code_version"][0] in text


def test_a_split_of_one_clip_is_refused_under_av_mismatch_before_training(tmp_path, monkeypatch):
    one = generate(tmp_path / "one", Spec(), {"train": 2, "test": 1}, seed=2)
    monkeypatch.setattr(run_module, "train", None)
    with pytest.raises(InputError, match="takes another clip's sound, and there is one clip"):
        run(job(one, tmp_path / "run", protocol="m3so-nb-av-mismatch"))


def test_a_model_that_a_stream_trained_is_scored_under_another_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = replace(PRESETS["demo"], train_clips=4, val_clips=1, test_clips=2, batch=2)
    monkeypatch.setitem(PRESETS, "demo", tiny)
    streamed = Job("puq", data=Stream(), samples=2, steps=1, device="cpu", settings=THIN)
    _, trained = run(streamed)
    rows, _ = run(replace(streamed, protocol="m3so-nb-av-mismatch", trained=trained.resolve(), steps=None))
    assert set(rows["dataset"]) == {"M3SO-NB digits=embedded stream"}


def test_the_metric_that_is_scored_first_does_not_decide_how_many_samples_there_were(finished, nb_dataset, tmp_path):
    shutil.copytree(finished[1], tmp_path / "copy")
    remove_seal(tmp_path / "copy")
    for name in ("scores.npz", "results.csv", "examples.npz"):
        (tmp_path / "copy" / name).unlink()
    for metrics in ("self_similarity", "standard"):
        _, folder = run(job(nb_dataset, tmp_path / "copy", metrics=metrics))
        assert open_runs([folder])[0].samples == 3


def test_a_wrong_job_is_refused_before_a_dataset_is_generated(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for changes, message in (
        ({"trained": tmp_path / "nowhere", "steps": None}, "no finished training there"),
        ({"trained": finished[1], "steps": None, "seed": 5}, "seed is 0 there, 5 here"),
        ({"weights": tmp_path / "nowhere"}, "there is no such folder"),
    ):
        with pytest.raises(InputError, match=message):
            run(replace(Job("puq", out=tmp_path / "run", settings=THIN), **changes))
    assert not any(tmp_path.iterdir())


def test_named_metrics_that_cannot_be_computed_are_refused_before_the_training(
    finished, nb_dataset, tmp_path, monkeypatch
):
    requested = job(nb_dataset, tmp_path / "run", trained=finished[1], steps=None, metrics="psnr,aepe")
    with pytest.raises(InputError, match="--metrics aepe: it needs a model that predicts flow, puq does not"):
        run(requested)
    monkeypatch.setattr(named, "check_weights", lambda text, source: None)
    with pytest.raises(InputError, match="--metrics fid: it needs 16 test clips"):
        run(replace(requested, metrics="psnr,fid"))
    assert not (tmp_path / "run").exists()


def test_clips_of_several_digits_are_scored_by_the_metrics_that_fit(tmp_path):
    several = generate(tmp_path / "two", Spec(digits_per_clip=2), {"train": 2, "test": 2}, seed=2)
    rows, _ = run(job(several, tmp_path / "run", model="black", settings={}))
    assert {"psnr", "ssim"} <= set(rows["metric"])
    assert not {"aepe", "digit_accuracy"} & set(rows["metric"])


def test_a_job_that_failed_can_be_changed_and_run_in_the_same_folder(tmp_path):
    no_val = generate(tmp_path / "no-val", Spec(), {"train": 2, "test": 2}, seed=2)
    with pytest.raises(InputError, match="the val split is empty, so there is nothing to validate on: --eval-every 0"):
        run(job(no_val, tmp_path / "run", eval_every=1))
    with pytest.raises(InputError, match="history=30 leaves no frame to judge"):
        run(job(no_val, tmp_path / "run", settings={**THIN, "history": "30"}))
    assert (tmp_path / "run/config.json").exists()
    run(job(no_val, tmp_path / "run"))


def test_floors_and_references_need_no_training_clips(tmp_path):
    only = generate(tmp_path / "only", Spec(), {"test": 2}, seed=2)
    assert len(run(job(only, tmp_path / "run", model="black", settings={}))[0])


def test_a_run_that_continues_on_another_machine_names_both(finished, nb_dataset, tmp_path, monkeypatch):
    shutil.copytree(finished[1], tmp_path / "copy")
    here = json.loads((tmp_path / "copy/environment.json").read_text())["machine"]
    monkeypatch.setattr(run_setup.environment, "machine", lambda device: "another machine")
    for _ in range(2):
        rows, _ = run(job(nb_dataset, tmp_path / "copy", metrics="standard"))
        assert set(rows["machine"]) == {f"{here}, then another machine"}


LATE = """
import sys
import torch
from torch import nn
from baselines.predictor import Loss, Player, Prediction, Predictor
class Late(Predictor):
    modality, stochastic, paper = "V", False, ""
    def __init__(self, shape):
        super().__init__()
        self.factor, self.drawn = nn.Parameter(torch.tensor(1.0)), 0
    def players(self):
        return {"fade": Player([self.factor], 1e-3)}
    def losses(self, batch, progress):
        if progress.step == 1: LOSSES
        return {"fade": Loss((self.factor * batch.frames).mean())}
    def predict(self, context, samples, noise):
        self.drawn += 1
        if self.drawn == 2: PREDICT
        return Prediction(torch.zeros(len(context.frames), samples, context.predicted, *context.frames.shape[2:]))
"""


@pytest.mark.parametrize("raised", ["raise ValueError('late')", "sys.exit()", "torch.zeros(2) @ torch.zeros(3)"])
@pytest.mark.parametrize(("method", "line"), [("LOSSES", 14), ("PREDICT", 18)])
def test_an_error_that_a_third_partys_model_raises_late_is_named_with_its_line(
    method, line, raised, nb_dataset, tmp_path, install
):
    source = LATE.replace(method, raised).replace("LOSSES", "pass").replace("PREDICT", "pass")
    install("their-package", "avbench.models", {"late": "late:Late"}, late=source)
    with pytest.raises(
        InputError, match=rf"late failed with (ValueError|SystemExit|RuntimeError).* \(late\.py, line {line}\)"
    ):
        run(job(nb_dataset, tmp_path / "run", model="late", settings={}, eval_every=0))
    assert (tmp_path / "run" / "checkpoint.safetensors").exists() == (method == "PREDICT")
    assert (tmp_path / "run" / "config.json").exists()


def test_an_error_in_our_own_code_keeps_its_traceback_although_the_model_is_a_third_partys(
    nb_dataset, tmp_path, install, monkeypatch
):
    install(
        "their-package",
        "avbench.models",
        {"late": "late:Late"},
        late=LATE.replace("LOSSES", "0").replace("PREDICT", "0"),
    )
    monkeypatch.setattr(training_loop, "check_losses", None)
    with pytest.raises(TypeError):
        run(job(nb_dataset, tmp_path / "run", model="late", settings={}, eval_every=0))


def test_a_finished_runs_report_is_drawn_again_and_sealed(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "copy")
    page = tmp_path / "copy/report/index.html"
    page.write_text(page.read_text() + " ")
    with pytest.raises(InputError, match=r"report/index\.html has changed"):
        renew_report(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/report")
    assert renew_report(tmp_path / "copy") == page
    check_seal(tmp_path / "copy")
    assert "report/index.html" in (tmp_path / "copy/files.json").read_text()


def test_a_report_of_an_incomplete_run_names_what_is_missing_and_its_command_still_makes_it_again(
    finished, nb_dataset, tmp_path, caplog
):
    copy, missing = tmp_path / "copy", ["results.csv", "scores.npz"]
    shutil.copytree(finished[1], copy)
    for name in missing:
        (copy / name).unlink()
    again = f"{copy}: results.csv, scores.npz are missing: give the run's command again to have them made again"
    renew_report(copy)
    assert caplog.messages == [again]
    assert sorted(find_missing(copy)) == missing
    write_report_elsewhere([copy], tmp_path / "site")
    assert caplog.messages == [again, again]
    assert rows_of_finished(job(nb_dataset, copy)) is None
    run(job(nb_dataset, copy))
    check_complete(copy)
