"""The differences between two sets of facts are put in words, each with both values."""

from benchmark.runs.differences import differences_in_words, differing_facts


def test_every_differing_value_is_named_with_both_values_in_the_order_of_the_request():
    existing = {"model": "puq", "seed": 0, "steps": 10, "old": 1}
    requested = {"steps": 20, "model": "sound2sight", "seed": 0, "new": None}
    assert differing_facts(existing, requested) == [
        "steps: 10 found, 20 requested",
        "model: puq found, sound2sight requested",
        "old: 1 found, nothing requested",
    ]
    assert differing_facts(existing, existing) == []
    assert differing_facts({"seed": True}, {"seed": 1}) == ["seed: True found, 1 requested"]


def test_differences_inside_nested_facts_are_named_by_their_path():
    existing, requested = {"settings": {"beta": 0.1, "width": 8}}, {"settings": {"beta": 1.0, "width": 8}}
    assert differing_facts(existing, requested) == ["settings.beta: 0.1 found, 1.0 requested"]
    assert differing_facts({"settings": {}}, {"settings": "none"}) == ["settings: {} found, none requested"]


def test_a_summary_names_the_first_three_and_counts_the_others():
    assert differences_in_words({}, dict.fromkeys("abcde", 1)).endswith("c: nothing found, 1 requested, and 2 more")
