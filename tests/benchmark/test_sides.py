"""Which runs form a side of a comparison, and what a side says of its model's training."""

import itertools
from pathlib import Path

import pytest

from benchmark.catalogue import PROTOCOLS
from benchmark.sides import ScoredRun, Side, chance_of_agreement, sides_of
from mmnist_av.system.errors import InputError

CONFIG = {"model": "puq", "protocol": "m3so-nb", "preset": "small", "settings": {"beta": 1}, "steps": 9, "batch": 16}
CONFIG |= {"seed": 0, "device": "cpu", "precision": "float32", "code_version": "1", "samples": 3}
EXTERNAL = {"preset": "external", "batch": None, "steps": None, "seed": ""}


def run(folder="a", **changes):
    config = {name: value for name, value in (CONFIG | changes).items() if value is not None}
    return ScoredRun(Path(folder), config, PROTOCOLS["m3so-nb"], scores={}, samples=3)


def test_two_runs_are_the_two_sides_whatever_they_are():
    for other in (run("b", seed=1), run("b", model="svg-lp"), run("a")):
        one = run("a")
        assert sides_of([one, other]) == (Side((one,)), Side((other,)))


def test_runs_that_differ_in_their_seeds_alone_form_a_side_in_the_order_given():
    first, second = run("a"), run("b", steps=3, seed=7)
    again, more = run("c", seed=1), run("d", seed=2, steps=3)
    assert sides_of([first, second, more, again]) == (Side((first, again)), Side((second, more)))


@pytest.mark.parametrize("name", ["device", "precision", "code_version"])
def test_a_side_of_other_code_or_devices_has_a_note(name, caplog):
    runs = [run("a"), run("b", seed=1, **{name: "another"}), run("c", model="svg-lp", **{name: "a third"})]
    assert len(sides_of(runs)[0].runs) == 2
    assert caplog.messages == [f"the runs of puq differ in {name}"]


@pytest.mark.parametrize("name", ["settings", "steps", "preset", "samples", "protocol", "checkpoint", "a later entry"])
def test_whatever_else_differs_makes_another_group(name):
    other = [run("b", seed=1, **{name: "another"}), run("c", seed=2, **{name: "another"})]
    assert [len(side.runs) for side in sides_of([run("a"), *other])] == [1, 2]
    with pytest.raises(InputError, match=rf"must form two groups, not 3: a and b differ in {name}; b and c differ in "):
        sides_of([run("a"), other[0], run("c", **{name: "a third"})])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([run("a"), run("b", seed=1), run("c", seed=2)], "two groups, not 1: all of them differ in their seeds alone"),
        ([run("a"), run("b", steps=2), run("c")], "a and c form one group, both with the seed 0: leave one out"),
        ([run("a", **EXTERNAL), run("b", **EXTERNAL), run("c")], "a and b form one group, both with an unknown seed: "),
        (
            [run(str(seed), **EXTERNAL | {"seed": seed, "predictions": ["e5"]}) for seed in (0, 1)] + [run("c")],
            "0 and 1 form one group, both with the same predictions: leave one out",
        ),
    ],
)
def test_other_runs_are_refused(runs, message):
    with pytest.raises(InputError, match=message):
        sides_of(runs)


@pytest.mark.parametrize(
    ("changes", "count", "words", "replicated"),
    [
        ([{}], "1", "1 training seed (0)", False),
        ([{}, {"seed": 5}], "2", "2 training seeds (0, 5)", True),
        ([{"batch": 0, "steps": 0}], "not trained", "not trained", True),
        ([EXTERNAL], "unknown", "training seed unknown", False),
    ],
)
def test_a_side_says_how_often_its_model_was_trained(changes, count, words, replicated):
    side = Side(tuple(run(str(number), **each) for number, each in enumerate(changes)))
    assert (side.training_seeds, side.training_in_words, side.is_replicated) == (count, words, replicated)
    assert f"K = 3, {words}" in side.in_words
    assert all(str(run.folder) in side.in_words for run in side.runs)


def side(seeds, **changes):
    return Side(tuple(run(str(seed), seed=seed, **changes) for seed in range(seeds)))


@pytest.mark.parametrize(("one", "other"), [(1, 1), (2, 2), (2, 1), (3, 2), (3, 3), (4, 4)])
def test_the_chance_of_agreement_is_that_of_seeds_in_any_order(one, other):
    """One's seeds take any of the ranks among all seeds; all pairs agree where they are the first or the last."""
    ranks = list(itertools.combinations(range(one + other), one))
    agree = sum(own in (tuple(range(one)), tuple(range(other, one + other))) for own in ranks)
    assert chance_of_agreement(side(one), side(other)) == pytest.approx(agree / len(ranks))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_against_what_is_not_trained_each_seed_is_on_either_side(seeds):
    ways = list(itertools.product((1, -1), repeat=seeds))
    agree = sum(abs(sum(signs)) == seeds for signs in ways) / len(ways)
    floor = side(1, batch=0)
    assert chance_of_agreement(side(seeds), floor) == chance_of_agreement(floor, side(seeds)) == pytest.approx(agree)
    assert chance_of_agreement(floor, floor) is None
