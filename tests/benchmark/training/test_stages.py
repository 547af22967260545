"""What a model may declare beside its losses: frozen modules, turns, early stops, state, annotations."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from baselines.predictor import ClipShape, EarlyStop, Loss, Player, Predictor, Progress, Stage, Turn
from benchmark.catalogue import PROTOCOLS
from benchmark.compute import Compute
from benchmark.training import checkpoint
from benchmark.training import loop as training
from benchmark.training.batches import OrderedBatches, StoredBatches, StreamedBatches, choose_batches
from benchmark.training.loop import Diverged, Training, TrainingPlan, make_batch, train
from benchmark.training.plan import CRITERION
from benchmark.training.processes import Ranks
from mmnist_av import families
from mmnist_av.clips import StoredClips
from mmnist_av.system.errors import InputError
from toys import Critic, FlowUser, Recurrent, TwoStage

CPU = Compute(torch.device("cpu"), bfloat16=False)
PROTOCOL = replace(PROTOCOLS["m3so-nb"], seen=3, train_predicted=2, reported=(6, 15))
SHAPE = ClipShape((1, 48, 48), (41, 21), seen=3, train_frames=5, fps=10)


def build(model_class):
    torch.manual_seed(0)
    return model_class(SHAPE)


def prepare(dataset, model, plan, folder, validate=None):
    folder.mkdir(exist_ok=True)
    batches = choose_batches(model, dataset, PROTOCOL.train_frames, plan)
    return Training(model, batches, PROTOCOL, plan, CPU, folder, run="run", validate=validate)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def kill_at(model, step):
    """Let the model's losses of this step end the process, as it were."""
    compute_losses = model.losses

    def losses(batch, progress):
        if progress.step == step:
            raise KeyboardInterrupt
        return compute_losses(batch, progress)

    model.losses = losses
    return model


def check_resumed_equals_single_go(dataset, make, plan, folder, steps, validate=lambda: None):
    """Check that a training killed at any of `steps` and resumed leaves the very checkpoint of one in a single go."""
    taken = train(prepare(dataset, make(), plan, folder / "whole", validate()))
    for step in steps:
        part = folder / f"killed at {step}"
        with pytest.raises(KeyboardInterrupt):
            train(prepare(dataset, kill_at(make(), step), plan, part, validate()))
        assert train(prepare(dataset, make(), plan, part, validate())) == taken
        name = "checkpoint.safetensors"
        assert (part / name).read_bytes() == (folder / "whole" / name).read_bytes()
    return taken


# Frozen modules


