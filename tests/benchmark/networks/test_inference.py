from contextlib import suppress

import torch

from benchmark.networks.inference import full_precision, levels, rgb


def test_grey_is_repeated_and_colour_is_kept():
    grey, colour = torch.rand(2, 1, 4, 5).double(), torch.rand(2, 3, 4, 5)
    assert torch.equal(rgb(grey, "frames"), torch.cat([grey.float()] * 3, 1))
    assert torch.equal(rgb(colour, "frames"), colour)


def test_levels_of_8_bit_frames_are_their_own():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(levels(every.float() / 255), every)


def test_full_precision_holds_in_the_block_and_ends_with_it():
    weights = torch.rand(4, 4, requires_grad=True)
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = True
        with torch.autocast("cpu", torch.bfloat16):
            with suppress(KeyError), full_precision(torch.device("cpu")):
                assert (weights @ weights).dtype == torch.float32
                assert not (weights @ weights).requires_grad
                assert not cudnn.allow_tf32
                raise KeyError
            assert (weights @ weights).dtype == torch.bfloat16
        assert cudnn.allow_tf32
    finally:
        cudnn.allow_tf32 = before
