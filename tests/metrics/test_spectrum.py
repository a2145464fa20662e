"""Average power spectra: white noise is flat, a wave peaks where it should, power is kept, order is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.errors import MetricError, UsageError
from evalkit.metrics.distribution.spectrum import Levels, Spectrum, SpectrumSum, decibels

SIZES = [4, 5, 8, 12, 16, 33]


def noise(num: int, side: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, channels, side, side), dtype=np.uint8)


def spectrum(images: np.ndarray, mean: float | None = None, std: float | None = None, **more) -> Spectrum:
    levels = Levels()
    for image in images:
        levels.add(image)
    found = levels.whitening()
    total = SpectrumSum(images.shape[-1], found[0] if mean is None else mean, std or found[1], **more)
    for image in images:
        total.add(image)
    return total.finish()


def wave(side: int, across: float, down: float, num: int = 24) -> np.ndarray:
    """Grey images of one plane wave, so many cycles a pixel, at evenly spread phases.

    A frequency whose period is a few pixels would have its levels rounded alike again and again, which adds
    waves of its own; those below do not.
    """
    place = np.arange(side)
    phase = 2 * math.pi * np.arange(num)[:, None, None] / num
    angle = 2 * math.pi * (across * place[None, None] + down * place[None, :, None]) + phase
    return np.rint(127.5 + 100 * np.cos(angle)).astype(np.uint8)[:, None].repeat(3, axis=1)


def test_levels_are_those_of_all_pixels():
    images = noise(7, 9)
    levels = Levels()
    for image in images:
        levels.add(image)
    assert levels.whitening() == pytest.approx((images.mean(), images.std()), rel=1e-13)


@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("interpolation", [1, 3, 4])
def test_power_is_that_of_the_definition_at_every_frequency(side: int, interpolation: int):
    images = noise(3, side, channels=2)
    mean, std, padded = 120.0, 60.0, side * interpolation
    line = np.kaiser(side, 8.0)
    line /= np.sqrt((line**2).sum())
    waves = np.exp(-2j * np.pi * np.outer(np.arange(padded) - padded // 2, np.arange(side)) / padded) * line
    white = (images.astype(float) - mean) / std
    expected = (np.abs(waves @ white @ waves.T) ** 2).mean(axis=(0, 1))
    total = SpectrumSum(side, mean, std, interpolation=interpolation)
    for image in images:
        total.add(image)
    found = total.finish()
    np.testing.assert_allclose(found.power, expected, rtol=1e-9, atol=1e-10 * expected.max())
    middle = padded // 2
    steps = np.arange(padded // 2 + 1)
    # Frequency m/2 of an even side is stored at -m/2, its equal.
    wrapped = (middle + steps) % padded
    np.testing.assert_allclose(found.curves["0"].power, found.power[middle, wrapped], rtol=1e-12)
    np.testing.assert_allclose(found.curves["45"].power, found.power[wrapped, wrapped], rtol=1e-12)
    frequency = np.arange(padded) - middle
    radius = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    rings = [found.power[radius == ring].mean() for ring in steps]
    np.testing.assert_allclose(found.curves["radial"].power, rings, rtol=1e-12)


@pytest.mark.parametrize("side", [8, 21])
def test_power_is_kept(side: int):
    images = noise(20, side)
    line = np.kaiser(side, 8.0)
    window = np.outer(line, line)
    window /= np.sqrt((window**2).sum())
    white = (images - images.mean()) / images.std() * window
    for interpolation in (1, 4):
        found = spectrum(images, interpolation=interpolation)
        padded = side * interpolation
        assert found.power.shape == (padded, padded)
        expected = (white**2).sum(axis=(2, 3)).mean()
        assert found.power.sum() / padded**2 == pytest.approx(expected, rel=1e-12)


def test_white_noise_is_flat_at_no_decibels():
    found = spectrum(noise(1500, 16))
    assert found.num == 1500
    for curve in found.curves.values():
        # Frequencies nearby go up and down together, so about a tenth of them are free.
        off = np.abs(curve.decibels) / curve.decibels_error
        assert off.max() < 4.5
        assert np.abs(curve.decibels).max() < 0.35
    assert np.abs(decibels(found.power)).max() < 0.6


def test_levels_scale_by_the_real_spread():
    images = noise(50, 8)
    one, half = spectrum(images), spectrum(images, std=2 * float(images.std()))
    np.testing.assert_allclose(half.power, one.power / 4, rtol=1e-12)


@pytest.mark.parametrize(("side", "across", "down"), [(32, 9 / 32, 0.0), (20, 0.3, 0.0), (33, 0.2, 0.2)])
def test_a_wave_peaks_at_its_frequency(side: int, across: float, down: float):
    found = spectrum(wave(side, across, down))
    middle = len(found.power) // 2
    row, column = np.unravel_index(int(found.power[:, middle:].argmax()), found.power[:, middle:].shape)
    step = 1 / len(found.power)
    assert abs((row - middle) * step - down) <= step / 2 + 1e-12
    assert abs(column * step - across) <= step / 2 + 1e-12
    curve = found.curves["45" if down else "0"]
    length = math.hypot(across, down)
    assert abs(curve.frequency[int(curve.power.argmax())] - length) <= step * math.sqrt(2) / 2 + 1e-12
    # The window's side lobes, and what rounding to levels adds.
    away = np.abs(curve.frequency - length) > 4 / side
    assert curve.decibels[away].max() < curve.decibels.max() - 50


def test_the_height_of_a_wave_is_its_power_times_the_windows():
    side, amplitude = 32, 100.0
    found = spectrum(wave(side, 9 / 32, 0.0), mean=127.5, std=1.0)
    line = np.kaiser(side, 8.0)
    gain = (line.sum() ** 2 / (line**2).sum()) ** 2
    # Rounding to levels adds 1/12 of white noise, far below.
    assert found.curves["0"].power.max() == pytest.approx(amplitude**2 / 4 * gain, rel=1e-3)


def test_batches_leave_no_trace_and_order_hardly_any():
    images = noise(40, 12)
    one, other = spectrum(images), spectrum(images[::-1])
    for name, curve in one.curves.items():
        np.testing.assert_allclose(curve.power, other.curves[name].power, rtol=1e-12)
        np.testing.assert_allclose(curve.standard_error, other.curves[name].standard_error, rtol=1e-10)
    np.testing.assert_allclose(one.power, other.power, rtol=1e-12)


def test_standard_errors_are_those_of_the_mean_over_images():
    images = noise(60, 8)
    found = spectrum(images)
    levels = images.mean(), images.std()
    each = []
    for image in images:
        total = SpectrumSum(8, *map(float, levels))
        for _ in range(2):
            total.add(image)
        each.append(total.finish())
    for name, curve in found.curves.items():
        powers = np.stack([one.curves[name].power for one in each])
        assert all(np.abs(one.curves[name].standard_error).max() < 1e-12 for one in each)
        np.testing.assert_allclose(
            curve.standard_error, powers.std(axis=0, ddof=1) / math.sqrt(60), rtol=1e-9
        )


def test_errors_in_decibels_cover_what_repetitions_do():
    runs = [spectrum(noise(60, 8, seed)) for seed in range(120)]
    for name in ("0", "45", "radial"):
        values = np.stack([run.curves[name].decibels for run in runs])
        told = np.stack([run.curves[name].decibels_error for run in runs]).mean(axis=0)
        ratio = told / values.std(axis=0, ddof=1)
        assert 0.8 < ratio.min() <= ratio.max() < 1.25


def test_grey_levels_and_transposes():
    images = noise(10, 12)
    turned = spectrum(images.transpose(0, 1, 3, 2))
    np.testing.assert_allclose(turned.power, spectrum(images).power.T, rtol=1e-12)
    grey = images[:, :1]
    three = grey.repeat(3, axis=1)
    np.testing.assert_allclose(spectrum(three).power, spectrum(grey).power, rtol=1e-12)


def test_exact_zeros_are_shown_far_down_and_not_as_nothing():
    values = decibels(np.array([1.0, 0.0, 1e-3]))
    np.testing.assert_allclose(values, [0, -300, -30], atol=1e-9)
    assert np.isfinite(decibels(np.zeros(2))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 0.0, 1.0), "images of 3 pixels a side have no spectrum to speak of; give 4 or more"),
        ((8, 0.0, 0.0), "whitening by mean 0.0 and std 0.0 cannot be"),
        ((8, math.nan, 1.0), "whitening by mean nan"),
        (
            (4096, 0.0, 1.0),
            "4096 pixels padded to 4 times as many are 16,384 a side; lower the interpolation",
        ),
    ],
)
def test_sums_that_cannot_be(arguments: tuple[int, float, float], message: str):
    with pytest.raises(UsageError) as caught:
        SpectrumSum(*arguments)
    assert message in str(caught.value)


def test_options_that_cannot_be():
    with pytest.raises(UsageError, match="the interpolation is 0; give a whole number from 1"):
        SpectrumSum(8, 0.0, 1.0, interpolation=0)
    with pytest.raises(UsageError, match="the interpolation is 1.5"):
        SpectrumSum(8, 0.0, 1.0, interpolation=1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the window's beta is nan"):
        SpectrumSum(8, 0.0, 1.0, beta=math.nan)


def test_images_that_do_not_fit_are_named():
    total = SpectrumSum(8, 100.0, 50.0)
    total.add(noise(1, 8)[0])
    with pytest.raises(MetricError, match="1 images have no spread; give at least 2"):
        total.finish()
    with pytest.raises(
        MetricError, match="b.png is 8 x 9 pixels and others are 8 x 8: .* square images of one"
    ):
        total.add(np.zeros((3, 8, 9), np.uint8), "b.png")
    with pytest.raises(MetricError, match="an image is 16 x 16 pixels"):
        total.add(np.zeros((3, 16, 16), np.uint8))


def test_blank_images_have_no_spectrum():
    with pytest.raises(MetricError, match="all levels of all real images are equal"):
        spectrum(np.full((4, 3, 8, 8), 7, np.uint8))
    with pytest.raises(MetricError, match="there are no images"):
        Levels().whitening()
    total = SpectrumSum(8, 7.0, 1.0)
    for _ in range(2):
        total.add(np.full((3, 8, 8), 7, np.uint8))
    with pytest.raises(MetricError, match="so the spectrum is zero"):
        total.finish()
