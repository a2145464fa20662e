"""Units there and back, densities against probabilities, and noise that stays within a level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from evalkit.errors import UsageError
from evalkit.metrics.likelihood.bits_per_dim import (
    SCALES,
    UNITS,
    bits_per_dim,
    convert,
    dequantise,
    discretised,
    nats_per_image,
    offset_bits,
)

SIZE = {"num_dims": 3 * 5 * 7, "channels": 3}


@pytest.mark.parametrize(("one", "other"), list(itertools.product(UNITS, UNITS)))
def test_units_there_and_back(one, other):
    values = np.array([-3.0, 0.0, 0.25, 1e4])
    there = convert(values, one, other, **SIZE)
    np.testing.assert_allclose(convert(there, other, one, **SIZE), values, rtol=1e-14)
    # By way of a third it is the same.
    for third in UNITS:
        by_way = convert(convert(values, one, third, **SIZE), third, other, **SIZE)
        np.testing.assert_allclose(by_way, there, rtol=1e-14)


def test_one_bit_a_dimension_in_every_unit():
    said = {unit: convert(1.0, "bits/dim", unit, **SIZE) for unit in UNITS}
    assert said == pytest.approx(
        {"nats": 105 * math.log(2), "bits": 105, "nats/dim": math.log(2), "bits/dim": 1, "bits/pixel": 3}
    )
    assert bits_per_dim(said["nats"], 105) == pytest.approx(1)


def test_nats_stay_what_they_are_to_the_last_digit():
    values = np.array([0.1, 1 / 3, 1e-300])
    assert np.array_equal(nats_per_image(values, "nats", 7), values)
    assert convert(0.1, "nats", "bits") == pytest.approx(0.1 / math.log(2))
    assert convert(0.1, "bits/dim", "nats/dim") == pytest.approx(0.1 * math.log(2))


@pytest.mark.parametrize("bits", [8, 5, 1])
def test_a_density_has_the_same_bits_on_every_scale(bits):
    rng = np.random.default_rng(bits)
    images = (rng.integers(0, 256, (4, 1, 3, 2)) >> (8 - bits) << (8 - bits)).astype(np.uint8)
    noise = rng.random(images.shape)
    levels = 2.0**bits
    # One density, a normal distribution of mean 0.4 and deviation 0.3 on [0, 1], moved to each scale.
    moved = {"unit": (0.4, 0.3), "signed": (-0.2, 0.6), "levels": (0.4 * levels, 0.3 * levels)}
    found = {}
    for scale in SCALES:
        y = dequantise(images, noise, bits=bits, scale=scale)
        nats = -norm.logpdf(y, *moved[scale]).sum((1, 2, 3))
        found[scale] = bits_per_dim(discretised(nats, 6, bits=bits, scale=scale), 6)
    np.testing.assert_allclose(found["signed"], found["unit"], rtol=1e-12)
    np.testing.assert_allclose(found["levels"], found["unit"], rtol=1e-12)


@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("scale", list(SCALES))
def test_the_uniform_density_needs_as_many_bits_as_a_level_has(bits, scale):
    volume = {"unit": 1.0, "signed": 2.0, "levels": 2.0**bits}[scale]
    nats = discretised(np.full(3, 12 * math.log(volume)), 12, bits=bits, scale=scale)
    np.testing.assert_allclose(bits_per_dim(nats, 12), bits, rtol=1e-14)
    assert discretised(5.0, 12, bits=bits, scale=None) == 5.0


def test_the_mean_over_noise_bounds_the_probability_of_a_level():
    # Jensen: E_u[-ln p(v + u)] is at least -ln of the density's mass in the level.
    levels = np.arange(96, 105, dtype=np.uint8)
    grid = (np.arange(1000) + 0.5) / 1000
    y = dequantise(np.repeat(levels[:, None], 1000, 1), np.tile(grid, (9, 1)), bits=8, scale="levels")
    bound = -norm.logpdf(y, 100.0, 1.5).mean(1)
    mass = -np.log(norm.cdf(levels + 1.0, 100.0, 1.5) - norm.cdf(levels * 1.0, 100.0, 1.5))
    assert (bound > mass).all()
    assert (bound - mass).max() < 0.3


@pytest.mark.parametrize(("scale", "low", "high"), [("unit", 0, 1), ("signed", -1, 1), ("levels", 0, 256)])
def test_noise_stays_within_a_level(scale, low, high):
    levels = np.arange(256, dtype=np.uint8)
    first = dequantise(levels, np.zeros(256), bits=8, scale=scale)
    last = dequantise(levels, np.full(256, np.nextafter(1, 0)), bits=8, scale=scale)
    assert first[0] == low
    assert last[-1] <= high
    assert (last[:-1] <= first[1:]).all()
    assert first.dtype == np.float64


def test_five_bits_are_the_upper_ones():
    values = np.arange(256, dtype=np.uint8)
    noise = np.full(256, 0.5)
    found = dequantise(values, noise, bits=5, scale="levels")
    assert np.array_equal(found, values // 8 + 0.5)
    assert np.array_equal(dequantise(values // 8 * 8, noise, bits=5, scale="levels"), found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: convert(1.0, "bit/dim", "nats"), r"unknown units 'bit/dim' \(nearest: bits/dim"),
        (lambda: convert(1.0, "bpd", "bpd"), "unknown units 'bpd'"),
        (
            lambda: convert(1.0, "nats", "bits/dim"),
            "nats an image cannot be converted without the dimensions",
        ),
        (lambda: convert(1.0, "bits/pixel", "bits/dim", num_dims=12), "without the channels of an image"),
        (lambda: bits_per_dim(1.0, 0), "0 dimensions: an image has 1 or more"),
        (lambda: offset_bits(0, None), "bits = 0: a level has 1 bit or more"),
        (
            lambda: offset_bits(8, "unti"),
            r"unknown scale of a density 'unti' \(nearest: unit\); give unit for",
        ),
        (lambda: dequantise(np.zeros(1, np.uint8), np.zeros(1), bits=9, scale="unit"), "have 1 to 8 bits"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(UsageError, match=words):
        call()
