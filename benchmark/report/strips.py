"""Pictures of single clips: strips of truth and futures, and where the futures see the block."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from benchmark.report.examples import WINDOW, Examples, Frames
from benchmark.report.figures import DPI, PALETTE, plain
from benchmark.report.runs import RunFolder

COLUMNS = 14  # frames of a strip, at most
GAP = 2  # px between pictures
SCALE = 2  # printed px a pixel
LEFT, RIGHT, TOP, BOTTOM, CURVE = 190, 20, 90, 20, 130  # px around a strip, and of the curve below it
SEEN, TRUE_BLOCK, GUESSED = PALETTE[4], PALETTE[2], PALETTE[1]


def shown_frames(frames: int, reported: Sequence[int]) -> list[int]:
    """At most COLUMNS frame numbers (from 1), evenly from first to last, moved where a reported one is near."""
    shown = np.unique(np.linspace(1, frames, min(COLUMNS, frames)).round().astype(int))
    for frame in reported:
        free = [place for place, number in enumerate(shown) if number == frame or number not in reported]
        shown[min(free, key=lambda place: (abs(shown[place] - frame), -shown[place]))] = frame
    return sorted(set(shown.tolist()))


def mean_name(run: RunFolder) -> str:
    """What the averaged futures of a run are called: "mean of 100"."""
    return f"mean of {run.samples}" if run.samples else "mean"


def strip(run: RunFolder, examples: Examples, number: int) -> Figure:
    """Rows truth, mean, best and single futures of an example; columns frames; the predicted variance below."""
    shown = shown_frames(examples.truth.shape[1], run.protocol.reported)
    rows = [("truth", _coloured(examples.truth[number]))]
    predicted = {mean_name(run): examples.mean[number], "best PSNR": examples.best[number]}
    predicted |= {f"future {one + 1}": frames for one, frames in enumerate(examples.random[number])}
    rows += [(name, _behind(_coloured(frames), examples.seen)) for name, frames in predicted.items()]
    variance = None if examples.variance is None else examples.variance[number]
    if variance is not None and variance.ndim > 1:
        name = f"$1/m_t$, {variance.min():.2g}\nto {variance.max():.2g}"
        rows.append((name, _behind(_heat(variance[:, 0]), examples.seen)))
    picture = _composed([frames[[frame - 1 for frame in shown]] for _, frames in rows])
    below = CURVE if variance is not None and variance.ndim == 1 else 0
    figure, axes = _pixel_figure(picture, below)
    side = examples.truth.shape[-1] + GAP
    middles = np.arange(len(shown)) * side + (side + GAP) / 2 - 0.5
    axes.set_xticks(middles, map(str, shown))
    height = examples.truth.shape[-2] + GAP
    axes.set_yticks(np.arange(len(rows)) * height + height / 2, [name for name, _ in rows])
    edge = sum(frame <= examples.seen for frame in shown) * side + GAP / 2 - 0.5
    axes.axvline(edge, color=SEEN, linewidth=2)
    axes.set_title(f"clip {examples.clips[number]} · {plain(run.label)} · frames 1 to {examples.seen} seen", fontsize=8)
    if below:
        frames = np.arange(examples.seen + 1, examples.truth.shape[1] + 1)
        _draw_below(figure, axes, np.interp(frames, shown, middles), variance, below)
    return figure


def _coloured(frames: Frames) -> Frames:
    """(T, C, H, W) grey or colour as (T, H, W, 3)."""
    return np.broadcast_to(frames, (len(frames), 3, *frames.shape[2:])).transpose(0, 2, 3, 1)


def _behind(frames: Frames, seen: int) -> Frames:
    """Predicted frames behind as many blank ones as were seen."""
    return np.concatenate([np.full((seen, *frames.shape[1:]), 230, np.uint8), frames])


def _heat(variance: NDArray[np.floating]) -> Frames:
    """(P, H, W) from the clip's least, dark, to its greatest, bright: (P, H, W, 3)."""
    low, high = variance.min(), variance.max()
    return (matplotlib.colormaps["cividis"]((variance - low) / ((high - low) or 1))[..., :3] * 255).astype(np.uint8)


