"""Start several processes for one job with Lightning Fabric, or join those that torchrun or SLURM started."""

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
    """Run `work(job, ranks)` in `devices` processes on each of `nodes` machines; return when rank 0 has finished.

    On one machine the processes are started here. On several machines torchrun or srun starts the same command once
    per process, and the command ends here, with SystemExit, on all ranks but 0. Errors in the job are raised as one
    process would raise them. Raises InputError where the devices or the package are missing.
    """
    check_devices(device, devices)
    fabric = make_fabric("ddp", device, devices, nodes)
    external = is_started_externally(fabric)
    if nodes > 1 and not external:
        raise InputError(f"--nodes {nodes}: start this command on every node by torchrun or srun, once a device")
    if not external:
        fabric = make_fabric("ddp_spawn", device, devices, nodes)
    elif fabric.world_size != devices * nodes:
        raise InputError(f"--devices {devices} --nodes {nodes}, but {fabric.world_size} processes were started")
    error = fabric.launch(partial(run_process, work=work, job=job))
    if error is not None:
        raise error
    if external and fabric.global_rank:
        sys.exit(0)


def check_devices(device: str, devices: int) -> None:
    """Raise InputError where this machine has fewer CUDA devices than requested."""
    available = torch.cuda.device_count()
    if (device == "cuda" or (device == "auto" and available)) and devices > available:
        raise InputError(f"--devices {devices}: torch sees {available} CUDA devices here")


def make_fabric(strategy: str, device: str, devices: int, nodes: int) -> "Fabric":
    """Return the Fabric for these devices; it has started no process yet."""
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise InputError("--devices and --nodes need a package: pip install lightning-fabric") from error
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    try:
        return Fabric(accelerator="cuda" if cuda else "cpu", devices=devices, num_nodes=nodes, strategy=strategy)
    except (ValueError, RuntimeError) as error:  # for example, the number of SLURM's tasks does not fit
        raise InputError(f"--devices {devices} --nodes {nodes}: {error}") from error


def is_started_externally(fabric: "Fabric") -> bool:
    """Return whether torchrun or SLURM has started the processes."""
    environment = cast("ParallelStrategy", fabric.strategy).cluster_environment
    return environment is not None and environment.creates_processes_externally


def run_process(fabric: "Fabric", work: Callable[[T, Ranks], object], job: T) -> Exception | None:
    """Run the job as one of the processes; return the error in the job, which is the same in all of them."""
    ranks = Ranks(rank=fabric.global_rank, count=fabric.world_size, local=fabric.local_rank)
    job_error: Exception | None = None
    try:
        work(job, ranks)
    except (InputError, Diverged) as error:
        job_error = error
    except OSError as error:
        if ranks.rank:  # an error of this process alone: it must end them all
            raise
        job_error = error
    except SystemExit as error:  # of a third party's model: the others would wait for a process that ended with code 0
        raise RuntimeError("this process was ended by SystemExit") from error
    distributed.destroy_process_group()  # otherwise its threads may abort a process that ends
    return job_error
