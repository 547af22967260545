"""Every constant of M3SO, in one frozen dataclass."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmnist_av.errors import InputError, unknown_name

SPLIT_IDS = {"train": 0, "val": 1, "test": 2}  # part of the random key, so the numbers are for ever

NONE, WALL, BLOCK = 0, 1, 2  # what `Truth.event` holds

MOST_DIGITS = 16  # digits a clip; ours: the sum of their 16-bit sounds stays far inside 32 bits
MOST_CLIPS = 2**32  # clips a split: the index fills the low half of a random key
SEEDS = 2**63  # the seed is one half of a random key; above, numpy would take the page's key=[...] through floats


def _constant(value: Any) -> Any:
    """A field that every M3SO dataset shares: written down with the spec, never chosen."""
    return field(default=value, init=False)


@dataclass(frozen=True)
class Spec:
    """What may happen in a clip. `obstacle` and `digits_per_clip` are chosen; the rest is what makes it M3SO v1.

    Raises InputError if `digits_per_clip` is not in 1..16.
    """

    obstacle: bool = False  # True: M3SO, False: M3SO-NB
    digits_per_clip: int = 1  # digits that move and sound together; 1 in the papers

    version: int = _constant(1)  # of the world that these constants describe
    canvas: int = _constant(48)  # px, both sides (Sound2Sight)
    frames: int = _constant(100)  # a clip (Sound2Sight)
    fps: int = _constant(10)  # frames a second (Sound2Sight's released code)
    subpixels: int = _constant(256)  # units of position and velocity in a px; ours
    ink: int = _constant(20)  # px, the most an ink box measures on a side (MNIST)
    slowest: int = _constant(2)  # px a frame (released code)
    speeds: int = _constant(5)  # speeds slowest, slowest + 1, ... (released code)
    turn: int = _constant(65536)  # units of angle in a full turn; ours
    wall_spread: int = _constant(13653)  # units of angle either side of a face's inward normal (75 degrees); ours
    corner_spread: int = _constant(5461)  # the same around a corner's inward diagonal (30 degrees); ours
    block: int = _constant(16)  # px, both sides (read off the papers' PSNR after frame 42)
    block_frame: int = _constant(41)  # index of the first frame that may show the block (frame 42, Sound2Sight)
    sample_rate: int = _constant(8000)  # samples a second (telephony)
    row_hz: tuple[int, ...] = _constant((697, 770, 852, 941))  # Hz (ITU-T Q.23)
    column_hz: tuple[int, ...] = _constant((1209, 1336, 1477))  # Hz (ITU-T Q.23)
    keypad: tuple[str, ...] = _constant(("123", "456", "789", "*0#"))  # which key sounds which row and column (Q.23)
    wall_key: str = _constant("*")  # ours
    block_key: str = _constant("#")  # ours
    tone_level: int = _constant(15000)  # peak of each of a tone's two sines, of 32767; ours
    gain_bits: int = _constant(15)  # the gain is a fraction of 2**15; ours
    full_gain: int = _constant(10)  # px from the lower-left corner within which the gain is 1; ours

    def __post_init__(self) -> None:
        digits = self.digits_per_clip
        if isinstance(digits, bool) or not isinstance(digits, int) or not 1 <= digits <= MOST_DIGITS:
            raise InputError(f"digits per clip must be 1 to {MOST_DIGITS}, not {digits!r}")
        object.__setattr__(self, "obstacle", bool(self.obstacle))

    @property
    def name(self) -> str:
        """`m3so` or `m3so-nb`, as the protocols call them."""
        return "m3so" if self.obstacle else "m3so-nb"

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
    """The spec that `as_dict` wrote. Raises InputError for fields missing, unknown or not those of M3SO v1."""
    spec = Spec(fields.get("obstacle", False), fields.get("digits_per_clip", 1))
    ours = spec.as_dict()
    for name in fields:
        if name not in ours:
            raise unknown_name("spec field", name, ours)
    for name, value in ours.items():
        if name not in fields:
            raise InputError(f"the spec lacks '{name}'")
        if fields[name] != value:
            raise InputError(f"the spec's {name} is {fields[name]!r}; in M3SO v{spec.version} it is {value!r}")
    return spec