def _composed(rows: Sequence[Frames]) -> Frames:
    """Rows of (frames, H, W, 3) in one white-ruled picture."""
    ruled = [np.pad(row, ((0, 0), (GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for row in rows]
    picture = np.concatenate([np.concatenate([*row], axis=1) for row in ruled], axis=0)
    return np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _pixel_figure(picture: Frames, below: int) -> tuple[Figure, Any]:
    """A figure in which every pixel of the picture is a square of SCALE printed ones, and its axes."""
    height, width = (SCALE * length for length in picture.shape[:2])
    full_width, full_height = LEFT + width + RIGHT, TOP + height + BOTTOM + below
    figure = Figure(figsize=(full_width / DPI, full_height / DPI))
    place = (LEFT / full_width, (BOTTOM + below) / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(place)
    axes.imshow(picture, interpolation="none", aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=7)
    return figure, axes


def _draw_below(figure: Figure, axes: Any, at: NDArray[np.floating], values: Any, below: int) -> None:
    left, bottom, width, _ = axes.get_position().bounds
    unit = bottom / (BOTTOM + below)
    panel = figure.add_axes((left, BOTTOM * unit, width, (below - 30) * unit), sharex=axes)
    panel.plot(at, values, color=PALETTE[0], linewidth=1.2)
    panel.tick_params(labelbottom=False, length=0, labelsize=6)
    panel.set_ylabel("$1/m_t$", fontsize=7)


def block(run: RunFolder, examples: Examples) -> Figure | None:
    """The last frame, true and averaged, with the block's true square and every future's; None without blocks."""
    if examples.block is None or examples.windows is None:
        return None
    there = np.flatnonzero((examples.block >= 0).all(1)).tolist()
    if not there:
        return None
    figure = Figure(figsize=(max(3.4, 0.5 + 1.15 * len(there)), 3.1), layout="constrained")
    panels = figure.subplots(2, len(there), squeeze=False)
    for column, number in enumerate(there):
        panels[0, column].set_title(f"clip {examples.clips[number]}")
        for panel, frames in zip(panels[:, column], (examples.truth, examples.mean), strict=True):
            panel.imshow(_coloured(frames[number, -1:])[0], interpolation="none")
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
            _draw_squares(panel, examples, number)
    for panel, name in zip(panels[:, 0], ("truth", "mean"), strict=True):
        panel.set_ylabel(f"{name}, frame {run.protocol.test_frames}")
    squares = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=TRUE_BLOCK, linewidth=1.5),
        Rectangle((0, 0), 1, 1, facecolor=GUESSED, alpha=0.5),
    ]
    guessed = f"brightest window of each of {examples.windows.shape[1]} futures"
    figure.legend(squares, ["true block", guessed], loc="outside lower center", ncols=2)
    return figure


def _draw_squares(panel: Any, examples: Examples, number: int) -> None:
    """The true square, and the windows: the more futures agree on a place, the fuller its colour."""
    assert examples.block is not None
    assert examples.windows is not None
    windows = [Rectangle((column - 0.5, row - 0.5), WINDOW, WINDOW) for row, column in examples.windows[number]]
    alpha = max(0.02, min(0.35, 2 / len(windows)))
    panel.add_collection(PatchCollection(windows, facecolor=GUESSED, edgecolor="none", alpha=alpha))
    side, (x, y) = examples.block_side, (int(value) for value in examples.block[number])
    top = examples.truth.shape[-2] - y - side
    looks: dict[str, Any] = {"fill": False, "edgecolor": TRUE_BLOCK, "linewidth": 1.5, "clip_on": False}
    panel.add_patch(Rectangle((x - 0.5, top - 0.5), side, side, **looks))
