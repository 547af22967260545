"""What several processes do in the tests of training together: in a module that new processes can import."""

from pathlib import Path

import torch
from torch import nn

from baselines import registry
from baselines.predictor import ClipShape, Loss, Player, Predictor
from benchmark.catalogue import Protocol
from benchmark.compute import Compute
from benchmark.training.batches import choose_batches
from benchmark.training.loop import Training, TrainingPlan, train
from benchmark.training.processes import ALONE, Ranks
from mmnist_av.dataset import open_dataset
from mmnist_av.system.errors import InputError
from narrow import narrow, thin
from toys import TOYS

Job = tuple[str, Path, Path, Protocol, TrainingPlan]  # model, dataset, folder of the training, and the rest


class Rivals(Predictor):
    """Two players on one forward pass, without batch norm; the noise is only logged, so that it moves no weight."""

    def __init__(self):
        super().__init__()
        self.maker, self.judge = nn.Linear(48, 48), nn.Linear(48, 1)
        self.unused = nn.Parameter(torch.zeros(1))

    def players(self):
        maker = Player([*self.maker.parameters(), self.unused], 1e-2, clip_norm=1e-3)
        return {"maker": maker, "judge": Player(list(self.judge.parameters()), 1e-2)}

    def losses(self, batch, progress):
        lines = batch.frames.mean((1, 2, 3))
        drawn = self.maker(lines)
        mistake = nn.functional.softplus(self.judge(drawn) - self.judge(lines)).mean()
        maker = Loss((drawn - lines).square().mean() - mistake, {"noise": torch.rand(())})
        return {"maker": maker, "judge": Loss(mistake)}


def build(name: str) -> Predictor:
    torch.manual_seed(0)
    shape = ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10)
    if name == "rivals":
        return Rivals()
    if name in TOYS:
        return TOYS[name](shape)
    with narrow():
        return registry.build(name, shape, registry.configure(name, thin(name)))


def learn(job: Job, ranks: Ranks = ALONE) -> None:
    """Train the model of this name on a dataset in a folder."""
    name, dataset, folder, protocol, plan = job
    model = build(name)
    batches = choose_batches(model, open_dataset(dataset), protocol.train_frames, plan, ranks)
    compute = Compute(torch.device("cpu"), False, ranks)
    train(Training(model, batches, protocol, plan, compute, folder, run="run"))


def work_together(jobs: list[Job], ranks: Ranks) -> None:
    """Do all jobs, the last by `cooperate`, in processes that are started once: that takes most of their time."""
    *trainings, (_, *last) = jobs
    for job in trainings:
        learn(job, ranks)
    cooperate(tuple(last), ranks)


def train_two_stages(job: tuple[Path, Path, Protocol, TrainingPlan], ranks: Ranks) -> None:
    """Train the two-stage toy, and write whether its encoder ends as it was when its second stage began."""
    dataset, folder, protocol, plan = job
    model, states = build("two-stage"), []
    compute_losses = model.losses

    def watch(batch, progress):
        if progress.stage == "prediction" and not states:
            states.append({name: value.clone() for name, value in model.encoder.state_dict().items()})
        return compute_losses(batch, progress)

    model.losses = watch
    batches = choose_batches(model, open_dataset(dataset), protocol.train_frames, plan, ranks)
    train(Training(model, batches, protocol, plan, Compute(torch.device("cpu"), False, ranks), folder, run="run"))
    kept = all(torch.equal(value, states[0][name]) for name, value in model.encoder.state_dict().items())
    (folder / f"encoder {ranks.rank}").write_text("kept as the first stage left it" if kept else "changed")


def cooperate(job: tuple[Path, Path, Protocol, TrainingPlan], ranks: Ranks) -> None:
    """Train together, and write what each rank knows of the others; then rank 0 writes a file, and meets an error."""
    train_two_stages(job, ranks)
    folder = job[1]
    common = sorted(ranks.in_common(["both", f"only {ranks.rank}"]))
    (folder / f"rank {ranks.rank}").write_text(f"{ranks.broadcast(ranks.rank + 7)} {' '.join(common)}")
    ranks.agree("same", compare)
    try:
        ranks.agree(f"run {ranks.rank}", compare)
    except InputError as error:
        (folder / f"difference {ranks.rank}").write_text(str(error))

    ranks.first(lambda: (folder / "written").write_text("1"))
    if int((folder / "written").read_text()) != 1:  # the others find what rank 0 wrote
        raise AssertionError

    def fail() -> None:
        (folder / f"failed in {ranks.rank}").touch()
        raise InputError("the disk is not there")

    try:
        ranks.first(fail)
    except InputError as error:
        (folder / f"error {ranks.rank}").write_text(str(error))
        raise


def compare(existing: str, requested: str) -> str:
    return f"{existing} found, {requested} requested"
