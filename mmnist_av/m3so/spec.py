"""Every constant of M3SO, in one frozen dataclass."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmnist_av.system.errors import InputError, unknown_name

SPLIT_IDS = {"train": 0, "val": 1, "test": 2}  # part of the random key, so the numbers are for ever

NONE, WALL, BLOCK = 0, 1, 2  # what `Truth.event` holds

MOST_DIGITS = 4  # digits a clip: their ink boxes and a default block still have room beside each other
MOST_FRAMES = 10_000  # a clip; ours: its random numbers and positions stay a few MB
MOST_CLIPS = 2**32  # clips a split: the index fills the low half of a random key
SEEDS = 2**63  # the seed is one half of a random key; above, numpy would take the page's key=[...] through floats


def _constant(value: Any) -> Any:
    """A field that every M3SO dataset shares: written down with the spec, never chosen."""
    return field(default=value, init=False)


# What may be chosen: the least and the most of each number
RANGES = {
    "digits_per_clip": (1, MOST_DIGITS),
    "canvas": (20, 128),  # an ink box must fit; positions are 16-bit numbers of 1/256 px
    "frames": (2, MOST_FRAMES),
    "fps": (1, 100),
    "slowest": (1, 128),
    "speeds": (1, 128),
    "block": (1, 128),
    "block_frame": (1, MOST_FRAMES),
}
KINDS = {"bounce": ("random", "specular"), "amplitude": ("inverse", "linear")}


@dataclass(frozen=True)
class Spec:
    """What may happen in a clip: first what is chosen, with M3SO's values, then what every world of ours shares.

    Raises InputError for a value out of range, and for a world that cannot be: see `_refuse_impossible`.
    """

    obstacle: bool = False  # True: M3SO, False: M3SO-NB
    digits_per_clip: int = 1  # digits that move and sound together; 1 in the papers
    canvas: int = 48  # px, both sides (Sound2Sight)
    frames: int = 100  # a clip (Sound2Sight)
    fps: int = 10  # frames a second (Sound2Sight's released code)
    slowest: int = 2  # px a frame (released code)
    speeds: int = 5  # speeds slowest, slowest + 1, ... (released code)
    block: int = 16  # px, both sides (read off the papers' PSNR after frame 42)
    block_frame: int = 41  # index of the first frame that may show the block (frame 42, Sound2Sight)
    bounce: str = "random"  # random: a drawn direction away from what was hit (Sound2Sight); specular (released code)
    amplitude: str = "inverse"  # inverse: falls with the distance (Sound2Sight); linear: grows with it (released code)

    version: int = _constant(1)  # of the world that these constants describe
    subpixels: int = _constant(256)  # units of position and velocity in a px; ours
    ink: int = _constant(20)  # px, the most an ink box measures on a side (MNIST)
    turn: int = _constant(65536)  # units of angle in a full turn; ours
    wall_spread: int = _constant(13653)  # units of angle either side of a face's inward normal (75 degrees); ours
    corner_spread: int = _constant(5461)  # the same around a corner's inward diagonal (30 degrees); ours
    sample_rate: int = _constant(8000)  # samples a second (telephony)
    row_hz: tuple[int, ...] = _constant((697, 770, 852, 941))  # Hz (ITU-T Q.23)
    column_hz: tuple[int, ...] = _constant((1209, 1336, 1477))  # Hz (ITU-T Q.23)
    keypad: tuple[str, ...] = _constant(("123", "456", "789", "*0#"))  # which key sounds which row and column (Q.23)
    wall_key: str = _constant("*")  # ours
    block_key: str = _constant("#")  # ours
    tone_level: int = _constant(15000)  # peak of each of a tone's two sines, of 32767; ours
    gain_bits: int = _constant(15)  # the gain is a fraction of 2**15; ours
    full_gain: int = _constant(10)  # px from the lower-left corner within which the gain is 1 (inverse); ours

    def __post_init__(self) -> None:
        if not isinstance(self.obstacle, bool):
            raise InputError(f"obstacle must be true or false, not {self.obstacle!r}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} must be {least} to {most}, not {value!r}")
        for name, kinds in KINDS.items():
            if getattr(self, name) not in kinds:
                raise unknown_name(name, str(getattr(self, name)), kinds)
        self._refuse_impossible()

    def _refuse_impossible(self) -> None:
        """Raise InputError for a world whose rules contradict each other, saying why."""
        if self.sample_rate % self.fps:
            raise InputError(f"fps {self.fps} does not divide the {self.sample_rate} samples of a second of sound")
        if self.fastest > self.canvas:
            raise InputError(f"{self.fastest} px a frame would cross a canvas of {self.canvas} px in one step")
        if not self.obstacle:
            for name in ("block", "block_frame"):
                if getattr(self, name) != getattr(Spec, name):
                    raise InputError(f"{name} {getattr(self, name)} without a block: it needs the obstacle")
            return
        if self.block + self.ink > self.canvas:
            sizes = f"a block of {self.block} px beside a digit of {self.ink} px"
            raise InputError(f"{sizes} can never fit a canvas of {self.canvas} px")
        if self.block_frame >= self.frames:
            raise InputError(f"a block at frame {self.block_frame} never shows in {self.frames} frames")
        if self.fastest > self.block:
            raise InputError(f"{self.fastest} px a frame could jump over a block of {self.block} px")

    @property
    def fastest(self) -> int:
        """The highest speed, px a frame."""
        return self.slowest + self.speeds - 1

    @property
    def name(self) -> str:
        """`m3so` or `m3so-nb`, as the protocols call them."""
        return "m3so" if self.obstacle else "m3so-nb"

    @property
    def variant(self) -> str:
        """What was chosen that the papers' M3SO and M3SO-NB do not have: "bounce=specular frames=60"; else empty."""
        usual = Spec(self.obstacle)
        names = (f.name for f in dataclasses.fields(self) if f.init)
        return " ".join(
            f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != getattr(usual, name)
        )

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound that belong to one frame."""
        return self.sample_rate // self.fps

    @property
    def samples(self) -> int:
        """Samples of sound in a clip."""
        return self.frames * self.samples_per_frame

    @property
    def clip_bytes(self) -> int:
        """Bytes of one clip's frames and sound on disk."""
        return self.frames * self.canvas**2 + 2 * self.samples

    def as_dict(self) -> dict[str, Any]:
        """Every field, as JSON would give it back."""
        fields: dict[str, Any] = json.loads(self.text())
        return fields

    def text(self) -> str:
        """The canonical text: compact JSON, keys sorted. The fingerprint of a dataset starts with it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))


def spec_from_dict(fields: Mapping[str, Any]) -> Spec:
    """The spec that `as_dict` wrote. Raises InputError for fields missing, unknown or impossible."""
    known = {f.name: f.init for f in dataclasses.fields(Spec)}
    for name in fields:
        if name not in known:
            raise unknown_name("spec field", name, known)
    for name in known:
        if name not in fields:
            raise InputError(f"the spec lacks '{name}'")
    spec = Spec(**{name: value for name, value in fields.items() if known[name]})
    for name, value in spec.as_dict().items():
        if fields[name] != value:
            raise InputError(f"the spec's {name} is {fields[name]!r}; in M3SO v{spec.version} it is {value!r}")
    return spec
