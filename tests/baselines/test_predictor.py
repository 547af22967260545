import torch

from baselines.predictor import Noise


def test_noise_of_a_sample_depends_on_seed_clip_and_sample_only():
    together = Noise(3, [7, 2, 9], samples=4).normal(5, 2)
    alone = Noise(3, [2], samples=6).normal(5, 2)
    assert together.shape == (3, 4, 5, 2)
    assert torch.equal(together[1], alone[0, :4])


def test_noise_differs_between_calls_and_by_seed_clip_and_sample():
    noise = Noise(0, [0, 1], samples=2)
    first, second = noise.normal(50), noise.normal(50)
    streams = torch.cat([first.flatten(0, 1), second.flatten(0, 1), Noise(1, [0], 1).normal(50)[0]])
    assert len(torch.unique(streams, dim=0)) == 9


def test_noise_is_standard_normal():
    draws = Noise(0, range(20), samples=20).normal(100)
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02
