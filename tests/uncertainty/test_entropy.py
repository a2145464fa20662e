"""The error bar of linear separability against repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.metrics.latent.separability import Separability, conditional_entropy, separability
from evalkit.uncertainty.entropy import exponential_estimate
from evalkit.uncertainty.estimate import Estimate


def measure(num: int, seed: int) -> tuple[Separability, Estimate]:
    """Three attributes that share part of their noise."""
    rng = np.random.default_rng(seed)
    z, common = rng.normal(size=(num, 2)).astype(np.float32), rng.normal(size=num)
    logits = [z[:, 0] + common, z[:, 1] + common, z[:, 0] - z[:, 1] + common / 2 + 0.3]
    found = separability(z, np.stack(logits, axis=1), num_keep=num // 2)
    return found, exponential_estimate(found.bits, found.influence, perfect=0, num_judged=num // 2)


def test_the_spread_of_repetitions_with_everything_drawn_and_fitted_again():
    """The truth comes from 400,000 samples. 150 repetitions know a spread to 6 %."""
    truth, _ = measure(400_000, 0)
    runs = [measure(1000, 1 + index) for index in range(150)]
    spread = np.std([found.bits for found, _ in runs], ddof=1)
    errors = [np.sqrt(found.influence @ found.influence) / 1000 for found, _ in runs]
    assert 0.85 < np.mean(errors) / spread < 1.15
    of_scores = np.std([found.score for found, _ in runs], ddof=1)
    assert 0.85 < np.mean([estimate.standard_error for _, estimate in runs]) / of_scores < 1.15
    inside = np.mean([made.interval[0] <= truth.score <= made.interval[1] for _, made in runs])
    assert inside >= 0.88
    # Attributes that share noise err together: summing variances would miss that.
    apart = [np.sqrt(sum(each.influence @ each.influence for each in f.attributes)) / 1000 for f, _ in runs]
    assert np.mean(apart) < 0.96 * np.mean(errors)


def test_the_influence_of_a_sample_is_the_derivative_by_its_weight():
    """All samples kept: a sample moves its cell of the table and nothing else."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2)).astype(np.float32)
    found = separability(z, z[:, :1] + rng.normal(size=(2000, 1)), num_keep=2000).attributes[0]
    table, step = found.joint.astype(np.float64), 1e-6
    expected = []
    for cell in np.ndindex(2, 2):
        more = (1 - step) * table
        more[cell] += step
        slope = (conditional_entropy(more) - conditional_entropy(table)) / step
        expected += [slope] * round(2000 * table[cell])
    np.testing.assert_allclose(np.sort(found.influence), np.sort(expected), atol=1e-4)


def test_a_sample_that_is_left_out_has_its_influence_through_the_threshold():
    found, _ = measure(2000, 3)
    for each in found.attributes:
        left_out = np.unique(each.influence.round(12), return_counts=True)
        assert left_out[1].max() >= 1000
        assert each.influence.mean() == pytest.approx(0, abs=1e-12)


def test_no_wrong_prediction_gets_the_rule_of_three():
    made = exponential_estimate(0.0, np.zeros(200), perfect=1, num_judged=100)
    share = 0.03
    most = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert (made.value, made.standard_error) == (1.0, 0.0)
    assert made.interval == pytest.approx((1.0, 2**most))
    assert "rule of three" in made.method
    assert "held fixed" in made.method
    ten = exponential_estimate(0.0, np.zeros(200), perfect=10, num_judged=100)
    assert made.interval[1] < ten.interval[1] < made.interval[1] ** 10


def test_the_rule_of_three_ends_where_one_run_of_twenty_shows_nothing():
    wrong = 3 / (500 * 4)
    bits = -wrong * np.log2(wrong) - (1 - wrong) * np.log2(1 - wrong)
    made = exponential_estimate(0.0, np.zeros(1000), perfect=4, num_judged=500)
    assert made.interval[1] == pytest.approx(2 ** (4 * bits))
    rng = np.random.default_rng(0)
    unseen = [not (rng.random((500, 4)) < wrong).any() for _ in range(2000)]
    assert np.mean(unseen) == pytest.approx(0.05, abs=0.015)


def test_nothing_to_tell_has_no_error():
    made = exponential_estimate(0.0, np.zeros(50), perfect=0, num_judged=25, notes=("hat",))
    assert made.value == 1.0
    assert made.standard_error is None
    assert made.interval is None
    assert made.method == "none: there is no attribute of which both classes were seen"
    assert made.notes == ("hat",)


def test_the_interval_is_raised_to_the_power_and_not_below_1():
    made = exponential_estimate(1.0, np.array([2.0, -2.0] * 200), perfect=0, num_judged=200)
    spread = 0.1
    assert made.standard_error == pytest.approx(np.log(2) * 2 * spread)
    assert made.interval == pytest.approx((2 ** (1 - 1.96 * spread), 2 ** (1 + 1.96 * spread)), rel=1e-4)
    assert (
        exponential_estimate(0.1, np.array([2.0, -2.0] * 200), perfect=0, num_judged=200).interval[0] == 1.0
    )
