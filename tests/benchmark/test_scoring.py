"""What the scores compare with."""

from types import SimpleNamespace

import numpy as np
import torch

from benchmark.protocols import PROTOCOLS
from benchmark.scoring import target_of
from mmnist_av.m3so.digits import load_pool
from mmnist_av.m3so.picture import block_mask, render_frames
from mmnist_av.m3so.spec import Spec
from mmnist_av.m3so.world import simulate

TRUTH = {
    "block_place": np.array([[3, 4], [5, 6], [7, 8]]),
    "block_first_frame": np.array([41, 69, 70]),
    "block_size": np.array([16, 16, 16]),
}


def test_images_are_compared_with_the_unseen_frames():
    frames = torch.rand(1, 25, 1, 4, 4)
    target = target_of("psnr", frames, SimpleNamespace(), PROTOCOLS["m3so-nb"], 0)
    assert torch.equal(target, frames[:, None, 5:])


def test_the_block_of_a_clip_is_its_own_unless_it_comes_after_the_last_predicted_frame():
    places = [
        target_of(
            "block_iou", torch.zeros(1, 70, 1, 48, 48), SimpleNamespace(truth=TRUTH), PROTOCOLS["m3so"], index
        ).tolist()
        for index in range(3)
    ]
    assert places == [[[3, 4]], [[5, 6]], [[-1, -1]]]


def test_the_digit_is_looked_for_outside_the_shown_block():
    dataset = Spec(obstacle=True)
    pool = load_pool("embedded")["test"]
    truth = simulate(pool, dataset, 0, "test", np.arange(4))
    shown = block_mask(truth, dataset)[:, 30:70]
    pictures = torch.from_numpy(render_frames(truth, pool, dataset)).float()[:, :70, None] / 255
    for index in range(4):
        split = SimpleNamespace(truth=truth.arrays())
        target = target_of("position_error", pictures[index : index + 1], split, PROTOCOLS["m3so"], index)
        np.testing.assert_array_equal(target.isnan()[0, 0, :, 0].numpy(), shown[index])
        kept = ~target.isnan()
        assert torch.equal(target[kept], pictures[index : index + 1, None, 30:][kept])
