"""How alike the futures of one clip are: Sound2Sight's figure 5c."""

import itertools
from functools import lru_cache

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from torch import Tensor

from benchmark.metrics.flow import tvl1
from benchmark.metrics.image import ssim
from mmnist_av.system.errors import InputError

PAIRS = 50  # of a clip's samples
FLOW_SAMPLES = 4  # a clip's first, and all their pairs: TV-L1 takes some 20 ms a frame
FULL_SPEED = 8.0  # px a frame that the brightest colour of a flow picture stands for; M3SO's digits go 6 at most
SEED = 0


@torch.no_grad()
def self_similarity(futures: Tensor) -> Tensor:
    """Mean SSIM (`image.ssim`) over pairs of a clip's samples, frame by frame; 1 where all agree.

    The pairs are PAIRS of all, drawn once for each K, or all if there are no more.
    futures: (B, K, T, C, H, W) float in [0, 1]. Returns (B, 1, T) float64 in [-1, 1], NaN if K is 1.
    Raises InputError as `ssim`. Source: Sound2Sight (2020), figure 5c; the choice of pairs is this benchmark's.
    """
    if futures.ndim != 6:
        raise InputError(f"futures (B, K, T, C, H, W) wanted, not {tuple(futures.shape)}")
    clips, samples, frames = futures.shape[:3]
    if samples == 1:
        return torch.full((clips, 1, frames), torch.nan, dtype=torch.float64, device=futures.device)
    found = [ssim(futures[:, i], futures[:, j]) for i, j in pairs(samples)]
    return torch.stack(found).mean(0).unsqueeze(1)


@torch.no_grad()
def self_similarity_flow(futures: Tensor) -> Tensor:
    """`self_similarity` of flow pictures, from each frame to the next, of the first FLOW_SAMPLES samples.

    futures: (B, K, T, C, H, W) float in [0, 1], T 2 or more. Returns (B, 1, T) float64, NaN in the first frame, which
    has none before it, and NaN throughout if K is 1. Raises InputError as `self_similarity`.
    """
    if futures.ndim != 6:
        raise InputError(f"futures (B, K, T, C, H, W) wanted, not {tuple(futures.shape)}")
    few = futures[:, :FLOW_SAMPLES]
    pictures = few.new_zeros(*few.shape[:3], 3, *few.shape[-2:])
    if few.shape[1] > 1:
        pictures[:, :, 1:] = flow_pictures(tvl1(few))
    similarity = self_similarity(pictures)
    similarity[..., 0] = torch.nan
    return similarity


def flow_pictures(flow: Tensor) -> Tensor:
    """Flow in colours: (..., 2, H, W) px to (..., 3, H, W) float32 in [0, 1].

    Hue is the direction (right is red), brightness the speed, FULL_SPEED and more the brightest; what stands is black.
    """
    dx, dy = np.moveaxis(flow.double().cpu().numpy(), -3, 0)
    hue = np.arctan2(dy, dx) / (2 * np.pi) % 1
    speed = np.minimum(np.hypot(dx, dy) / FULL_SPEED, 1)
    colours = hsv_to_rgb(np.stack([hue, np.ones_like(hue), speed], -1))
    return torch.from_numpy(np.moveaxis(colours, -1, -3).astype(np.float32)).to(flow.device)


@lru_cache(maxsize=8)
def pairs(samples: int) -> list[tuple[int, int]]:
    """The pairs of samples that are compared: PAIRS of all, or all if no more; the same ones for the same K."""
    everyone = list(itertools.combinations(range(samples), 2))
    if len(everyone) <= PAIRS:
        return everyone
    chosen = np.random.default_rng(SEED).choice(len(everyone), PAIRS, replace=False)
    return [everyone[pair] for pair in sorted(chosen)]
