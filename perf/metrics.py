"""Rates of the image metrics, frames per second, beside scikit-image's and a plain convolution's, in the same run.

On one core, by CPU time: our functions with one thread, scikit-image in a loop; on random frames, and on flat ones
that differ, whose SSIM needs float64. SSIM beside a plain one by convolutions in torch, also by CPU time on one core,
the two in turns, the minimum of short runs. On two cores: one process each on its own share, like two workers of a
benchmark run, by the clock and by CPU time; and our functions with two threads, by the clock.
"""

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn.functional import conv2d

from benchmark.metrics.image import psnr, ssim, ssim_uniform

OURS = {"psnr": psnr, "ssim": ssim, "ssim_uniform": ssim_uniform}
NAMES = tuple(OURS)
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
SCIKIT = {
    "psnr": partial(peak_signal_noise_ratio, data_range=1),
    "ssim": partial(structural_similarity, **GAUSSIAN),
    "ssim_uniform": partial(structural_similarity, win_size=7, data_range=2),
}


def clips(shape, samples, frames, flat=False):
    rng = torch.Generator().manual_seed(0)
    target = torch.rand(1, 1, frames, *shape, generator=rng)
    prediction = torch.rand(1, samples, frames, *shape, generator=rng)
    return (0.8 + 0.1 * target, 0.2 + 0.1 * prediction) if flat else (target, prediction)


def ours(name, target, prediction):
    OURS[name](target, prediction)
    return prediction.shape[1] * prediction.shape[2]


def scikits(name, target, prediction, count=60):
    repeats = -(-count // target.shape[2])
    true = target[0, 0].repeat(repeats, 1, 1, 1)[:count].squeeze(1).double().numpy()  # grey: plain pictures
    predicted = prediction[0].flatten(0, 1)[:count].squeeze(1).double().numpy()
    layout = {"channel_axis": 0} if true.ndim == 4 and name != "psnr" else {}
    for one, other in zip(true, predicted, strict=False):
        SCIKIT[name](one, other, **layout)
    return min(count, len(predicted))


def seconds_a_frame(function, *arguments):
    """Return the CPU seconds of this process for one frame; other processes change them less than the clock's."""
    start = time.process_time()
    frames = function(*arguments)
    return (time.process_time() - start) / frames


def one_core(shape, turns, flat):
    """Return the seconds per frame of every metric, ours and scikit-image's: the minimum of `turns` runs in turns."""
    torch.set_num_threads(1)
    target, prediction = clips(shape, 50, 20, flat)
    best = np.full((2, len(NAMES)), np.inf)
    for _ in range(turns):
        for place, name in enumerate(NAMES):
            for side, function in enumerate((ours, scikits)):
                best[side, place] = min(best[side, place], seconds_a_frame(function, name, target, prediction))
    return best


PLAIN = {  # taps, c1, c2
    "ssim": ([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)], 0.01**2, 0.03**2),
    "ssim_uniform": ([1.0] * 7, 0.02**2, 0.06**2 * 48 / 49),
}


def plain_ssim(name, target, prediction, dtype):
    """Return SSIM by two 1-D depthwise convolutions over stacked moments, one sample after the other: (1, K, T)."""
    weights, c1, c2 = PLAIN[name]
    taps = (torch.tensor(weights, dtype=torch.float64) / sum(weights)).to(dtype)
    channels = target.shape[-3]
    down, across = (taps.view(1, 1, *kernel).expand(channels, -1, -1, -1) for kernel in ((-1, 1), (1, -1)))

    def filtered(pictures):
        return conv2d(conv2d(pictures, down, groups=channels), across, groups=channels)

    x = target[0, 0].to(dtype)
    centre = x.mean((1, 2, 3), keepdim=True)
    x = x - centre
    mean_x, square_x = filtered(torch.cat([x, x * x])).chunk(2)
    var_x = square_x - mean_x**2
    scores = []
    for sample in prediction[0]:
        y = sample.to(dtype) - centre
        mean_y, square_y, product = filtered(torch.cat([y, y * y, x * y])).chunk(3)
        a, b = mean_x + centre, mean_y + centre
        luminance = (2 * a * b + c1) / (a**2 + b**2 + c1)
        contrast = (2 * (product - mean_x * mean_y) + c2) / (var_x + square_y - mean_y**2 + c2)
        scores.append((luminance * contrast).flatten(1).mean(1))
    return torch.stack(scores)[None].double()


