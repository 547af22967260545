"""Validation: what it computes, that it changes nothing in the model, and that a resumed run has the same rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from baselines.floors import CopyLast
from baselines.predictor import ClipShape, EarlyStop
from baselines.puq import PUQ, PUQConfig
from benchmark.catalogue import PROTOCOLS
from benchmark.compute import Compute
from benchmark.scoring.ground_truth import TargetClips
from benchmark.scoring.rows import read_rows
from benchmark.training import loop as training
from benchmark.training.batches import choose_batches
from benchmark.training.checkpoint import read
from benchmark.training.loop import Training, TrainingPlan, train
from benchmark.training.validation import Validation
from mmnist_av.m3so.generate import generate
from mmnist_av.m3so.spec import Spec
from mmnist_av.system.errors import InputError
from toys import Critic, FlowUser, Recurrent, TwoStage

CPU = Compute(torch.device("cpu"), bfloat16=False)
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2, test_predicted=4, reported=(4, 7))
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=3, train_frames=5, fps=10)
PLAN = TrainingPlan(steps=5, batch=4, seed=3, eval_every=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "nb", Spec(), {"train": 5, "val": 3, "test": 2}, seed=1)


def puq():
    torch.manual_seed(0)
    config = PUQConfig(hidden=16, transformer_width=16, feedforward=16, embedding=16)
    return PUQ(ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10), config)


def validation_of(model, dataset, split="val"):
    clips = TargetClips(dataset, split, PROTOCOL, len(dataset.split(split)), CPU.device)
    return Validation(model, "puq", clips, "demo", 3, CPU, {"seed": 3})


def train_on(dataset, folder, plan=PLAN, model=None):
    folder.mkdir(exist_ok=True)
    model = model or puq()
    batches = choose_batches(model, dataset, PROTOCOL.train_frames, plan)
    validate = validation_of(model, dataset) if plan.eval_every else None
    return train(Training(model, batches, PROTOCOL, plan, CPU, folder, run="run", validate=validate))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """A training with validations: its folder; to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_EVERY", 2)
        train_on(dataset, folder)
    return folder


def test_a_deterministic_models_rows_are_its_errors_on_the_val_clips(dataset):
    rows = validation_of(CopyLast(SHAPE), dataset)(steps=10, epoch=2)
    target = dataset.split("val").frames[:, :7].astype(np.float64) / 255
    psnr = 10 * np.log10(1 / np.maximum(((target[:, 3:] - target[:, 2:3]) ** 2).mean((2, 3)), 1e-6))
    found = rows[rows["metric"] == "psnr"].set_index("frame")["value"]
    assert found["4"] == pytest.approx(psnr[:, 0].mean(), rel=1e-5)
    assert found["mean"] == pytest.approx(psnr.mean(), rel=1e-5)
    assert set(rows["sampling"]) == {"single"}
    assert set(rows["metric"]) == {"psnr", "ssim", "ssim_uniform", "ink"}
    assert set(zip(rows["split"], rows["step"], rows["epoch"], rows["clips"], strict=True)) == {("val", "10", "2", 3)}


def test_the_criterion_counts_frames_below_a_floor_as_0_so_that_fading_gains_nothing(dataset):
    target = dataset.split("val").frames[:, :7].astype(np.float64) / 255

    def psnr(frames):
        return 10 * np.log10(1 / np.maximum(((target[:, 3:] - frames) ** 2).mean((2, 3)), 1e-6))  # (N, T)

    floors = [np.zeros_like(target[:, 3:]), target[:, 2:3], target[:, :3].mean(1, keepdims=True)]
    floor = np.max([psnr(frames).mean(0) for frames in floors], axis=0)
    validation = validation_of(CopyLast(SHAPE), dataset)
    np.testing.assert_allclose(validation.highest_floor, floor, rtol=1e-5)
    above = np.array([[3, -9, 0, 1], [2, -1, -1, -1], [-9, -9, -9, -9]])  # (K, T); the second is best as a whole
    samples = (floor + above)[None].repeat(3, 0)
    assert validation.above_floors({"psnr": samples}) == pytest.approx(2 / 4, rel=1e-4)
    assert validation.above_floors({"psnr": samples[:, 2:]}) == 0
    rows = validation(10, 2)
    own = np.maximum(psnr(target[:, 2:3]).mean(0) - floor, 0).mean()
    assert rows["above_floors"].astype(float).to_numpy() == pytest.approx(own, abs=1e-5)


def test_modules_stay_in_the_mode_they_were_in(dataset):
    model = puq().train()
    model.generator.audio_encoder.eval()
    modes = [module.training for module in model.modules()]
    rows = validation_of(model, dataset)(1, 0)
    assert [module.training for module in model.modules()] == modes
    model.eval()
    pd.testing.assert_frame_equal(validation_of(model, dataset)(1, 0), rows)


