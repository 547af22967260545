import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_digits
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim

from benchmark.metrics import image
from benchmark.metrics.image import psnr, psnr_exact, ssim, ssim_uniform
from mmnist_av.system.errors import InputError

METRICS = [psnr, ssim, ssim_uniform]
SEED = np.random.default_rng(0)


def digits(start, count):
    pictures = np.zeros((count, 48, 48))
    for place, digit in enumerate(load_digits().images[start : start + count]):
        y, x = SEED.integers(0, 33, 2)
        pictures[place, y : y + 16, x : x + 16] = gaussian_filter(np.kron(digit / 16, np.ones((2, 2))), 0.5)
    return pictures


def squares(count):
    pictures = np.zeros((count, 48, 48))
    for picture in pictures:
        y, x = SEED.integers(0, 33, 2)
        picture[y : y + 16, x : x + 16] = 1
    return pictures


def kinds():
    black, noise, square, digit = np.zeros((6, 48, 48)), SEED.random((6, 48, 48)), squares(6), digits(0, 6)
    near = np.clip(noise + 1e-3 * SEED.standard_normal(noise.shape), 0, 1)
    smooth = 0.9 + 0.1 * np.stack([gaussian_filter(picture, 4) for picture in noise])
    halves = np.where(np.arange(48) < 24, 0.93, 0.03) + black
    level = np.linspace(0.3, 0.95, 6)[:, None, None] + black
    some = SEED.standard_normal((2, *noise.shape))
    return {
        "noise and noise": (noise, SEED.random(noise.shape)),
        "black and black": (black, black),
        "black and noise": (black, noise),
        "white and grey": (black + 1, black + 0.7),
        "white and nearly white": (black + 1, black + 0.995),
        "squares apart": (square, squares(6)),
        "a square and its negative": (square, 1 - square),
        "a square, fainter": (square, 0.9 * square + 0.03),
        "digits apart": (digit, digits(6, 6)),
        "a digit, blurred": (digit, np.stack([gaussian_filter(picture, 1) for picture in digit])),
        "a digit on a square": (np.maximum(digit, square), square),
        "nearly equal": (noise, near),
        "equal": (digit, digit),
        "bright and flat": (smooth, smooth[::-1]),
        "flat and the next grey": (level, np.nextafter(np.float32(level), np.float32(1))),
        "flat and flat": (level, level[::-1]),
        "halves and darker halves": (halves, 0.77 * halves),
        "binary and binary": (np.round(noise), np.round(noise[::-1])),
        **{
            f"bright, with noise of {size}": tuple(np.clip(level + size * some, 0, 1))
            for size in (1e-7, 1e-5, 1e-3, 1e-2, 3e-2)
        },
        **{f"flat, {size} apart": (level, level - size) for size in (1e-3, 1e-2, 0.1)},
    }


FRAMES = {
    kind: (np.float32(target)[:, None], np.float32(prediction)[:, None])
    for kind, (target, prediction) in kinds().items()
}
FRAMES["colour"] = tuple(SEED.random((2, 4, 3, 64, 56)).astype(np.float32))
FRAMES["one window wide"] = tuple(SEED.random((2, 4, 1, 11, 30)).astype(np.float32))


def scikit_psnr(target, prediction):
    with np.errstate(divide="ignore"):
        return min(peak_signal_noise_ratio(target, prediction, data_range=1), 60)


def scikit_ssim(target, prediction):
    exactly = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    return structural_similarity(target, prediction, channel_axis=0, **exactly)


def scikit_ssim_uniform(target, prediction):
    return structural_similarity(target, prediction, channel_axis=0, win_size=7, data_range=2)


REFERENCES = [(psnr, scikit_psnr), (ssim, scikit_ssim), (ssim_uniform, scikit_ssim_uniform)]


def assert_scikit_images_scores(metric, reference, target, prediction):
    expected = [reference(*pair) for pair in zip(target.astype(np.float64), prediction.astype(np.float64), strict=True)]
    result = metric(torch.from_numpy(target), torch.from_numpy(prediction))
    exact = metric is psnr or target.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9 if exact else 6e-6)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(("metric", "reference"), REFERENCES)
def test_every_frame_has_scikit_images_score(metric, reference, frames, precision):
    assert_scikit_images_scores(metric, reference, *(side.astype(precision) for side in frames))


