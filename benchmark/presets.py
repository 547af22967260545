"""How much: the size of a run, from a demonstration to the paper's."""

from dataclasses import dataclass

from mmnist_av.system.errors import unknown_name


@dataclass(frozen=True)
class Preset:
    """The sizes of a run."""

    name: str
    digits: str  # digit source of the dataset that is made where none is given
    train_clips: int
    val_clips: int
    test_clips: int  # clips scored, of the test split's first
    steps: int  # optimizer steps
    batch: int  # clips a step
    samples: int  # K: futures drawn a test clip
    annealed: float  # the last part of the steps, over which the learning rates fall to 0
    eval_every: int  # steps between two validations; 0: none


# Training this short ends in the noise of the papers' constant rates; measured on M3SO-NB with PUQ, 40 clips, K = 5:
# 600 steps at 2e-3 reach a PSNR of 13.6 over 20 frames, 150 more with the rate falling to 0 reach 14.6 (black: 14.4).
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("demo", "embedded", 400, 50, 60, 120, 16, 10, 0.5, 0),
        Preset("small", "embedded", 8000, 1000, 1000, 2000, 16, 100, 0.5, 500),
        # 8000 clips in batches of 110 for 1001 epochs: the release's; the paper gives the splits and K = 100
        Preset("paper", "mnist", 8000, 1000, 1000, 1001 * 72, 110, 100, 0.0, 10 * 72),
    )
}


def find(name: str) -> Preset:
    """The preset called `name`; InputError with the nearest names if there is none."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
