"""Every constant of M3SO, in one frozen dataclass."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmnist_av.system.errors import InputError, unknown_name
from mmnist_av.system.settings import checked

if TYPE_CHECKING:
    from mmnist_av.clip_format import ClipFormat

SPLIT_IDS = {"train": 0, "val": 1, "test": 2}  # part of the random key, so the numbers never change

NONE, WALL, BLOCK = 0, 1, 2  # values of `Truth.event`

MOST_DIGITS = 4  # digits per clip: their ink boxes and a default block still fit beside each other
MOST_FRAMES = 10_000  # per clip; ours: its random numbers and positions stay a few MB
MOST_CLIPS = 2**32  # clips per split: the index fills the low half of a random key
SEEDS = 2**63  # the seed is one half of a random key; numpy would convert a larger one in key=[...] to a float

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Pixels = Annotated[int, Field(ge=1, le=128)]


def _constant(value: Any) -> Any:
    """Return a field that all M3SO datasets share: written down with the spec, never chosen."""
    return field(default=value, init=False)


@checked
class Spec:
    """What may happen in a clip: first what can be chosen, with M3SO's values, then what all worlds share.

    Raises InputError for a value out of range, and for a world that is impossible: see `_refuse_impossible`.
    """

    obstacle: bool = False  # True: M3SO, False: M3SO-NB
    digits_per_clip: Annotated[int, Field(ge=1, le=MOST_DIGITS)] = 1  # digits that move and sound together
    # px, both sides (Sound2Sight); an ink box must fit, and positions are 16-bit numbers of 1/256 px
    canvas: Annotated[int, Field(ge=20, le=128)] = 48
    frames: Annotated[int, Field(ge=2, le=MOST_FRAMES)] = 100  # per clip (Sound2Sight)
    fps: Annotated[int, Field(ge=1, le=100)] = 10  # frames per second (Sound2Sight's released code)
    slowest: Pixels = 2  # px per frame (released code)
    speeds: Pixels = 5  # number of speeds: slowest, slowest + 1, ... (released code)
    block: Pixels = 16  # px, both sides (read off the papers' PSNR after frame 42)
    block_frame: Annotated[int, Field(ge=1, le=MOST_FRAMES)] = 41  # index of the first frame that may show the block
    # random: a random direction away from the face (Sound2Sight); specular: the angle is kept (released code)
    bounce: Literal["random", "specular"] = "random"
    # of the sound; inverse: falls with the distance (Sound2Sight); linear: grows with it (released code)
    amplitude: Literal["inverse", "linear"] = "inverse"

    version: int = _constant(1)  # of the world that these constants describe
    subpixels: int = _constant(256)  # units of position and velocity in a px; ours
    ink: int = _constant(20)  # px, the largest side of an ink box (MNIST)
    turn: int = _constant(65536)  # units of angle in a full turn; ours
    wall_spread: int = _constant(13653)  # units of angle on either side of a face's inward normal (75 degrees); ours
    corner_spread: int = _constant(5461)  # the same around a corner's inward diagonal (30 degrees); ours
    sample_rate: int = _constant(8000)  # samples per second (telephony)
    row_hz: tuple[int, ...] = _constant((697, 770, 852, 941))  # Hz (ITU-T Q.23)
    column_hz: tuple[int, ...] = _constant((1209, 1336, 1477))  # Hz (ITU-T Q.23)
    keypad: tuple[str, ...] = _constant(("123", "456", "789", "*0#"))  # which key sounds which row and column (Q.23)
    wall_key: str = _constant("*")  # ours
    block_key: str = _constant("#")  # ours
    tone_level: int = _constant(15000)  # peak of each of a tone's two sines, of 32767; ours
    gain_bits: int = _constant(15)  # the gain is a fraction of 2**15; ours
    full_gain: int = _constant(10)  # px from the lower-left corner within which the gain is 1 (inverse); ours

    def __post_init__(self) -> None:
        _ = self.format  # refuses what no clip can have
        self._refuse_impossible()

    def _refuse_impossible(self) -> None:
        """Raise InputError, with the reason, for a world whose rules contradict each other."""
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
        """The highest speed, px per frame."""
        return self.slowest + self.speeds - 1

    @property
    def name(self) -> str:
        """Name of the dataset: `m3so` or `m3so-nb`."""
        return "m3so" if self.obstacle else "m3so-nb"

    @property
    def variant(self) -> str:
        """Choices that differ from the papers' M3SO and M3SO-NB: "frames=60 bounce=specular"; empty if none differs."""
        usual = Spec(self.obstacle)
        names = (f.name for f in dataclasses.fields(self) if f.init)
        return " ".join(
            f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != getattr(usual, name)
        )

    @property
    def format(self) -> "ClipFormat":
        """Format of the clips."""
        from mmnist_av.clip_format import ClipFormat  # imported here so that --help does not wait for numpy

        return ClipFormat(
            frames=self.frames,
            channels=1,
            height=self.canvas,
            width=self.canvas,
            fps=self.fps,
            sample_rate=self.sample_rate,
        )

    @property
    def samples_per_frame(self) -> int:
        """Samples of sound that belong to one frame."""
        return self.format.samples_per_frame

    @property
    def samples(self) -> int:
        """Samples of sound in a clip."""
        return self.format.samples

    def as_dict(self) -> dict[str, Any]:
        """Return every field, as JSON would read it back."""
        fields: dict[str, Any] = json.loads(self.text())
        return fields

    def text(self) -> str:
        """Return the canonical text: compact JSON, keys sorted. A dataset's fingerprint starts with it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))


def spec_from_dict(fields: Mapping[str, Any]) -> Spec:
    """Return the spec of which `as_dict` gave the `fields`. Raises InputError for missing, unknown or bad ones."""
    known = {f.name: f.init for f in dataclasses.fields(Spec)}
    for name in fields:
        if name not in known:
            raise unknown_name("spec field", name, known)
    for name in known:
        if name not in fields:
            raise InputError(f"the spec has no '{name}'")
    spec = Spec(**{name: value for name, value in fields.items() if known[name]})
    for name, value in spec.as_dict().items():
        if fields[name] != value:
            raise InputError(f"the spec's {name} is {fields[name]!r}; in M3SO v{spec.version} it is {value!r}")
    return spec