@pytest.mark.parametrize(("metric", "reference"), REFERENCES)
@settings(max_examples=25, deadline=None)
@given(
    levels=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    cells=arrays(np.int64, (2, 1, 4, 4), elements=st.integers(0, 4)),
    noise=st.sampled_from([0, 1e-7, 1e-4, 1e-2]),
)
def test_frames_of_few_levels_have_scikit_images_score(metric, reference, levels, cells, noise):
    flat = np.array(levels)[cells % len(levels)].repeat(12, -1).repeat(12, -2)
    noisy = np.clip(flat + noise * np.random.default_rng(0).standard_normal(flat.shape), 0, 1).astype(np.float32)
    assert_scikit_images_scores(metric, reference, noisy[:1], noisy[1:])


@pytest.mark.parametrize("metric", [ssim, ssim_uniform])
def test_frames_that_float32_scores_wrongly_are_scored_in_float64(metric, monkeypatch):
    target, prediction = torch.full((1, 1, 48, 48), 0.93), torch.linspace(0.1, 0.6, 30).expand(1, 48, 48, 30)
    prediction = prediction.permute(3, 0, 1, 2)
    exact = metric(target.double(), prediction.double())
    assert (metric(target, prediction) == exact).all()
    monkeypatch.setattr(image, "DOUBT", math.inf)
    assert (metric(target, prediction) - exact).abs().max() > 1e-5


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_psnr_and_the_valid_region_of_ssim_are_torchmetrics(frames):
    target, prediction = (torch.from_numpy(side).double() for side in frames)
    error = {"data_range": 1.0, "dim": (1, 2, 3), "reduction": "none"}
    np.testing.assert_allclose(psnr(target, prediction), torchmetrics_psnr(prediction, target, **error).clamp(max=60))
    _, whole = torchmetrics_ssim(prediction, target, data_range=1.0, return_full_image=True)  # reflects at the border
    valid = whole[..., 5:-5, 5:-5].flatten(1).mean(1)
    np.testing.assert_allclose(ssim(target, prediction), valid, rtol=0, atol=1e-9)


def test_ssim_is_a_plain_loop_over_windows():
    target, prediction = SEED.random((2, 13, 14))
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    local = []
    for y in range(3):
        for x in range(4):
            a, b = target[y : y + 11, x : x + 11], prediction[y : y + 11, x : x + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            local.append(luminance * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4))
    result = ssim(torch.from_numpy(target)[None, None], torch.from_numpy(prediction)[None, None])
    assert result.item() == pytest.approx(np.mean(local), abs=1e-12)


def test_psnr_of_a_constant_error_is_known():
    target = torch.full((1, 1, 48, 48), 0.25, dtype=torch.float64)
    assert psnr(target, target + 0.1).item() == pytest.approx(20, abs=1e-9)
    assert psnr(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).item() == 0


def test_psnr_of_equal_frames_is_60_dB_and_none_is_more():
    frames = torch.rand(5, 3, 48, 48)
    assert psnr(frames, frames).tolist() == [60.0] * 5
    assert psnr(torch.zeros(1, 1, 48, 48), torch.full((1, 1, 48, 48), 1e-4)).item() == 60.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frame_is_exact_where_its_psnr_is_the_highest(dtype):
    target = torch.rand(1, 1, 9, 3, 8, 8, dtype=dtype) * 0.9
    errors = torch.tensor([0, 1e-4, 9.99e-4, 1.001e-3, 0.01, 0.1], dtype=dtype)  # one sample each
    prediction = target + errors[:, None, None, None, None]
    result = psnr_exact(target, prediction)
    assert result.dtype == torch.float64
    assert torch.equal(result, (psnr(target, prediction) == 60).double())
    assert result.mean(-1).tolist() == [[1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize("metric", [ssim, ssim_uniform])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]), height=st.integers(11, 40))
def test_ssim_is_symmetric_one_for_equal_frames_and_never_more(metric, seed, channels, height):
    rng = torch.Generator().manual_seed(seed)
    target, prediction = torch.rand(2, 3, channels, height, 29, generator=rng)
    score = metric(target, prediction)
    torch.testing.assert_close(score, metric(prediction, target), rtol=0, atol=1e-6)
    torch.testing.assert_close(score, metric(target.double(), prediction.double()), rtol=0, atol=1e-6)
    assert metric(target, target).tolist() == [1.0] * 3
    assert ((score < 1) & (score >= -1)).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("lead_target", "lead_prediction"),
    [((2, 1, 4), (2, 9, 4)), ((1, 3), (5, 1)), ((4,), (3, 4)), ((3, 2), (2,)), ((), (7,)), ((), ())],
)
def test_broadcast_shapes_give_the_bits_of_calls_frame_by_frame(metric, lead_target, lead_prediction):
    target, prediction = torch.rand(*lead_target, 1, 48, 48), torch.rand(*lead_prediction, 1, 48, 48)
    result = metric(target, prediction)
    wide = torch.broadcast_shapes(lead_target, lead_prediction)
    assert result.shape == wide
    pairs = zip(
        target.expand(*wide, 1, 48, 48).reshape(-1, 1, 48, 48),
        prediction.expand(*wide, 1, 48, 48).reshape(-1, 1, 48, 48),
        strict=True,
    )
    assert result.flatten().tolist() == [metric(one, other).item() for one, other in pairs]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 64, 64), (3, 128, 96), (1, 37, 51)], ids=str)
