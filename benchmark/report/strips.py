"""Pictures of single clips: strips of the ground truth and of samples, and where the samples have the block."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from benchmark.report.examples import Examples, Frames
from benchmark.report.figures import DPI, PALETTE, plain
from benchmark.report.runs import RunFolder
from mmnist_av.audio_features import AudioFeatures

COLUMNS = 14  # frames of a strip, at most
SEEN_COLUMNS = 2  # those that were seen, at most: predictions have none
GAP = 2  # px between pictures
SCALE = 2  # printed px per px of a picture
LEFT, RIGHT, TOP, BOTTOM, CURVE = 190, 20, 90, 20, 190  # px around a strip, and of the curve below it
SEEN, TRUE_BLOCK, PREDICTED_BLOCK = PALETTE[4], PALETTE[2], PALETTE[1]
SOUND = "magma"  # the colours of sound features
UNPREDICTED = 230  # the grey of seen frames in the rows of predictions


def shown_frames(frames: int, seen: int) -> list[int]:
    """Return the frame numbers of a strip, evenly spaced up to `frames`: at most COLUMNS, at most SEEN_COLUMNS seen."""
    step = -(-(frames - seen) // (COLUMNS - min(seen, SEEN_COLUMNS)))
    shown = range(frames, 0, -step)[:COLUMNS]
    predicted = sum(frame > seen for frame in shown)
    return [*reversed(shown[: predicted + SEEN_COLUMNS])]


def mean_name(run: RunFolder) -> str:
    """Return the caption of a run's averaged samples: "mean of 100"."""
    return f"mean of {run.samples}" if run.samples else "mean"


def strip(run: RunFolder, examples: Examples, number: int) -> Figure:
    """Draw one example: a row each for the ground truth, the mean, the best and single samples; a column per frame.

    The sound is below, and where the model predicts a variance per frame, its curve.
    """
    shown = shown_frames(examples.target.shape[1], examples.seen)
    predicted = {mean_name(run): examples.mean[number], "best PSNR": examples.best[number]}
    predicted |= {f"sample {one + 1}": frames for one, frames in enumerate(examples.random[number])}
    below = 0 if examples.variance is None else CURVE
    figure = _draw_rows(run, examples, number, predicted, plain(run.label), below)
    if examples.variance is not None:
        width = examples.target.shape[-1] + GAP
        at = np.interp(run.protocol.predicted_frames, shown, _middles(len(shown), width))
        _draw_below(figure, figure.axes[0], at, examples.variance[number], below)
    return figure


def comparable(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the runs whose examples show the first one's clips with the same sound; no run where fewer than two do."""
    with_examples = [run for run in runs if run.examples is not None]
    same = [run for run in with_examples if _same_clips(run.examples, with_examples[0].examples)]
    return same if len(same) > 1 else []


def _same_clips(one: Examples | None, other: Examples | None) -> bool:
    assert one is not None
    assert other is not None
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("clips", "target", "audio"))


def comparison(runs: Sequence[RunFolder], number: int) -> Figure:
    """Draw one example of the runs of `comparable`: the ground truth, each run's mean and a sample, and the sound."""
    predicted = {}
    for run in runs:
        assert run.examples is not None
        label = plain(run.label)
        predicted[f"{label}\n{mean_name(run)}"] = run.examples.mean[number]
        if run.samples != 1 and run.examples.random.shape[1]:
            predicted[f"{label}\nsample 1"] = run.examples.random[number, 0]
    first = runs[0].examples
    assert first is not None
    return _draw_rows(runs[0], first, number, predicted, runs[0].protocol.matched.name)


def _draw_rows(
    run: RunFolder, examples: Examples, number: int, predicted: Mapping[str, Frames], name: str, below: int = 0
) -> Figure:
    """Draw the ground truth, the rows `predicted` (P, C, H, W) by caption, and the sound; `below`: px to leave free."""
    shown = shown_frames(examples.target.shape[1], examples.seen)
    rows = {"ground truth": _coloured(examples.target[number])}
    rows |= {caption: _after_seen(_coloured(frames), examples.seen) for caption, frames in predicted.items()}
    pictures = [frames[[frame - 1 for frame in shown]] for frames in rows.values()]
    sound = _sound(run.protocol.audio, examples, number, shown)
    picture = _composed([*pictures, sound])
    figure, axes = _pixel_figure(picture, below)
    height, width = (side + GAP for side in examples.target.shape[-2:])
    axes.set_xticks(_middles(len(shown), width), map(str, shown))
    axes.set_yticks(np.arange(len(rows) + 1) * height + height / 2, [*rows, "sound"])
    seen = "no frames seen"
    if examples.seen:
        edge = sum(frame <= examples.seen for frame in shown) * width + GAP / 2 - 0.5
        axes.axvline(edge, color=SEEN, linewidth=2)
        seen = f"frames 1 to {examples.seen} seen" if examples.seen > 1 else "frame 1 seen"
    axes.set_title(f"clip {examples.clips[number]} · {name} · {seen}", fontsize=8)
    return figure


def _middles(columns: int, width: int) -> NDArray[np.floating]:
    """Return the x of the middle of each of a strip's columns, `width` px with its gap."""
    return np.arange(columns) * width + (width + GAP) / 2 - 0.5


