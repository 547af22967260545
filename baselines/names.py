"""The names of all models, without their code: that imports torch, which takes seconds, and a typo is said at once."""

from mmnist_av.system import plugins
from mmnist_av.system.errors import unknown_name

ENTRY_POINTS = "avbench.models"
FLOORS = ("black", "copy-last", "mean-seen")
OURS = (  # the names in registry.MODELS
    *FLOORS,
    "bayes-v",
    "bayes-av",
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


def names() -> set[str]:
    """Return the names of all models, third parties' included, loaded or not."""
    return {*OURS, *plugins.installed(ENTRY_POINTS)}


def check_name(name: str) -> None:
    """Raise InputError with the nearest names if no model has the name `name`."""
    if name not in names():
        raise unknown_name("model", name, names())
