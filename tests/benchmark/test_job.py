"""What is said of a run's options before anything is opened."""

import pytest

from benchmark.job import Job, note_unused
from benchmark.options import Stream


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, None),
        ({"seed": 3, "samples": 7}, None),
        ({"steps": 5}, "--steps"),
        ({"eval_every": 5, "checkpoint": "last"}, "--eval-every, --checkpoint"),
        ({"data": Stream()}, "--data stream"),
    ],
)
def test_options_of_a_training_are_noted_for_a_model_that_is_not_trained(options, named, caplog):
    note_unused(Job("puq", **options))
    assert not caplog.records
    note_unused(Job("black", **options))
    assert caplog.messages == ([f"black is not trained, so that nothing is changed by {named}"] if named else [])
