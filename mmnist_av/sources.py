"""Where the clips of a dataset come from."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmnist_av.clip_format import ClipFormat
from mmnist_av.manifest import clips_of, format_of

BYTES_AT_ONCE = 10_000_000  # 25 clips of M3SO: they are hashed while still in the cache of the processor


@dataclass(frozen=True)
class Clips:
    """N clips, as they are written."""

    frames: NDArray[np.uint8]  # (N, T, H, W) or (N, T, H, W, 3)
    audio: NDArray[np.int16]  # (N, samples)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # stored annotations by name, each (N, ...)

    def __len__(self) -> int:
        return len(self.frames)


class Source:
    """Where the clips of a dataset come from: the base class of all sources."""

    provenance: str  # an unfinished dataset is resumed only with clips of the same provenance

    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        """Yield the clips of `split` from number `first` on, several at a time; the arrays may be reused afterwards.

        Every call must give the same clips: they are requested again when writing is resumed.
        """
        raise NotImplementedError

    def record(self, split: str) -> Mapping[str, NDArray[Any]]:
        """Return the fields of the family's record for all clips of `split`, {} if the family has no record.

        Called after `clips` has ended.
        """
        return {}


class SingleClips(Source):
    """A source that gets its clips one by one from a function."""

    def __init__(self, provenance: str, clip: Callable[[str, int], Clips], requested: Mapping[str, Any]) -> None:
        """`clip` returns clip `number` of a split as Clips of length 1; `requested` is the dataset to write."""
        self.provenance = provenance
        self._clip, self._count = clip, clips_at_once(format_of(requested))
        self._clips = clips_of(requested)

    def clips(self, split: str, first: int) -> Generator[Clips, None, None]:
        """Yield the clips that the function returns."""
        yield from joined((self._clip(split, number) for number in self._clips[split][first:]), self._count)


def joined(clips: Iterable[Clips], count: int) -> Iterator[Clips]:
    """Yield single clips joined to `count` at a time; the last may be fewer."""
    waiting: list[Clips] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == count:
            yield _concatenated(waiting)
            waiting = []
    if waiting:
        yield _concatenated(waiting)


def _concatenated(clips: list[Clips]) -> Clips:
    frames, audio = np.concatenate([clip.frames for clip in clips]), np.concatenate([clip.audio for clip in clips])
    return Clips(
        frames, audio, {name: np.concatenate([clip.arrays[name] for clip in clips]) for name in clips[0].arrays}
    )


def clips_at_once(format: ClipFormat) -> int:
    """Return how many clips are rendered and written at once."""
    return max(1, BYTES_AT_ONCE // format.clip_bytes)