def test_a_frozen_module_keeps_every_bit_and_is_restored_afterwards(small_dataset, tmp_path):
    model, plan = build(TwoStage), TrainingPlan(6, 2, 0)
    states, modes, losses = [], [], model.losses

    def watch(batch, progress):
        if progress.stage == "prediction":
            states.append(state_of(model.encoder))
            modes.append({part.training for part in model.encoder.modules()})
            assert model.head.training
            assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
        return losses(batch, progress)

    model.losses = watch
    fresh, head = state_of(model.encoder), state_of(model.head)
    train(prepare(small_dataset, model, plan, tmp_path))
    assert len(states) == 3
    assert modes == [{False}] * 3
    assert not equal(fresh, states[0])  # the first stage has trained it
    assert "1.running_mean" in fresh
    assert equal(states[0], state_of(model.encoder))
    assert not equal(head, state_of(model.head))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_two_stage_model_killed_in_either_stage_ends_as_in_a_single_go(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    plan = TrainingPlan(6, 2, 0, annealed=0.5)
    check_resumed_equals_single_go(small_dataset, lambda: build(TwoStage), plan, tmp_path, [1, 3, 5])


def test_a_player_may_keep_parameters_of_a_frozen_module(small_dataset, tmp_path):
    class Whole(TwoStage):
        def players(self):
            return {"autoencoder": Player(list(self.parameters()), 1e-2), "head": Player(list(self.parameters()), 1e-2)}

    model = build(Whole)
    train(prepare(small_dataset, model, TrainingPlan(2, 2, 0), tmp_path / "one"))
    encoder = state_of(model.encoder)
    model = build(Whole)
    model.stages = lambda: (
        Stage("autoencoder", ("autoencoder",), share=0.25),
        Stage("prediction", ("head",), share=0.75, frozen=("encoder", "decoder")),
    )
    train(prepare(small_dataset, model, TrainingPlan(4, 2, 0), tmp_path / "two"))
    assert equal(state_of(model.encoder), encoder)


# Turns


def test_a_critic_and_a_generator_in_turns_have_the_weights_of_a_plain_loop(small_dataset, tmp_path):
    plan, model, plain = TrainingPlan(4, 2, 0), build(Critic), build(Critic)
    train(prepare(small_dataset, model, plan, tmp_path))
    batches = choose_batches(plain, small_dataset, PROTOCOL.train_frames, plan)
    parts = {"critic": plain.critic, "generator": plain.generator}
    adams = {name: torch.optim.Adam(part.parameters(), 1e-2, (0.5, 0.9), fused=True) for name, part in parts.items()}
    plain.train()
    for step in range(4):
        torch.manual_seed(training.step_seed(0, step))
        batch = make_batch(plain, batches(step)[1], PROTOCOL, CPU.device)
        for player in ["critic"] * 5 + ["generator"]:
            loss = plain.losses(batch, Progress(step, 0, players=(player,)))[player].total
            gradients = torch.autograd.grad(loss, list(parts[player].parameters()))
            for parameter, gradient in zip(parts[player].parameters(), gradients, strict=True):
                parameter.grad = gradient
            adams[player].step()
    assert equal(state_of(model), state_of(plain))
    log = pd.read_csv(tmp_path / "training.csv")
    assert list(log.columns) == ["step", "epoch", "seconds", "critic", "critic/penalty", "generator"]
    assert len(log.dropna()) == 4


class Counter(Predictor):
    """Counts the updates of its players; `b` is left out at odd steps, `c` takes its turn at every third one."""

    def __init__(self, shape=None):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.zeros(())) for _ in range(3))
        self.calls = []

    def players(self):
        return {name: Player([getattr(self, name)], 0.1) for name in "abc"}

    def stages(self):
        turns = (Turn(("a", "b"), may_skip=True), Turn(("c",), every=3))
        return Stage("first", ("a",), share=0.2), Stage("second", ("a", "b", "c"), share=0.8, turns=turns)

    def losses(self, batch, progress):
        self.calls.append((progress.step, progress.players, round(self.a.item(), 3)))
        names = [name for name in progress.players if name != "b" or progress.step % 2 == 0]
        return {name: Loss(-getattr(self, name) * 1.0) for name in names}


def test_turns_are_counted_within_their_stage_follow_each_other_and_may_skip_a_player(small_dataset, tmp_path):
    model = Counter()
    train(prepare(small_dataset, model, TrainingPlan(10, 2, 0), tmp_path))
    assert (round(model.a.item(), 3), round(model.b.item(), 3), round(model.c.item(), 3)) == (1.0, 0.4, 0.3)
    assert [step for step, players, _ in model.calls if players == ("c",)] == [2, 5, 8]  # the stage begins at step 2
    assert model.calls[:5] == [
        (0, ("a",), 0.0),
        (1, ("a",), 0.1),
        (2, ("a", "b"), 0.2),
        (2, ("c",), 0.3),  # after `a` was updated
        (3, ("a", "b"), 0.3),
    ]
    log = pd.read_csv(tmp_path / "training.csv")
    assert list(log["step"][log["b"].notna()]) == [2, 4, 6, 8]
    assert list(log["step"][log["c"].notna()]) == [2, 5, 8]


