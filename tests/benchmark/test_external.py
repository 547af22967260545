"""External predictions are scored as our own samples are, or refused with the reason."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmark import external, setup
from benchmark.catalogue import PROTOCOLS
from benchmark.cli import main
from benchmark.compare import compare
from benchmark.external import open_predictions, score_predictions
from benchmark.job import Job
from benchmark.run import run
from benchmark.scoring import evaluate, scores
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError

PROTOCOL = PROTOCOLS["m3so-nb"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"train": 2, "test": 3}, seed=2)


def folder(dataset, path, frames, **about):
    path.mkdir()
    np.save(path / "predictions.npy", frames)
    about = {"model": "theirs", "fingerprint": dataset.fingerprint, **about}
    (path / "predictions.json").write_text(json.dumps(about))
    return path


def copied(dataset, samples=1, dtype=np.uint8):
    """The last seen frame again and again: what copy-last predicts."""
    frames = dataset.split("test").frames[:, PROTOCOL.seen - 1]
    repeated = np.broadcast_to(frames[:, None, None, None], (3, samples, 20, 1, 48, 48))
    return repeated.copy() if dtype == np.uint8 else (repeated / np.float32(255)).astype(dtype)


def figures(rows, model):
    return rows[rows["model"] == model].drop(
        columns=["model", "seed", "steps", "batch", "settings", "preset", "precision"]
    )


@pytest.mark.parametrize(
    ("scaled", "note"),
    [
        (lambda levels: levels, ""),
        (lambda levels: levels // 255, "no level of clip 0 is above 1, and white is 255: floats may have been meant"),
        (lambda levels: levels // 128 * 2, "no level of clip 0 is above 2, and white is 255"),
        (lambda levels: levels * 0, ""),
        (lambda levels: levels / np.float32(255), ""),
        (
            lambda levels: levels / np.float32(255) / 255,
            "no value of clip 0 is above 0.0039, and white is 1: it may have been divided by 255 twice",
        ),
        (lambda levels: levels * np.float32(0), ""),
    ],
)
def test_predictions_that_may_be_scaled_wrongly_are_noted(dataset, tmp_path, caplog, scaled, note):
    theirs = folder(dataset, tmp_path / "theirs", scaled(copied(dataset)))
    open_predictions(theirs, dataset, PROTOCOL, "cpu")
    assert note in caplog.text
    assert len(caplog.records) == bool(note)


def test_keys_without_meaning_are_noted_and_a_fingerprint_may_have_capitals_and_white_space(dataset, tmp_path, caplog):
    fingerprint = f" {dataset.fingerprint.upper()}\n"
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset), Seed=3, fingerprint=fingerprint)
    assert open_predictions(theirs, dataset, PROTOCOL, "cpu").seed is None
    assert "predictions.json: nothing is made of Seed: known are model, fingerprint, seed" in caplog.text


def test_weights_that_no_named_metric_needs_are_noted(dataset, tmp_path, caplog):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    options = {"weights": tmp_path, "report": False, "device": "cpu"}
    score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", metrics="psnr", **options)
    assert "--weights is of no use: none of --metrics psnr needs published weights" in caplog.text


def test_a_file_with_the_name_of_results_is_refused_and_stays(dataset, tmp_path, monkeypatch):
    theirs, out = folder(dataset, tmp_path / "theirs", copied(dataset)), tmp_path / "out"
    arguments = (theirs, "m3so-nb", dataset.path, out, "cpu", "psnr")

    def stop(*inputs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.scoring.evaluate.write_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            score_predictions(*arguments, report=False)
    (out / "results.csv").write_text("mine,yours\n")
    with pytest.raises(InputError, match=r"results\.csv holds no results of a run: move it away, and give the same"):
        score_predictions(*arguments, report=False)
    (out / "results.csv").rename(tmp_path / "mine.csv")
    score_predictions(*arguments, report=False)
    assert (tmp_path / "mine.csv").read_text() == "mine,yours\n"


def test_ctrl_c_says_how_to_go_on(dataset, tmp_path, monkeypatch):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))

    def evaluate_until_ctrl_c(*inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(external, "evaluate", evaluate_until_ctrl_c)
    command = ["score", "--predictions", theirs, "--data", dataset.path, "--out", tmp_path / "out"]
    result = CliRunner().invoke(main, list(map(str, command)))
    assert result.exit_code == 130
    assert result.stderr.lstrip() == f"Stopped: the same command continues from what {tmp_path / 'out'} holds\n"
    monkeypatch.setattr(external, "open_predictions", evaluate_until_ctrl_c)
    result = CliRunner().invoke(main, list(map(str, [*command[:-1], tmp_path / "not made"])))
    assert result.stderr.lstrip() == "Stopped: nothing was written yet\n"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_copy_of_our_floor_gets_our_floors_figures(dataset, tmp_path, dtype):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset, dtype=dtype))
    rows, out = score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    ours, _ = run(Job("copy-last", data=dataset.path, out=tmp_path / "ours", device="cpu"))
    ours = ours[ours["metric"] != "aepe"]  # our floor predicts flow, too
    one, other = (figures(each, name).reset_index(drop=True) for each, name in ((rows, "theirs"), (ours, "copy-last")))
    pd.testing.assert_frame_equal(one, other)
    assert set(rows["model"]) == {"theirs", "black", "copy-last", "mean-seen"}
    assert (out / "results.csv").is_file()


def test_external_predictions_of_two_seeds_are_a_side_of_a_comparison(dataset, tmp_path):
    runs = []
    for seed in (3, 5):
        theirs = folder(dataset, tmp_path / f"theirs{seed}", copied(dataset) // seed, seed=seed)
        rows, out = score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / f"out{seed}", "cpu", "psnr")
        assert set(rows[rows["model"] == "theirs"]["seed"].astype(str)) == {str(seed)}
        runs.append(out)
    unknown = folder(dataset, tmp_path / "unknown", copied(dataset), model="others")
    runs.append(score_predictions(unknown, "m3so-nb", dataset.path, tmp_path / "out", "cpu", "psnr")[1])
    found = compare(*runs)
    assert found.one.training_in_words == "2 training seeds (3, 5)"
    assert found.other.training_in_words == "training seed unknown"


def test_several_samples_are_reduced_by_every_rule(dataset, tmp_path):
    samples = torch.rand(3, 4, 20, 1, 48, 48, generator=torch.Generator().manual_seed(0)).numpy()
    theirs = folder(dataset, tmp_path / "theirs", samples)
    rows, _ = score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    found = rows[rows["model"] == "theirs"]
    assert set(found["sampling"]) == {"mean", "best_sequence", "best_frame", "mean_frame", "pairs"}
    assert set(found["k"]) == {4}
    target = dataset.split("test").frames[:, 5:25] / 255
    expected = -10 * np.log10(((samples[:, :, :, 0] - target[:, None]) ** 2).mean((3, 4)))
    value = found.query("metric == 'psnr' and sampling == 'best_frame' and frame == '15'")["value"].item()
    assert value == pytest.approx(expected[:, :, 9].max(1).mean(), abs=1e-4)


def spoiled(dataset, index, value):
    frames = copied(dataset, 2, np.float32)
    frames[index] = value
    return frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"frames": copied(d)[:2]}, r"has 2 clips, the test split has 3"),
        (lambda d: {"frames": np.concatenate([copied(d)] * 2)}, r"has 6 clips, the test split has 3"),
        (
            lambda d: {"frames": copied(d)[:, :, :19]},
            r"has the shape \(3, 1, 19, .*\), \(3 clips, K, 20, 1, 48",
        ),
        (lambda d: {"frames": copied(d)[:, :0]}, "has the shape"),
        (lambda d: {"frames": copied(d).astype(np.int16)}, "holds int16: uint8, or floats within 0 and 1"),
        (lambda d: {"frames": spoiled(d, (1, 1, 4), np.nan)}, "clip 1, sample 1, predicted frame 5: .* nan is not"),
        (lambda d: {"frames": spoiled(d, (2, 0, 0, 0, 3, 3), 1.5)}, "clip 2, sample 0, predicted frame 1: .* 1.5 is"),
        (lambda d: {"frames": spoiled(d, (0, 0, 19, 0, 3, 3), -0.1)}, "predicted frame 20: .* -0.1 is not"),
        (
            lambda d: {"frames": np.where(copied(d, 1, np.float64) > 0.5, 1 + 1e-12, 0)},
            r"within 0 and 1, 1\.000000000001 is not",
        ),
        (lambda d: {"fingerprint": "0" * 64}, "they are of the dataset 0000"),
        (
            lambda d: {"fingerprint": d.fingerprint[:16]},
            r"the fingerprint '.{16}' is cut, .* has .{64}: write it whole",
        ),
        (lambda d: {"model": "puq"}, "'puq' is a model of this package: choose another name"),
        (lambda d: {"model": 3}, r"must hold .* \(model: Input should be a valid string\)"),
        (lambda d: {"model": "a/b"}, "a name has letters, digits, .* begins with a letter or a digit, not 'a/b'"),
        (lambda d: {"frames": np.array([object()])}, r"predictions\.npy cannot be read as numpy\.save writes"),
        (lambda d: {"model": "a" * 101}, "100 at most"),
        (lambda d: {"twice": True}, r"must hold .* \('model' is given twice\)"),
        (lambda d: {"flow": "nowhere"}, r"flow\.npy cannot be read"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(dataset, tmp_path, change, message):
    changes = {"frames": copied(dataset), **change(dataset)}
    flow, twice = changes.pop("flow", None), changes.pop("twice", False)
    theirs = folder(dataset, tmp_path / "theirs", **changes)
    if flow is not None:
        (theirs / "flow.npy").symlink_to(flow)
    if twice:
        manifest = theirs / "predictions.json"
        manifest.write_text(manifest.read_text().replace("{", '{"model": "other", '))
    with pytest.raises(InputError, match=message):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_file_that_comes_while_predictions_are_scored_stays_when_they_are_refused(dataset, tmp_path, monkeypatch):
    theirs = folder(dataset, tmp_path / "theirs", spoiled(dataset, (1, 1, 4), np.nan))

    def evaluate_beside_a_user(evaluation):
        (evaluation.folder / "training.csv").write_text("the user's")
        return evaluate.evaluate(evaluation)

    monkeypatch.setattr(external, "evaluate", evaluate_beside_a_user)
    with pytest.raises(InputError, match="nan is not"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["training.csv"]


def test_a_file_of_predictions_instead_of_their_folder_is_named(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    with pytest.raises(InputError, match=r"predictions\.npy is a file: name the folder that holds predictions"):
        score_predictions(theirs / "predictions.npy", "m3so-nb", dataset.path, tmp_path / "out", "cpu")


@pytest.mark.parametrize("change", [lambda file: file.write(b"\0" * 9), lambda file: file.truncate(0)])
def test_predictions_that_change_while_they_are_scored_are_refused(dataset, tmp_path, monkeypatch, change):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    score_clip = scores.score_clip

    def score_clip_and_write_predictions_again(*given):
        with (theirs / "predictions.npy").open("r+b") as file:
            change(file)
        return score_clip(*given)

    monkeypatch.setattr(scores, "score_clip", score_clip_and_write_predictions_again)
    with pytest.raises(InputError, match=r"predictions\.npy was changed or replaced while it was used: give the same"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    assert not any((tmp_path / "out").iterdir())


def test_mended_predictions_go_into_the_folder_that_refused_ones_left(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", spoiled(dataset, (2, 1, 4), np.nan))
    with pytest.raises(InputError, match="nan is not"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu", metrics="psnr", report=False)
    np.save(theirs / "predictions.npy", copied(dataset, 2))
    rows, _ = score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu", metrics="psnr", report=False)
    assert set(rows[rows["model"] == "theirs"]["k"]) == {2}


def test_predicted_flow_is_scored(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    flow = np.zeros((3, 1, 20, 2, 48, 48), np.float32)
    np.save(theirs / "flow.npy", flow)
    rows, _ = score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    found = rows[rows["metric"] == "aepe"].set_index(["model", "frame"])["value"]
    assert found["theirs", "mean"] == found["copy-last", "mean"] > 0  # that floor's flow is 0, too
    for value in (np.inf, np.nan, 1e10, 1e308):
        wide = flow.astype(np.float64)
        wide[1, 0, 7, 1, 0, 0] = value
        np.save(theirs / "flow.npy", wide)
        with pytest.raises(InputError, match=r"flow\.npy: clip 1, sample 0, predicted frame 8: values must be finite"):
            score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "other", "cpu")
    np.save(theirs / "flow.npy", flow[:, :, 1:])
    with pytest.raises(InputError, match=r"\(3, 1, 20, 2, 48, 48\) of floats is expected"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "other", "cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lpips", "--metrics lpips: it needs published weights"),
        ("aepe", "--metrics aepe: it needs a model that predicts flow, theirs does not"),
        ("fooling_rate", "--metrics fooling_rate: it needs samples that the model generates"),
    ],
)
def test_named_metrics_that_cannot_be_computed_are_refused(dataset, tmp_path, name, message):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    with pytest.raises(InputError, match=message):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu", metrics=f"psnr,{name}")
    assert not (tmp_path / "out").exists()


def test_text_in_an_npys_place_is_refused_without_advice_to_unpickle_it(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    (theirs / "predictions.npy").write_text("0 0 0 255")
    with pytest.raises(InputError, match=r"as numpy\.save writes arrays of numbers: it does not start like an \.npy"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def test_json_of_too_many_nested_lists_is_refused(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    (theirs / "predictions.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="fewer nested lists"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def test_a_missing_file_is_named_with_what_is_expected(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    (theirs / "predictions.json").unlink()
    options = ["--predictions", theirs, "--data", dataset.path, "--out", tmp_path / "out"]
    result = CliRunner().invoke(main, ["score", *map(str, options)])
    assert result.exit_code == 2
    assert 'must hold {"model": "a-name-of-yours", "fingerprint": "the dataset' in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_report_is_drawn_unless_the_user_does_without(dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluate, "write_report", lambda runs, out, ended: drawn.extend(runs))
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    out = tmp_path / "out"
    options = ["--predictions", theirs, "--data", dataset.path, "--out", out, "--metrics", "psnr"]
    for more, expected in (["--no-report"], []), ([], [out]):
        assert CliRunner().invoke(main, ["score", *map(str, options), *more]).exit_code == 0
        assert drawn == expected


def test_other_predictions_do_not_go_into_the_same_folder(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")
    np.save(theirs / "predictions.npy", 255 - copied(dataset))
    with pytest.raises(InputError, match="holds another run"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def test_an_npz_in_an_npys_place_is_refused(dataset, tmp_path):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    with (theirs / "predictions.npy").open("wb") as file:
        np.savez(file, frames=np.zeros(3))
    with pytest.raises(InputError, match="is an archive"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def header(text):
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


@pytest.mark.parametrize("shape", ["(((((", "(3, -1, 20, 1, 48, 48)", "(3, 99999999999999999999, 20, 1, 48, 48)"])
def test_a_damaged_npy_header_is_refused(dataset, tmp_path, shape):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    (theirs / "predictions.npy").write_bytes(
        header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}") + bytes(100)
    )
    with pytest.raises(InputError, match=r"predictions\.npy cannot be read as numpy\.save writes arrays of numbers"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


@pytest.mark.parametrize("name", ["predictions.npy", "predictions.json", "flow.npy"])
def test_a_pipe_in_a_files_place_is_refused(dataset, tmp_path, name):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset))
    (theirs / name).unlink(missing_ok=True)
    os.mkfifo(theirs / name)
    with pytest.raises(InputError, match=f"{name} is not a regular file"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def test_a_split_without_a_clip_to_score_is_refused(tmp_path):
    empty = generate(tmp_path / "empty", Spec(), {"train": 1, "test": 0}, seed=2)
    theirs = folder(empty, tmp_path / "theirs", np.zeros((0, 1, 20, 1, 48, 48), np.uint8))
    with pytest.raises(InputError, match="the test split is empty, so there is nothing to test on"):
        score_predictions(theirs, "m3so-nb", empty.path, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_more_samples_than_fit_into_memory_are_refused_before_any_is_read(dataset, tmp_path, monkeypatch):
    theirs = folder(dataset, tmp_path / "theirs", copied(dataset, samples=2))
    monkeypatch.setattr(setup.os, "sysconf", {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 12 * 20 * 48 * 48}.get)
    with pytest.raises(InputError, match=r"predictions\.npy, K = 2: .* GiB of memory: choose fewer than 1"):
        score_predictions(theirs, "m3so-nb", dataset.path, tmp_path / "out", "cpu")


def test_what_a_user_put_into_the_folder_meanwhile_stays_where_scoring_fails(dataset, tmp_path, monkeypatch):
    theirs, out = folder(dataset, tmp_path / "theirs", copied(dataset)), tmp_path / "out"

    def fail(evaluation):
        (out / "notes.txt").write_text("mine")
        (out / "scores").mkdir()
        (out / "scores/theirs").write_text("half")
        raise InputError("a value that no frame has")

    monkeypatch.setattr(external, "evaluate", fail)
    with pytest.raises(InputError, match="no frame has"):
        score_predictions(theirs, "m3so-nb", dataset.path, out, "cpu")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
