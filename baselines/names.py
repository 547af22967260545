"""The names of all models, without their code: that imports torch, which takes seconds, and a typo is said at once."""

from collections.abc import Iterable

from mmnist_av.system import plugins
from mmnist_av.system.errors import unknown_name

FLOORS = ("black", "copy-last", "mean-seen")  # deterministic; scored beside every run
SAMPLED_FLOORS = ("scatter", "zigzag")  # run by name, because they need as many samples as the models beside them
REFERENCES = ("bayes-v", "bayes-av")  # they know the rules of the world
OURS = (  # the names in registry.MODELS
    *FLOORS,
    *SAMPLED_FLOORS,
    *REFERENCES,
    "sound2sight",
    "sound2sight-no-audio",
    "sound2sight-no-aa",
    "sound2sight-no-aa-md",
    "sound2sight-lstm",
    "sound2sight-lstm-no-disc",
    "sound2sight-only-l2",
    "sound2sight-teacher-forcing",
    "puq",
    "puq-no-disc",
    "svg-lp",
    "audio-only",
)


def reference_note(models: Iterable[str]) -> str:
    """Return how the figures of references are to be read; "" where none of the `models` is one."""
    found = [name for name in REFERENCES if name in set(models)]
    if not found:
        return ""
    return (
        f"References ({', '.join(found)}) know the rules and sample the posterior, so under `mean` their PSNR may be "
        "below black's; only their `mean_frame` bounds PSNR, as the posterior mean has the least expected squared "
        "error."
    )


def names() -> set[str]:
    """Return the names of all models, third parties' included, loaded or not."""
    return {*OURS, *plugins.installed(plugins.MODELS)}


def check_name(name: str) -> None:
    """Raise InputError with the nearest names if no model has the name `name`."""
    if name not in names():
        raise unknown_name("model", name, names())