def test_a_player_may_be_left_out_only_where_its_turn_says_so(small_dataset, tmp_path):
    model = Counter()
    model.stages = lambda: (Stage("only", ("a", "b"), turns=(Turn(("a", "b")),)),)
    with pytest.raises(InputError, match=r"Counter\.losses must return the losses of the players a, b, not of a"):
        train(prepare(small_dataset, model, TrainingPlan(2, 2, 0), tmp_path))


# Losses and gradients that are not finite


class Fragile(Predictor):
    """One weight has a NaN gradient at step 1, the other one is always fine; both have the loss NaN at step 2."""

    def __init__(self, on_nonfinite):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.on_nonfinite = on_nonfinite

    def players(self):
        return {"only": Player([self.weights], 0.1, betas=(0.0, 0.0), clip_norm=1.0, on_nonfinite=self.on_nonfinite)}

    def losses(self, batch, progress):
        first = (self.weights[0] * 0).sqrt() if progress.step == 1 else self.weights[0]
        total = first + self.weights[1]
        return {"only": Loss(total * float("nan") if progress.step == 2 else total)}


def test_gradients_that_are_not_finite_are_set_to_zero_where_the_player_says_so(small_dataset, tmp_path):
    model = Fragile("zero")
    assert train(prepare(small_dataset, model, TrainingPlan(4, 2, 0), tmp_path)) == 4
    assert model.weights.tolist() == pytest.approx([1 - 2 * 0.1, 1 - 3 * 0.1])  # of 4 steps, Adam's are its rate
    with pytest.raises(Diverged, match="step 1: the gradient of its player 'only' is nan"):
        train(prepare(small_dataset, Fragile("stop"), TrainingPlan(4, 2, 0), tmp_path / "stop"))


# Early stops


class Patient(TwoStage):
    """The two-stage toy, whose stages stop early."""

    def stages(self):
        first, second = super().stages()
        stop = EarlyStop("psnr", patience=2)
        return replace(first, stop=stop), replace(second, stop=replace(stop, metric="aepe"))


class Scores:
    """A validation with given values of PSNR and end-point error, the same after the same number of steps."""

    def __init__(self, **values):
        self.values = values

    def __call__(self, steps, epoch):
        rows = [
            {"metric": metric, "sampling": sampling, "frame": "mean", "value": value[steps] + shift, "step": steps}
            for metric, value in self.values.items()
            for sampling, shift in (("mean", 0.0), ("best_sequence", 100.0 * steps))
        ]
        return pd.DataFrame(rows).assign(**{CRITERION: 0.0})


def falling_scores():
    # PSNR is best after 4 steps; the error, lower is better, after 12
    psnr = {steps: -abs(steps - 4.0) for steps in range(1, 41)}
    aepe = {steps: abs(steps - 12.0) for steps in range(1, 41)}
    return Scores(psnr=psnr, aepe=aepe)


def test_a_stage_ends_when_its_metric_stops_improving_and_the_next_keeps_its_own_steps(small_dataset, tmp_path):
    plan, model = TrainingPlan(40, 2, 0, eval_every=2), build(Patient)
    stages, losses = [], model.losses

    def watch(batch, progress):
        stages.append((progress.stage, progress.share))
        return losses(batch, progress)

    model.losses = watch
    assert train(prepare(small_dataset, model, plan, tmp_path, falling_scores())) == 16
    # best after 4 steps, and after 6 and 8 no better: 8 steps; then best after 12, and after 14 and 16 no better
    assert [name for name, _ in stages] == ["autoencoder"] * 8 + ["prediction"] * 8
    assert [share for _, share in stages] == [number / 20 for number in [*range(8), *range(8)]]
    saved, _ = checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert (saved.step, saved.position.stage) == (16, 2)
    assert train(prepare(small_dataset, build(Patient), plan, tmp_path, falling_scores())) == 16  # nothing to do
    assert list(pd.read_csv(tmp_path / "training.csv")["step"]) == list(range(16))


