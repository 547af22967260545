"""Where work runs: in threads here, or on a Ray cluster. Results come in order, whatever finishes first."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from mmnist_av.system.errors import InputError, unknown_name

ENGINES = ("local", "ray")


class Pending(Protocol):
    """Work that was handed over."""

    def result(self) -> Any:
        """Wait for what it returns, or raise what it raised."""


class Engine(Protocol):
    """Takes work: functions of this package with their arguments."""

    workers: int  # pieces of work done at the same time
    in_place: bool  # whether work writes to this process's own memory

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Pending:
        """Hand `function(*arguments)` over."""

    def share(self, value: Any) -> Any:
        """What to hand over in the place of a large `value` that many pieces of work need."""


@contextmanager
def open_engine(name: str, workers: int | None = None, gpus: float = 0) -> Iterator[Engine]:
    """The engine called `name` with so many workers (None: one a core, less one for the taker here).

    gpus: that each piece of work gets for itself, on a Ray cluster; here all work sees what there is.

    local: threads, because numpy lets go of Python's lock, and processes would have to copy every frame.
    ray: the cluster at RAY_ADDRESS, or one that is started here for as long as the block runs.
    Raises InputError for another name, fewer than one worker, and where Ray is not installed.
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
    """The results of `function(*task)` for every task, in order.

    `ahead(engine)` more are being worked on, or wait, while one is in use; a task is not looked at before then.
    """
    pending: deque[Pending] = deque()
    for task in tasks:
        pending.append(engine.submit(function, *task))
        if len(pending) > ahead(engine):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def ahead(engine: Engine) -> int:
    """How many results `in_order` keeps under way beside the one in use."""
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
        import ray  # here, because it is an extra of this package, and slow to import
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'mmnist-av[ray]'") from error
    started = not ray.is_initialized()
    if started:
        local: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
        cluster: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else local
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **cluster)
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

        if function not in self._remote:  # every ray.remote sends the function to the cluster
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
