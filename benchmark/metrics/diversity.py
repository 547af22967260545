"""How alike the samples of one clip are: Sound2Sight's figure 5c."""

import itertools
from functools import lru_cache

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from torch import Tensor

from benchmark.metrics.checks import check_samples
from benchmark.metrics.flow import tvl1
from benchmark.metrics.image import ssim

PAIRS = 50  # pairs of a clip's samples that are compared
FLOW_SAMPLES = 4  # a clip's first samples, of which all pairs are compared: TV-L1 takes some 20 ms a frame
FULL_SPEED = 8.0  # px a frame that the brightest colour of a flow picture stands for; M3SO's digits reach 6
SEED = 0


@torch.no_grad()
def self_similarity(samples: Tensor) -> Tensor:
    """Return the mean SSIM (`image.ssim`) over pairs of a clip's samples, frame by frame; 1 where all agree.

    There are PAIRS pairs, drawn once for each K; all pairs are taken where there are no more.
    samples: (B, K, T, C, H, W) float in [0, 1]. Returns (B, 1, T) float64 in [-1, 1], NaN if K is 1.
    Raises InputError as `ssim`. Source: Sound2Sight (2020), figure 5c; the choice of pairs is this benchmark's.
    """
    check_samples(samples)
    clips, count, frames = samples.shape[:3]
    if count == 1:
        return torch.full((clips, 1, frames), torch.nan, dtype=torch.float64, device=samples.device)
    similarities = [ssim(samples[:, i], samples[:, j]) for i, j in pairs(count)]
    return torch.stack(similarities).mean(0).unsqueeze(1)


@torch.no_grad()
def self_similarity_flow(samples: Tensor) -> Tensor:
    """Return `self_similarity` of flow pictures, from each frame to the next, of the first FLOW_SAMPLES samples.

    samples: (B, K, T, C, H, W) float in [0, 1], T 2 or more. Returns (B, 1, T) float64, NaN in the first frame, before
    which there is no frame, and NaN throughout if K is 1. Raises InputError as `self_similarity`.
    """
    check_samples(samples)
    few = samples[:, :FLOW_SAMPLES]
    pictures = few.new_zeros(*few.shape[:3], 3, *few.shape[-2:])
    if few.shape[1] > 1:
        pictures[:, :, 1:] = flow_pictures(tvl1(few))
    similarity = self_similarity(pictures)
    similarity[..., 0] = torch.nan
    return similarity


def flow_pictures(flow: Tensor) -> Tensor:
    """Return flow as colours: (..., 2, H, W) px to (..., 3, H, W) float32 in [0, 1].

    Hue is the direction (right is red), brightness the speed, brightest at FULL_SPEED and more; no motion is black.
    """
    dx, dy = np.moveaxis(flow.double().cpu().numpy(), -3, 0)
    hue = np.arctan2(dy, dx) / (2 * np.pi) % 1
    speed = np.minimum(np.hypot(dx, dy) / FULL_SPEED, 1)
    colours = hsv_to_rgb(np.stack([hue, np.ones_like(hue), speed], -1))
    return torch.from_numpy(np.moveaxis(colours, -1, -3).astype(np.float32)).to(flow.device)


@lru_cache(maxsize=8)
def pairs(samples: int) -> list[tuple[int, int]]:
    """Return the PAIRS pairs of samples that are compared, or all if there are no more; always the same for one K."""
    all_pairs = list(itertools.combinations(range(samples), 2))
    if len(all_pairs) <= PAIRS:
        return all_pairs
    chosen = np.random.default_rng(SEED).choice(len(all_pairs), PAIRS, replace=False)
    return [all_pairs[pair] for pair in sorted(chosen)]
