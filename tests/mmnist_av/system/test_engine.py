"""Engines: results in order, a bounded number of tasks ahead, exceptions raised again."""

import threading
import time

import pytest

from mmnist_av.system.engine import ahead, in_order, open_engine
from mmnist_av.system.errors import InputError


def late(number):
    time.sleep(0.02 if number % 3 == 0 else 0)
    return number


def test_results_come_in_order_whatever_finishes_first():
    with open_engine("local", 4) as engine:
        assert list(in_order(engine, late, ((n,) for n in range(20)))) == list(range(20))


def test_tasks_are_fetched_no_earlier_than_needed():
    """A buffer is reused `ahead + 1` tasks later; its result must have been used by then."""
    taken = []

    def tasks():
        for n in range(12):
            taken.append(n)
            yield (n,)

    with open_engine("local", 3) as engine:
        for used in in_order(engine, late, tasks()):
            assert taken[-1] <= used + ahead(engine)


def test_work_runs_at_the_same_time():
    together = threading.Barrier(3, timeout=10)
    with open_engine("local", 3) as engine:
        assert len(list(in_order(engine, together.wait, [()] * 3))) == 3


def test_an_exception_of_a_call_is_raised_again():
    with open_engine("local", 2) as engine, pytest.raises(ZeroDivisionError):
        list(in_order(engine, divmod, [(1, 1), (1, 0)]))


def test_the_ray_engine_without_ray_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match="pip install"), open_engine("ray"):
        pass
