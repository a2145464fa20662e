"""The error bar of a trimmed mean, beside the spread of many repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.metrics.latent.ppl import trimmed
from evalkit.uncertainty.estimate import Estimate
from evalkit.uncertainty.trimmed import trimmed_estimate

REPETITIONS = 400


def estimate(values: np.ndarray, group: int = 1) -> Estimate:
    found = trimmed(values, 1, 99)
    return trimmed_estimate(found.mean, values, found.lower, found.upper, group=group)


def lognormal(n: int, seed: int) -> np.ndarray:
    """Long-tailed, as the distances of pairs are."""
    return np.random.default_rng(seed).lognormal(0, 1, n)


def shared(n: int, seed: int) -> np.ndarray:
    """Eight consecutive values share a third of their variance."""
    rng = np.random.default_rng(seed)
    together = np.repeat(rng.normal(size=-(-n // 8)), 8)[:n]
    return np.exp(np.sqrt(1 / 3) * together + np.sqrt(2 / 3) * rng.normal(size=n))


@pytest.mark.parametrize(("draw", "group"), [(lognormal, 1), (lognormal, 8), (shared, 8)])
@pytest.mark.parametrize("n", [500, 2500])
def test_coverage(draw, group: int, n: int):
    truth = trimmed(lognormal(2_000_000, 10**6), 1, 99).mean  # all have this distribution
    found = [estimate(draw(n, seed), group) for seed in range(REPETITIONS)]
    spread = np.std([each.value for each in found])
    errors = np.mean([each.standard_error for each in found])
    inside = np.mean([each.interval[0] <= truth <= each.interval[1] for each in found])
    assert 0.9 < errors / spread < 1.1
    # At 500 values the bounds trim 4/500 of each side, not 1/100: the estimate lies a little high.
    assert 0.90 <= inside <= 0.98


def test_values_that_share_a_draw_are_not_taken_as_independent():
    values = shared(2000, 0)
    assert estimate(values, 8).standard_error > 1.3 * estimate(values).standard_error
    assert "250 groups of 8" in estimate(values, 8).method


def test_without_trimming_it_is_the_error_of_a_mean():
    values = lognormal(40, 3)
    found = trimmed_estimate(float(values.mean()), values, values.min(), values.max())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(40), rel=1e-12)


def test_extremes_pull_no_more_than_the_bounds():
    values = lognormal(1000, 4)
    far = values.copy()
    far[far.argmax()] *= 1e6
    assert estimate(far).standard_error == pytest.approx(estimate(values).standard_error, rel=1e-12)


def test_few_values():
    alone = estimate(np.array([3.0]))
    assert (alone.value, alone.standard_error, alone.interval) == (3.0, None, None)
    assert "too few" in alone.method
    assert estimate(np.arange(8.0), 8).standard_error is None
    assert estimate(np.arange(9.0), 8).standard_error is not None
    low, high = estimate(np.array([0.0, 1.0, 9.0])).interval
    assert low == 0
    assert high > 9


def test_values_that_are_all_alike():
    assert estimate(np.full(50, 2.5)).interval == (2.5, 2.5)
