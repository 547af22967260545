"""Several processes for one job: Lightning Fabric starts them, or finds those that torchrun or SLURM started."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import distributed

from benchmark.training.loop import Diverged
from benchmark.training.processes import Ranks
from mmnist_av.system.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import ParallelStrategy

T = TypeVar("T")


def launch(work: Callable[[T, Ranks], object], job: T, device: str, devices: int, nodes: int) -> None:
    """Do `work(job, ranks)` in `devices` processes on each of `nodes` machines; returns when rank 0's is done.

    On one machine the processes are started here; on several the same command is started once a process by torchrun
    or srun, and ends here, with SystemExit, on all ranks but 0. What is wrong with the job is raised as it would be
    by one process. Raises InputError where the devices or the package are not there.
    """
    check_devices(device, devices)
    fabric = connect("ddp", device, devices, nodes)
    outside = started_outside(fabric)
    if nodes > 1 and not outside:
        raise InputError(f"--nodes {nodes}: start this command on every node by torchrun or srun, once a device")
    if not outside:
        fabric = connect("ddp_spawn", device, devices, nodes)
    elif fabric.world_size != devices * nodes:
        raise InputError(f"--devices {devices} --nodes {nodes}, but {fabric.world_size} processes were started")
    error = fabric.launch(partial(on_rank, work=work, job=job))
    if error is not None:
        raise error
    if outside and fabric.global_rank:
        sys.exit(0)


def check_devices(device: str, devices: int) -> None:
    """Raise InputError where there are not as many devices as asked for."""
    there = torch.cuda.device_count()
    if (device == "cuda" or (device == "auto" and there)) and devices > there:
        raise InputError(f"--devices {devices}: torch sees {there} CUDA devices here")


def connect(strategy: str, device: str, devices: int, nodes: int) -> "Fabric":
    """The Fabric for these devices, nothing started yet."""
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError("--devices and --nodes need a package: pip install lightning-fabric") from error
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    try:
        return Fabric(accelerator="cuda" if cuda else "cpu", devices=devices, num_nodes=nodes, strategy=strategy)
    except (ValueError, RuntimeError) as error:  # SLURM's tasks do not fit, for one
        raise InputError(f"--devices {devices} --nodes {nodes}: {error}") from error


def started_outside(fabric: "Fabric") -> bool:
    """Whether torchrun or SLURM has started the processes."""
    environment = cast("ParallelStrategy", fabric.strategy).cluster_environment
    return environment is not None and environment.creates_processes_externally


def on_rank(fabric: "Fabric", work: Callable[[T, Ranks], object], job: T) -> Exception | None:
    """Work as one of the ranks; returns what is wrong with the job, which is the same on all."""
    ranks = Ranks(fabric.global_rank, fabric.world_size, fabric.local_rank)
    wrong: Exception | None = None
    try:
        work(job, ranks)
    except (InputError, Diverged) as error:
        wrong = error
    except OSError as error:
        if ranks.rank:  # this process's own trouble: let it end them all
            raise
        wrong = error
    distributed.destroy_process_group()  # else its threads may abort a process that ends
    return wrong
