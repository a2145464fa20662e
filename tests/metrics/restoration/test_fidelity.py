"""PSNR and SSIM: closed forms, symmetries, peers, and images they cannot compare."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.errors import MetricError, UsageError
from evalkit.imaging.resize_matlab import downscale, upscale
from evalkit.metrics.restoration.psnr import lr_psnr, psnr, shave
from evalkit.metrics.restoration.ssim import ssim, ssim_map

WINDOWS = {"gaussian11": 11, "uniform7": 7}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_psnr_in_closed_form():
    image = noise(3, 20, 30) // 2
    for step in (1, 7, 100):
        assert psnr(image, image + step) == pytest.approx(20 * math.log10(255 / step), abs=1e-12)
    assert psnr(image / 255, (image + 51) / 255, peak=1.0) == pytest.approx(20 * math.log10(5))
    assert psnr(image, image) == math.inf
    # uint8 differences do not wrap.
    assert psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)) == 0


def test_psnr_laws():
    a, b = noise(3, 20, 30), noise(3, 20, 30, seed=1)
    assert psnr(a, b) == psnr(b, a) == pytest.approx(psnr(255 - a, 255 - b), abs=1e-12)
    turned = psnr(a[:, ::-1].transpose(0, 2, 1), b[:, ::-1].transpose(0, 2, 1))
    assert turned == pytest.approx(psnr(a, b), abs=1e-12)
    # Shifting both together, with what comes in from outside left out.
    moved = [np.roll(image, (2, -3), axis=(1, 2)) for image in (a, b)]
    inside = [image[:, 4:-4, 4:-4] for image in moved]
    before = [image[:, 2:-6, 7:-1] for image in (a, b)]
    assert psnr(*inside) == psnr(*(shave(image, 4) for image in moved)) == psnr(*before)
    nearer = (3 * b.astype(float) + a) / 4
    assert psnr(nearer, b) == pytest.approx(psnr(a, b) + 20 * math.log10(4))


@pytest.mark.parametrize("window", WINDOWS)
def test_ssim_laws(window):
    a, b = noise(3, 20, 30), noise(3, 20, 30, seed=1)
    assert ssim(a, a, window=window) == 1
    assert ssim(a, b, window=window) == ssim(b, a, window=window)
    assert abs(ssim(a, b, window=window)) < 0.1
    near = (9 * a.astype(float) + b) / 10
    assert 0.9 < ssim(a, near, window=window) < 1
    assert ssim(255 - a, a, window=window) < -0.5
    turned = [image.transpose(0, 2, 1)[:, ::-1] for image in (a, b)]
    assert ssim(*turned, window=window) == pytest.approx(ssim(a, b, window=window), abs=1e-12)
    unit = ssim(a / 255, b / 255, window=window, peak=1.0)
    assert unit == pytest.approx(ssim(a, b, window=window), abs=1e-12)
    channels = [ssim(*planes, window=window) for planes in zip(a, b, strict=True)]
    assert ssim(a, b, window=window) == pytest.approx(np.mean(channels), abs=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_ssim_of_flat_images_is_in_closed_form(window):
    a, b = 100.0, 140.0
    expected = (2 * a * b + 2.55**2) / (a * a + b * b + 2.55**2)
    got = ssim(np.full((12, 13), a), np.full((12, 13), b), window=window)
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("window", "size"), WINDOWS.items())
def test_ssim_of_one_window_by_its_definition(window, size):
    a, b = (noise(size, size, seed=seed).astype(float) for seed in (2, 3))
    if window == "uniform7":
        weights, correction = np.full((size, size), 1 / size**2), size**2 / (size**2 - 1)
    else:
        line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
        weights, correction = np.outer(line, line) / line.sum() ** 2, 1.0
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (correction * (weights * (x - m) ** 2).sum() for x, m in ((a, mean_a), (b, mean_b)))
    cov = correction * (weights * (a - mean_a) * (b - mean_b)).sum()
    if window == "uniform7":
        assert cov == pytest.approx(np.cov(a.ravel(), b.ravel())[0, 1])
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (
        (2 * mean_a * mean_b + c1) * (2 * cov + c2) / (mean_a**2 + mean_b**2 + c1) / (var_a + var_b + c2)
    )
    assert ssim(a, b, window=window) == pytest.approx(expected, abs=1e-12)


def test_the_map_is_of_the_size_of_the_image_and_its_inside_is_the_number():
    a, b = noise(3, 20, 30), noise(3, 20, 30, seed=1)
    for window, size in WINDOWS.items():
        found = ssim_map(a, b, window=window)
        assert found.shape == a.shape
        assert shave(found, size // 2).mean() == ssim(a, b, window=window)
        # The inside does not see the border.
        wide = [np.pad(image, ((0, 0), (5, 5), (5, 5)), mode="wrap") for image in (a, b)]
        inside = ssim_map(*wide, window=window)[:, 5:-5, 5:-5]
        reach = size // 2
        np.testing.assert_allclose(shave(inside, reach), shave(found, reach), atol=1e-12)


def test_lr_psnr():
    low = noise(3, 8, 10)
    smooth = upscale(low, 4)
    back = downscale(smooth, 4)
    assert lr_psnr(smooth, low, 4) == psnr(back, low) > 15
    assert lr_psnr(smooth, back, 4) == math.inf
    assert lr_psnr(smooth[:, :-1, :-2], low, 4) > 15  # 31 by 38 shrink to 8 by 10
    with pytest.raises(MetricError, match="32 by 40 pixels shrinks by 2 to 16 by 20 pixels.*has 8 by 10"):
        lr_psnr(smooth, low, 2)
    with pytest.raises(MetricError, match="takes uint8 images; got float64"):
        lr_psnr(smooth / 255, low, 4)


@pytest.mark.parametrize("compare", [psnr, ssim])
def test_shapes_that_differ(compare):
    with pytest.raises(MetricError, match=r"of one shape; got \(3, 20, 30\) and \(3, 20, 31\): check"):
        compare(noise(3, 20, 30), noise(3, 20, 31))
    with pytest.raises(MetricError, match="of one shape; got"):
        compare(noise(3, 0, 30), noise(3, 0, 30))


def test_images_that_are_too_small():
    for window, size in WINDOWS.items():
        small = noise(3, size - 1, 40)
        with pytest.raises(
            MetricError, match=rf"{window} needs .* of {size} by {size}.*\(3, {size - 1}, 40\)"
        ):
            ssim(small, small, window=window)
    with pytest.raises(
        MetricError, match="8 by 40 pixels has nothing left without a border of 4.*more than 8"
    ):
        shave(noise(3, 8, 40), 4)
    assert shave(noise(3, 9, 40), 4).shape == (3, 1, 32)
    assert shave(noise(3, 9, 40), 0).shape == (3, 9, 40)
    with pytest.raises(MetricError, match="border of -1"):
        shave(noise(3, 9, 40), -1)
    with pytest.raises(UsageError, match="unknown window 'gaussian'"):
        ssim(noise(20, 20), noise(20, 20), window="gaussian")
