"""The error bar of a pooled PSNR: right about repetitions of the whole draw, and only over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.metrics.equivariance.eq import psnr
from evalkit.uncertainty.ratio import psnr_estimate


def draw(rng: np.random.Generator, batches: int, group: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Errors whose size belongs mostly to their batch, over masks of different sizes."""
    shared = np.repeat(rng.lognormal(0.0, 0.6, batches), group)
    counted = np.repeat(rng.integers(500, 3000, batches), group).astype(float)
    return shared * rng.lognormal(0.0, 0.2, batches * group) * counted * 1e-4, counted


@pytest.mark.parametrize("batches", [25, 200])
def test_the_interval_covers_what_more_draws_would_give(batches: int):
    rng = np.random.default_rng(0)
    errors, counted = draw(rng, 200_000)
    truth = psnr(errors.sum(), counted.sum())
    hits, spreads, values = 0, [], []
    for _ in range(600):
        errors, counted = draw(rng, batches)
        value = psnr(errors.sum(), counted.sum())
        found = psnr_estimate(value, errors, counted, group=4)
        assert found.interval is not None
        assert found.standard_error is not None
        hits += found.interval[0] <= truth <= found.interval[1]
        spreads.append(found.standard_error)
        values.append(value)
    assert 0.9 < hits / 600 < 0.985
    assert np.mean(spreads) / np.std(values, ddof=1) == pytest.approx(1, abs=0.12)


def test_images_of_a_batch_are_not_taken_for_independent():
    errors, counted = np.repeat([1.0, 2.0, 4.0, 3.0], 4), np.full(16, 10.0)
    value = psnr(errors.sum(), counted.sum())
    by_batch = psnr_estimate(value, errors, counted, group=4)
    by_image = psnr_estimate(value, errors, counted, group=1)
    assert by_batch.standard_error == pytest.approx(by_image.standard_error * math.sqrt(5))
    assert "4 batches of 4 images" in by_batch.method


def test_one_batch_has_no_error():
    found = psnr_estimate(40.0, np.ones(4), np.full(4, 10.0), group=4)
    assert found.standard_error is None
    assert found.interval is None
    assert found.method == "none: 4 images are one batch, the error needs 5 or more"