def test_a_score_does_not_depend_on_what_is_scored_beside_it(metric, shape):
    target, prediction = torch.rand(2, 1, 7, *shape), torch.rand(2, 8, 7, *shape)
    target[:, :, 2::3], prediction[:, ::3, 2::3] = 0.9, 0.4  # some that float32 would score wrongly
    whole = metric(target, prediction)
    assert torch.equal(whole[:, :3], metric(target, prediction[:, :3]))
    assert torch.equal(whole[1:, 5:, 2:6], metric(target[1:, :, 2:6], prediction[1:, 5:, 2:6]))
    assert torch.equal(whole[0, 4, 6:], metric(target[0, 0, 6:], prediction[0, 4, 6:]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 128, 96)], ids=str)
def test_the_number_of_threads_changes_no_bit(metric, shape):
    target, prediction = torch.rand(1, 3, *shape), torch.rand(2, 3, *shape)
    expected = metric(target, prediction)
    torch.set_num_threads(2)
    assert torch.equal(expected, metric(target, prediction))


@pytest.mark.parametrize("metric", METRICS)
def test_each_target_frame_is_prepared_once_whatever_the_number_of_samples(metric, monkeypatch):
    counted = []
    bmm = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *factors, out: counted.append(len(out)) or bmm(*factors, out=out))
    size = image.BLOCK_VALUES // (48 * 48)
    metric(torch.rand(1, 1, size, 1, 48, 48), torch.rand(1, 10, size, 1, 48, 48))
    # Rows and columns: the mean of the target frames, three moments of each block.
    assert len(counted) == (0 if metric is psnr else 2 * (1 + 3 * 10))
    assert set(counted) <= {size}


@pytest.mark.parametrize("metric", METRICS)
def test_training_precision_does_not_reach_the_scores(metric):
    target, prediction = torch.rand(1, 3, 48, 48), torch.rand(4, 3, 48, 48, requires_grad=True)
    expected = metric(target, prediction)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            result = metric(target, prediction)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(expected, result)
    assert not result.requires_grad
    assert result.dtype == torch.float64


@pytest.mark.parametrize("metric", METRICS)
def test_frames_in_any_memory_layout_have_the_same_scores(metric):
    prediction = torch.rand(4, 3, 48, 48, 1)
    moved = prediction.permute(1, 0, 4, 2, 3)
    target = torch.rand(1, 4, 1, 48, 48)
    assert torch.equal(metric(target, moved), metric(target, moved.contiguous()))


OK = torch.rand(2, 1, 48, 48)


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        (OK[0, 0], OK, r"target: \(..., C, H, W\) float frames expected, found \(48, 48\)"),
        (OK, (OK * 255).byte(), "prediction: .* found .* uint8"),
        (OK, OK[..., :47], "frames differ in shape"),
        (OK.repeat(1, 2, 1, 1), OK.repeat(1, 2, 1, 1), "1 or 3 channels"),
        (OK, torch.rand(3, 1, 48, 48), "leading shapes do not match"),
        (OK[:0], OK[:1], "no frames"),
        (OK, OK + 0.5, "prediction: values in .* expected, found 0"),
        (OK - 0.5, OK, "target: values in .* expected, found -0"),
        (OK, OK.where(OK < 0.9, torch.nan), "prediction: values in .* nan"),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_wrong_shapes_types_and_values_are_refused(metric, target, prediction, message):
    with pytest.raises(InputError, match=message):
        metric(target, prediction)


@pytest.mark.parametrize(("metric", "window"), [(ssim, 11), (ssim_uniform, 7)])
def test_frames_smaller_than_the_window_are_refused(metric, window):
    for height, width in ((window - 1, 48), (48, window - 1)):
        with pytest.raises(InputError, match=f"at least {window}x{window} expected"):
            metric(torch.rand(1, 1, height, width), torch.rand(1, 1, height, width))
    assert metric(torch.rand(1, 1, window, window), torch.rand(1, 1, window, window)).shape == (1,)
