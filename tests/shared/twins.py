"""What several processes do in the tests of training together: in a module that new processes can import."""

from pathlib import Path

import torch
from torch import nn

from baselines.predictor import ClipShape, Loss, Player, Predictor
from baselines.puq import PUQ
from baselines.sound2sight import Sound2Sight
from benchmark.compute import Compute
from benchmark.protocols import Protocol
from benchmark.training.loop import StoredBatches, TrainingPlan, train
from benchmark.training.processes import ALONE, Ranks
from mmnist_av.clips import StoredClips
from mmnist_av.dataset import open_dataset
from mmnist_av.system.errors import InputError


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
        made = self.maker(lines)
        mistake = nn.functional.softplus(self.judge(made) - self.judge(lines)).mean()
        maker = Loss((made - lines).square().mean() - mistake, {"noise": torch.rand(())})
        return {"maker": maker, "judge": Loss(mistake)}


def built(name: str) -> Predictor:
    torch.manual_seed(0)
    if name == "rivals":
        return Rivals()
    sizes = {"hidden": 16, "transformer_width": 16, "feedforward": 16, "embedding": 16}
    model = {"sound2sight": Sound2Sight, "puq": PUQ}[name]
    return model(ClipShape((1, 48, 48), (41, 21), seen=5, train_frames=20, fps=10), model.Config(**sizes))


def learn(job: tuple[str, Path, Path, Protocol, TrainingPlan], ranks: Ranks = ALONE) -> None:
    """Train the model called so on a dataset in a folder."""
    name, dataset, folder, protocol, plan = job
    batches = StoredBatches(StoredClips(open_dataset(dataset).split("train"), protocol.train_frames), plan, ranks)
    train(built(name), batches, protocol, plan, Compute(torch.device("cpu"), False, ranks), folder, "run")


def find_what_rank_0_made(folder: Path, ranks: Ranks) -> None:
    """Rank 0 writes what the others read; then it alone is in trouble."""

    def make() -> int:
        path = folder / "made"
        if ranks.rank == 0:
            path.write_text("1")
        return int(path.read_text())

    if ranks.in_turn(make) != 1:
        raise AssertionError

    def stop() -> None:
        (folder / f"stopped by {ranks.rank}").touch()
        raise InputError("the disk is not there")

    try:
        ranks.first(stop)
    except InputError as error:
        (folder / f"told {ranks.rank}").write_text(str(error))
        raise
