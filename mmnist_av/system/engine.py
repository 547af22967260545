"""Run functions in local threads or on a Ray cluster, with the results in the order of the tasks."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from mmnist_av.system.errors import InputError, unknown_name

log = logging.getLogger(__name__)

ENGINES = ("local", "ray")


class Pending(Protocol):
    """A call that was submitted to an engine."""

    def result(self) -> Any:
        """Wait for the call to end; return its result or raise its exception."""


class Engine(Protocol):
    """Runs functions of this package with their arguments."""

    workers: int  # calls that run at the same time
    in_place: bool  # whether calls can write to this process's own arrays

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        """Start `function(*arguments)` and return a handle to its result."""

    def share(self, value: Any) -> Any:
        """Return what to pass as an argument instead of a large `value` that many calls need."""


@contextmanager
def open_engine(name: str, workers: int | None = None, gpus: float = 0) -> Iterator[Engine]:
    """Yield the engine called `name` with `workers` workers (None: one per core, minus one for this thread).

    local: threads, because numpy releases Python's lock, and processes would have to copy every frame.
    ray: the cluster at RAY_ADDRESS, or a local one that runs as long as the block.
    gpus: GPUs reserved for each call on a Ray cluster; local calls can use all GPUs of this machine.
    Raises InputError for another name, fewer than one worker, and if Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least one is needed")
    if name not in ENGINES:
        raise unknown_name("engine", name, ENGINES)
    if name == "ray":
        with _ray(workers, gpus) as engine:
            yield engine
    else:
        count = workers or max(1, _cores() - 1)
        with ThreadPoolExecutor(count) as pool:
            yield _Threads(pool, count)


def in_order(engine: Engine, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield the results of `function(*task)` for every task, in order.

    While the caller uses one result, `ahead(engine)` further tasks run or wait; later tasks are not fetched yet.
    """
    pending: deque[Pending] = deque()
    for task in tasks:
        pending.append(engine.submit(function, *task))
        if len(pending) > ahead(engine):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def ahead(engine: Engine) -> int:
    """Return how many tasks `in_order` has started beside the one whose result is in use."""
    return engine.workers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Threads:
    in_place = True

    def __init__(self, pool: ThreadPoolExecutor, workers: int) -> None:
        self._pool, self.workers = pool, workers

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        return self._pool.submit(function, *arguments)

    def share(self, value: Any) -> Any:
        return value


@contextmanager
def _ray(workers: int | None, gpus: float) -> Iterator[Engine]:
    try:
        import ray  # imported here because Ray is an extra of this package, and slow to import
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'mmnist-av[ray]'") from error
    started = not ray.is_initialized()
    if started:
        local: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        cluster: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else local
        if not cluster:
            log.warning("connecting to the Ray cluster at %s (RAY_ADDRESS)", os.environ["RAY_ADDRESS"])
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **cluster)
        except (ValueError, OSError) as error:
            address = os.environ.get("RAY_ADDRESS", "this machine")
            raise InputError(f"--engine ray: no cluster at {address} ({str(error).partition(chr(10))[0]})") from error
    try:
        yield _Ray(workers or int(ray.cluster_resources().get("CPU", 1)), gpus)
    finally:
        if started:
            ray.shutdown()


class _Ray:
    in_place = False

    def __init__(self, workers: int, gpus: float) -> None:
        self.workers, self._gpus = workers, gpus
        self._remote: dict[Callable[..., Any], Any] = {}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        import ray

        if function not in self._remote:  # because every ray.remote sends the function to the cluster
            self._remote[function] = ray.remote(num_gpus=self._gpus)(function)
        return _RayPending(self._remote[function].remote(*arguments))

    def share(self, value: Any) -> Any:
        import ray

        return ray.put(value)


class _RayPending:
    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def result(self) -> Any:
        import ray

        try:
            return ray.get(self._reference)
        except ray.exceptions.RayError as error:
            raise InputError(f"work failed on the Ray cluster (is this package on its machines?): {error}") from error