def _sound(features: AudioFeatures, examples: Examples, number: int, shown: Sequence[int]) -> Frames:
    """Return pictures (columns, H, W, 3) of the sound features that models are given, low frequencies at the bottom.

    Each shows the sound since the shown frame before it, so that no sound is left out.
    """
    frames, per_frame = examples.target.shape[1], examples.sample_rate // examples.fps
    audio = examples.audio[number, : frames * per_frame].astype(np.int16).reshape(frames, per_frame)
    values = features(torch.from_numpy(audio)).numpy()
    scaled = values / max(values.max(), np.finfo(np.float32).tiny)
    step = shown[-1] - shown[-2] if len(shown) > 1 else 1
    parts = [np.concatenate([*scaled[max(0, last - step) : last]], axis=1)[::-1] for last in shown]
    height, width = examples.target.shape[-2:]
    pictures = [Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR) for part in parts]
    return (colormaps[SOUND](np.stack([np.asarray(each) for each in pictures]))[..., :3] * 255).astype(np.uint8)


def _coloured(frames: Frames) -> Frames:
    """Return (T, C, H, W), grey or colour, as (T, H, W, 3)."""
    return np.broadcast_to(frames, (len(frames), 3, *frames.shape[2:])).transpose(0, 2, 3, 1)


def _after_seen(frames: Frames, seen: int) -> Frames:
    """Return predicted frames after as many blank ones as were seen."""
    return np.concatenate([np.full((seen, *frames.shape[1:]), UNPREDICTED, np.uint8), frames])


def _composed(rows: Sequence[Frames]) -> Frames:
    """Return rows of (frames, H, W, 3) as one picture, with white lines of GAP px between all frames."""
    ruled = [np.pad(row, ((0, 0), (GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for row in rows]
    picture = np.concatenate([np.concatenate([*row], axis=1) for row in ruled], axis=0)
    return np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _pixel_figure(picture: Frames, below: int) -> tuple[Figure, Any]:
    """Return a figure in which every px of the picture is a square of SCALE printed px, and its axes."""
    height, width = (SCALE * length for length in picture.shape[:2])
    full_width, full_height = LEFT + width + RIGHT, TOP + height + BOTTOM + below
    figure = Figure(figsize=(full_width / DPI, full_height / DPI))
    bounds = (LEFT / full_width, (BOTTOM + below) / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(bounds)
    axes.imshow(picture, interpolation="none", aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=7)
    return figure, axes


def _draw_below(figure: Figure, axes: Any, at: NDArray[np.floating], values: Any, below: int) -> None:
    """Draw the predicted variance below a strip, each frame's value below its picture."""
    left, bottom, width, _ = axes.get_position().bounds
    unit = bottom / (BOTTOM + below)
    panel = figure.add_axes((left, (BOTTOM + 60) * unit, width, (below - 90) * unit), sharex=axes)
    panel.plot(at, values, color=PALETTE[0], linewidth=1.2)
    panel.tick_params(labelbottom=True, length=0, labelsize=7)
    panel.set_ylabel("$1/m_t$", fontsize=7)
    panel.set_xlabel("frame (from 1)", fontsize=7)


def block(run: RunFolder, examples: Examples) -> Figure | None:
    """Draw the last frame, true and averaged, with the true block and every sample's; None without blocks."""
    if examples.block is None or examples.windows is None:
        return None
    with_block = np.flatnonzero((examples.block >= 0).all(1)).tolist()
    if not with_block:
        return None
    figure = Figure(figsize=(max(3.4, 0.5 + 1.15 * len(with_block)), 3.1), layout="constrained")
    panels = figure.subplots(2, len(with_block), squeeze=False)
    for column, number in enumerate(with_block):
        panels[0, column].set_title(f"clip {examples.clips[number]}")
        for panel, frames in zip(panels[:, column], (examples.target, examples.mean), strict=True):
            panel.imshow(_coloured(frames[number, -1:])[0], interpolation="none")
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
            _draw_squares(panel, examples, number)
    for panel, name in zip(panels[:, 0], ("ground truth", mean_name(run)), strict=True):
        panel.set_ylabel(f"{name}\nframe {run.protocol.test_frames}")
    squares = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=TRUE_BLOCK, linewidth=1.5),
        Rectangle((0, 0), 1, 1, facecolor=PREDICTED_BLOCK, alpha=0.5),
    ]
    names = ["true block", f"brightest window of each of {examples.windows.shape[1]} samples"]
    figure.legend(squares, names, loc="outside lower center", ncols=2)
    return figure


def _draw_squares(panel: Any, examples: Examples, number: int) -> None:
    """Draw the samples' windows, darker where more of them agree, and the true block's outline."""
    assert examples.block is not None
    assert examples.windows is not None
    side = examples.block_side
    windows = [Rectangle((column - 0.5, row - 0.5), side, side) for row, column in examples.windows[number]]
    if windows:
        alpha = max(0.02, min(0.35, 2 / len(windows)))
        panel.add_collection(PatchCollection(windows, facecolor=PREDICTED_BLOCK, edgecolor="none", alpha=alpha))
    x, y = (int(value) for value in examples.block[number])
    top = examples.target.shape[-2] - y - side
    looks: dict[str, Any] = {"fill": False, "edgecolor": TRUE_BLOCK, "linewidth": 1.5, "clip_on": False}
    panel.add_patch(Rectangle((x - 0.5, top - 0.5), side, side, **looks))