def test_a_stage_that_keeps_improving_takes_its_share_and_the_end_is_validated(small_dataset, tmp_path):
    rising = {steps: float(steps) for steps in range(1, 41)}
    plan, model = TrainingPlan(9, 2, 0, eval_every=2), build(Patient)
    model.stages = lambda: (*Patient.stages(model)[:1], Stage("prediction", ("head",), share=0.5))
    assert train(prepare(small_dataset, model, plan, tmp_path / "rising", Scores(psnr=rising))) == 9
    flat = dict.fromkeys(rising, 1.0)
    assert train(prepare(small_dataset, model, replace(plan, steps=22), tmp_path / "flat", Scores(psnr=flat))) == 17
    assert list(pd.read_csv(tmp_path / "flat/validation.csv")["step"].unique()) == [2, 4, 6, 8, 10, 12, 14, 16, 17]


def test_a_training_with_early_stops_killed_anywhere_ends_as_in_a_single_go(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    plan = TrainingPlan(40, 2, 0, annealed=0.5, eval_every=2)
    steps = [2, 5, 7, 8, 11, 15]
    taken = check_resumed_equals_single_go(
        small_dataset, lambda: build(Patient), plan, tmp_path, steps, validate=falling_scores
    )
    assert taken == 16
    whole = (tmp_path / "whole/validation.csv").read_bytes()
    assert all((tmp_path / f"killed at {step}/validation.csv").read_bytes() == whole for step in steps)


def test_an_early_stop_without_validation_is_refused(small_dataset, tmp_path):
    for validate, eval_every in ((None, 2), (falling_scores(), 0)):
        plan = TrainingPlan(8, 2, 0, eval_every=eval_every)
        with pytest.raises(
            InputError, match=r"Patient ends its stage 'autoencoder' when psnr .*--eval-every 1 or more"
        ):
            train(prepare(small_dataset, build(Patient), plan, tmp_path, validate))


def test_a_stage_is_stopped_only_by_a_metric_that_scores_samples(small_dataset, tmp_path):
    model, plan = build(Patient), TrainingPlan(8, 2, 0, eval_every=2)
    model.stages = lambda: (Stage("only", ("autoencoder",), stop=EarlyStop("fvd", 1)),)
    with pytest.raises(InputError, match="fvd cannot stop stage 'only'"):
        train(prepare(small_dataset, model, plan, tmp_path, falling_scores()))
    model.stages = lambda: (Stage("only", ("autoencoder",), stop=EarlyStop("psrn", 1)),)
    with pytest.raises(InputError, match="did you mean psnr"):
        train(prepare(small_dataset, model, plan, tmp_path, falling_scores()))


# The best weights


class Peaks(Scores):
    """A validation whose score peaks after 2 steps and, in the second stage, after 6 and 7; it keeps the weights."""

    def __init__(self, model):
        super().__init__(psnr=dict.fromkeys(range(1, 41), 1.0))
        self.model, self.seen = model, {}

    def __call__(self, steps, epoch):
        self.seen[steps] = state_of(self.model)
        rows = super().__call__(steps, epoch)
        return rows.assign(**{CRITERION: {2: "0.3", 6: "0.2", 7: "0.2"}.get(steps, f"{steps / 100}")})


def test_the_weights_of_the_last_stages_best_validation_are_kept_beside_the_last_ones(small_dataset, tmp_path):
    model, plan = build(TwoStage), TrainingPlan(10, 2, 0, eval_every=1)
    validate = Peaks(model)
    train(prepare(small_dataset, model, plan, tmp_path, validate))
    path, other = tmp_path / "checkpoint.safetensors", build(TwoStage)
    assert checkpoint.load_weights(path, other, "best") == "best: step 7 (validation above_floors 0.2)"
    assert equal(state_of(other), validate.seen[7])
    assert checkpoint.load_weights(path, other, "last") == "last: step 10"
    assert equal(state_of(other), state_of(model))
    assert not equal(validate.seen[7], validate.seen[10])


def test_without_validation_the_last_weights_are_the_best_known(small_dataset, tmp_path):
    model = build(TwoStage)
    train(prepare(small_dataset, model, TrainingPlan(4, 2, 0), tmp_path))
    other = build(TwoStage)
    assert checkpoint.load_weights(tmp_path / "checkpoint.safetensors", other, "best") == "last: step 4"
    assert equal(state_of(other), state_of(model))


def test_the_best_weights_of_a_killed_training_are_those_of_one_in_a_single_go(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 3)
    plan, models = TrainingPlan(10, 2, 0, eval_every=1), []

    def make():
        models.append(build(TwoStage))
        return models[-1]

    check_resumed_equals_single_go(
        small_dataset, make, plan, tmp_path, [2, 3, 7, 8, 9], validate=lambda: Peaks(models[-1])
    )


# State from clip to clip


def test_state_goes_from_clip_to_clip_in_order_and_is_reset_before_every_epoch(small_dataset, tmp_path):
    model, states, indices = build(Recurrent), [], []
    losses, batches = model.losses, OrderedBatches.__call__

    def watch(batch, progress):
        states.append(model.state.clone())
        found = losses(batch, progress)
        states.append(model.state.clone())
        return found

    model.losses = watch
    plan = TrainingPlan(6, 2, 0)  # 5 clips in 2 runs of 2
    job = prepare(small_dataset, model, plan, tmp_path)
    train(job)
    before, after = states[::2], states[1::2]
    assert [len(state) for state in before] == [0, 2] * 3
    for step in (1, 3, 5):
        assert torch.equal(before[step], after[step - 1])
        assert before[step].abs().min() > 0
    indices = [batches(job.batches, step)[1]["index"].tolist() for step in range(4)]
    assert indices == [[0, 2], [1, 3], [0, 2], [1, 3]]


def test_a_training_with_state_killed_within_an_epoch_ends_as_in_a_single_go(small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 1)
    plan = TrainingPlan(5, 2, 0)
    check_resumed_equals_single_go(small_dataset, lambda: build(Recurrent), plan, tmp_path, [1, 2, 3])


def test_a_model_with_state_needs_ordered_clips_and_one_process(small_dataset, tmp_path):
    plan = TrainingPlan(2, 2, 0)
    job = prepare(small_dataset, build(Recurrent), plan, tmp_path)
    shuffled = StoredBatches(StoredClips(small_dataset.split("train"), 5), plan)
    with pytest.raises(InputError, match="Recurrent keeps state from clip to clip and needs a stored dataset"):
        train(replace(job, batches=shuffled))
    with pytest.raises(InputError, match="Recurrent keeps state from clip to clip: train it in one process"):
        train(replace(job, compute=replace(CPU, ranks=Ranks(0, 2))))


# Annotations


def test_a_model_that_needs_flow_learns_from_it(small_dataset, tmp_path):
    model = build(FlowUser)
    train(prepare(small_dataset, model, TrainingPlan(10, batch=5, seed=0), tmp_path))
    flow = pd.read_csv(tmp_path / "training.csv")["all/flow"]
    assert (flow.diff().dropna() < 0).all()


def test_a_stream_without_the_annotation_is_refused_and_one_that_has_it_is_used(small_dataset, tmp_path):
    stream = families.find("m3so").stream(small_dataset, 2, 5, 0, 1, None)
    job = prepare(small_dataset, build(FlowUser), TrainingPlan(1, 2, 0), tmp_path)

    class Annotated:
        batch = 2

        def batch_at(self, number):
            return {**stream.batch_at(number), "flow": torch.ones(2, 5, 2, 48, 48)}

    class Bare(Annotated):
        def batch_at(self, number):
            return {name: value for name, value in stream.batch_at(number).items() if name != "flow"}

    with pytest.raises(InputError, match=r"FlowUser needs flow of its training clips, .* without --data stream"):
        train(replace(job, batches=StreamedBatches(Bare(), epoch_clips=4)))
    assert train(replace(job, batches=StreamedBatches(Annotated(), epoch_clips=4))) == 1