def test_there_are_rows_every_so_many_steps_and_at_the_end(whole):
    rows = pd.read_csv(whole / "validation.csv")
    assert len(read_rows(whole / "validation.csv")) == len(rows)
    assert list(rows["step"].unique()) == [2, 4, 5]
    assert list(rows["epoch"].unique()) == [1, 3, 4]  # one batch an epoch
    assert set(rows["sampling"]) == {"mean", "best_sequence", "best_frame", "mean_frame"}
    assert set(rows["k"]) == {5}
    assert set(rows["frame"]) == {"4", "7", "mean"}
    assert len(rows) == 3 * (3 * 4 + 1) * 3  # ink has no sampling rule but the mean
    curve = rows[(rows["metric"] == "psnr") & (rows["sampling"] == "mean") & (rows["frame"] == "mean")]["value"]
    assert curve.nunique() == 3


def test_weights_are_those_of_a_training_without_validation(whole, dataset, tmp_path):
    train_on(dataset, tmp_path / "without", replace(PLAN, eval_every=0))
    assert not (tmp_path / "without/validation.csv").exists()
    without, validated = (read(folder / "checkpoint.safetensors")[1] for folder in (tmp_path / "without", whole))
    assert {*validated} > {*without}  # the best weights beside the last
    assert all(torch.equal(value, validated[name]) for name, value in without.items())


def test_a_killed_and_resumed_training_has_the_rows_of_one_in_a_single_go(whole, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    model = puq()
    losses = model.losses

    def die(batch, progress):
        if progress.step == 4:  # checkpoint after 3 steps, validations after 2 and 4
            raise KeyboardInterrupt
        return losses(batch, progress)

    model.losses = die
    with pytest.raises(KeyboardInterrupt):
        train_on(dataset, tmp_path / "broken", model=model)
    with (tmp_path / "broken/validation.csv").open("a") as file:
        file.write("puq,m3so")  # torn by the kill
    train_on(dataset, tmp_path / "broken")
    assert (tmp_path / "broken/validation.csv").read_bytes() == (whole / "validation.csv").read_bytes()


@pytest.mark.parametrize(
    ("lost", "line"),
    [
        ("a validation", "lacks validations before step 5: restore it, or move it away to continue without its rows"),
        ("a row", "lacks validations before step 5"),
        ("text", "is damaged"),
    ],
)
def test_missing_rows_are_refused(whole, dataset, tmp_path, lost, line):
    for name in ("checkpoint.safetensors", "training.csv"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    lines = (whole / "validation.csv").read_bytes().splitlines(keepends=True)
    kept = {"a validation": lines[:37] + lines[73:], "a row": lines[:-1], "text": [*lines, b"\xff\xfe"]}[lost]
    (tmp_path / "validation.csv").write_bytes(b"".join(kept))
    with pytest.raises(InputError, match=rf"validation\.csv {line}"):
        train_on(dataset, tmp_path)
    assert (tmp_path / "validation.csv").read_bytes() == b"".join(kept)


class Stopping(TwoStage):
    """The two-stage toy, which stops its first stage when it predicts the block no better."""

    metric = "block_iou"

    def stages(self):
        first, second = super().stages()
        return replace(first, stop=EarlyStop(self.metric, patience=1)), second


def test_the_metric_that_stops_a_stage_is_validated_and_stops_it(tmp_path):
    dataset = generate(tmp_path / "blocks", Spec(obstacle=True, block_frame=3), {"train": 4, "val": 2}, seed=1)
    model = Stopping(SHAPE)
    assert [metric.name for metric in validation_of(model, dataset).metrics][-1] == "block_iou"
    taken = train_on(dataset, tmp_path / "run", TrainingPlan(40, 4, 0, eval_every=2), model)
    rows = pd.read_csv(tmp_path / "run/validation.csv")
    assert "block_iou" in set(rows["metric"])
    stage_ends = 1 + np.flatnonzero(np.diff(pd.read_csv(tmp_path / "run/training.csv")["head"].notna()))
    assert stage_ends < 20
    assert taken == stage_ends + 20


def test_a_metric_that_the_dataset_cannot_serve_is_refused(dataset):
    with pytest.raises(InputError, match="block_iou: it needs block of the dataset"):
        validation_of(Stopping(SHAPE), dataset)(1, 0)


@pytest.mark.parametrize("toy", [Critic, FlowUser, Recurrent, TwoStage])
def test_any_model_is_validated_and_left_in_its_state_and_modes(dataset, toy):
    torch.manual_seed(0)
    model = toy(SHAPE).train()
    if toy is Recurrent:
        model.state = torch.rand(4, 1)
    if toy is TwoStage:
        model.encoder.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rows = validation_of(model, dataset)(1, 0)
    assert rows["value"].between(-1, 60).all()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    pd.testing.assert_frame_equal(validation_of(model, dataset)(1, 0), rows)