@torch.no_grad()
def beside_plain(shape, turns):
    """Print the CPU time of SSIM by convolutions as a multiple of ours, and how far their scores are apart."""
    torch.set_num_threads(1)
    target, prediction = clips(shape, 100, 20)
    for name in PLAIN:
        mine = OURS[name](target, prediction)
        for dtype in (torch.float32, torch.float64):
            sides: tuple[Callable, Callable] = OURS[name], partial(plain_ssim, name, dtype=dtype)
            best = np.full(2, np.inf)
            for _ in range(turns):
                for side, function in enumerate(sides):
                    start = time.process_time()
                    scores = function(target, prediction)
                    best[side] = min(best[side], time.process_time() - start)
            apart, equal = (scores - mine).abs().max(), (scores.float() == mine.float()).double().mean()
            print(
                f"  {name} by convolutions in {str(dtype).removeprefix('torch.')}: {best[1] / best[0]:.1f} x our time,",
                end=" ",
            )
            print(f"at most {apart:.0e} apart, {equal:.0%} of the float32 scores equal")


def measured(shape, function, barrier, threads, queue):
    """Put the clock and CPU seconds per frame of the three metrics together into `queue`; processes start together."""
    torch.set_num_threads(threads)
    target, prediction = clips(shape, 50, 20)
    for name in NAMES:
        function(name, target, prediction[:, :1])
    times = []
    for _ in range(5):
        barrier.wait()
        start = np.array([time.perf_counter(), time.process_time()])
        frames = [function(name, target, prediction) for name in NAMES]
        times.append((np.array([time.perf_counter(), time.process_time()]) - start) / frames[0])
    queue.put(np.min(times, 0))


def together(shape, function, processes, threads):
    """Return the frames per second of `processes` processes, all three metrics: by the clock, and by their CPU time."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=measured, args=(shape, function, barrier, threads, queue)) for _ in range(processes)
    ]
    for process in started:
        process.start()
    rates = sum(1 / queue.get() for _ in started)
    for process in started:
        process.join()
    return rates


def extra_memory(shape):
    """Return the MiB that scoring adds to the peak memory, for 20 and for 200 samples of 20 frames."""
    grown = []
    for samples in (20, 200):
        target, prediction = clips(shape, samples, 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in NAMES:
            ours(name, target, prediction)
        grown.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    return grown


def report(shape, turns):
    print(f"{shape[1]}x{shape[2]}x{shape[0]}")
    for kind in ("random", "flat"):
        mine, theirs = one_core(shape, turns, kind == "flat")
        print(f"  {f'one core, {kind}':18}{'ours/s':>10}{'scikit/s':>10}{'ratio':>8}")
        for name, own, other in (*zip(NAMES, mine, theirs, strict=True), ("all three", mine.sum(), theirs.sum())):
            print(f"  {name:18}{1 / own:10.0f}{1 / other:10.0f}{other / own:8.1f}")
    beside_plain(shape, turns)
    loop, pair = together(shape, scikits, 1, 1), together(shape, scikits, 2, 1)
    two, threads = together(shape, ours, 2, 1), together(shape, ours, 1, 2)
    for way, clock in (("clock", 0), ("CPU time", 1)):
        print(
            f"  all three, two processes each, by {way}: {two[clock]:.0f}/s, {two[clock] / pair[clock]:.1f} x", end=" "
        )
        print(f"scikit-image's {pair[clock]:.0f}/s")
    print(
        f"  all three, one process of two threads, by clock: {threads[0]:.0f}/s, {threads[0] / loop[0]:.1f} x", end=" "
    )
    print(f"scikit-image's loop ({loop[0]:.0f}/s), {threads[0] / pair[0]:.1f} x two of them")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=6)
    turns = parser.parse_args().turns
    few, many = extra_memory((1, 48, 48))
    print(f"peak memory beside the frames: {few:.0f} MiB for 20 samples, {many:.0f} MiB more for 200")
    for shape in ((1, 48, 48), (3, 64, 64), (3, 128, 128)):
        report(shape, turns)


if __name__ == "__main__":
    main()
