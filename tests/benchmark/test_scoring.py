"""What the scores compare with."""

from types import SimpleNamespace

import numpy as np
import torch

from benchmark.protocols import PROTOCOLS
from benchmark.scoring import target_of

TRUTH = {"block_place": np.array([[3, 4], [5, 6], [7, 8]]), "block_first_frame": np.array([41, 69, 70])}


def test_images_are_compared_with_the_unseen_frames():
    frames = torch.rand(1, 25, 1, 4, 4)
    target = target_of("psnr", frames, SimpleNamespace(), PROTOCOLS["m3so-nb"], 0)
    assert torch.equal(target, frames[:, None, 5:])


def test_the_block_of_a_clip_is_its_own_unless_it_comes_after_the_last_predicted_frame():
    places = [
        target_of("block_iou", torch.zeros(1), SimpleNamespace(truth=TRUTH), PROTOCOLS["m3so"], index).tolist()
        for index in range(3)
    ]
    assert places == [[[3, 4]], [[5, 6]], [[-1, -1]]]
