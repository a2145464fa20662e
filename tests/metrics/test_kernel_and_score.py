"""Kernel distances and the inception score: closed forms, unbiasedness, draws."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics.distribution import kid
from evalkit.metrics.distribution.inception_score import inception_score

POLY = kid.polynomial_kernel()


def rows(n: int, seed: int, shift: float = 0.0, d: int = 8) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def drawn(x: np.ndarray, y: np.ndarray, **options) -> kid.KernelDistance:
    given = {"num_subsets": 20, "subset_size": 30, "seed": 3, **options}
    return kid.kernel_distance(x, y, POLY, **given)


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    k = lambda a, b: (a.astype(np.float64) @ b.astype(np.float64).T / a.shape[1] + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx, yy = k(x, x), k(y, y)
    return float(
        (xx.sum() - np.trace(xx)) / (n * (n - 1))
        + (yy.sum() - np.trace(yy)) / (m * (m - 1))
        - 2 * k(x, y).mean()
    )


def test_subsets_are_the_official_draws():
    x, y = rows(50, 1), rows(60, 2, 0.5)
    rng = np.random.RandomState(3)
    want = []
    for _ in range(20):
        one = rng.choice(50, 30, replace=False)
        other = rng.choice(60, 30, replace=False)
        want.append(by_hand(x[one], y[other]))
    found = drawn(x, y)
    np.testing.assert_allclose(found.subsets, want, rtol=1e-9)
    assert found.value == pytest.approx(np.mean(want), rel=1e-10)
    assert found.std == pytest.approx(np.std(want), rel=1e-8)


def test_both_ways_of_computing_subsets_agree():
    x, y = rows(400, 1), rows(300, 2, 0.2)
    few = drawn(x, y, num_subsets=2)  # subset by subset is cheaper
    many = drawn(x, y, num_subsets=200)  # all pairs once
    assert few.full is None
    assert many.full == pytest.approx(by_hand(x, y), rel=1e-9)
    np.testing.assert_allclose(many.subsets[:2], few.subsets, rtol=1e-9)


def test_drawing_reals_first_is_another_draw():
    x, y = rows(50, 1), rows(60, 2, 0.5)
    assert drawn(x, y).value != drawn(x, y, draw_order="real-first").value


def test_the_distance_is_unbiased_around_zero_and_sees_a_shift():
    values = [kid.mmd2(rows(80, 2 * i), rows(80, 2 * i + 1), POLY).value for i in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    assert min(values) < 0 < max(values)
    assert kid.mmd2(rows(80, 1), rows(80, 2, 1.0), POLY).value > 10 * np.std(values)


def test_blocks_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    x, y = rows(150, 1), rows(130, 2, 0.3)
    here = kid.mmd2(x, y, POLY).value
    monkeypatch.setattr(kid, "_BLOCK", 17)
    assert kid.mmd2(x, y, POLY).value == pytest.approx(here, rel=1e-12)
    assert kid.mmd2(x[::-1], y, POLY).value == pytest.approx(here, rel=1e-12)
    assert kid.mmd2(y, x, POLY).value == pytest.approx(here, rel=1e-12)


def test_the_rbf_kernel_of_equal_sets_is_zero_in_the_biased_form():
    x = rows(40, 1)
    assert kid.mmd2(x, x, kid.rbf_kernel(sigma=2.0), "biased").value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drawn(rows(20, 1), rows(60, 2)), "subsets of 30 cannot be drawn from 20 samples and 60"),
        (lambda: drawn(rows(50, 1), rows(50, 2), subset_size=1), "1 subset or more, of 2 rows or more"),
        (lambda: drawn(rows(50, 1, d=3), rows(50, 2)), "two sets of features of one width"),
        (lambda: kid.mmd2(rows(4, 1), rows(5, 1), POLY, "u-statistic"), "sets of one size, got 4 and 5"),
        (lambda: kid.mmd2(rows(1, 1), rows(5, 1), POLY), "at least 2 rows"),
        (
            lambda: kid.mmd2(
                rows(9, 1) * np.float32(1e30), rows(9, 2) * 1e30, kid.polynomial_kernel(degree=9)
            ),
            "overflow",
        ),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
def test_what_has_no_kernel_distance(call, message: str):
    with pytest.raises(MetricError, match=message):
        call()


def test_sure_and_balanced_answers_score_the_number_of_classes():
    logits = np.tile(np.eye(10, dtype=np.float32) * 200, (10, 1))
    found = inception_score(logits, splits=10)
    assert found.mean == pytest.approx(10, rel=1e-12)
    assert found.std == pytest.approx(0, abs=1e-9)


def test_constant_answers_score_one():
    logits = np.tile(rows(1, 0, d=10), (50, 1))
    assert inception_score(logits, splits=5).mean == pytest.approx(1, rel=1e-12)


def test_a_probability_that_underflows_counts_nothing():
    logits = np.zeros((20, 3), np.float32)
    logits[:, 2] = -1e4
    logits[::2, 0] = 5
    assert np.isfinite(inception_score(logits, splits=2).mean)
    probabilities = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]] * 4)
    assert inception_score(probabilities, splits=1, given="probabilities").mean == pytest.approx(3)


def test_shifting_all_logits_of_a_row_changes_nothing():
    logits = rows(60, 1, d=12)
    shifted = logits + np.linspace(-50, 50, 60, dtype=np.float32)[:, None]
    assert inception_score(shifted, splits=3).mean == pytest.approx(
        inception_score(logits, splits=3).mean, rel=1e-5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inception_score(rows(5, 1), splits=10), "5 samples cannot be cut by 10"),
        (lambda: inception_score(rows(5, 1, d=1), splits=1), "2 classes or more"),
        (lambda: inception_score(rows(5, 1), splits=1, given="probabilities"), "no probabilities"),
        (lambda: inception_score(rows(5, 1), splits=1, split_size=2), "give one of the two"),
        (lambda: inception_score(rows(5, 1), splits=1, ddof=1), "more than 1 splits"),
    ],
)
def test_what_has_no_inception_score(call, message: str):
    with pytest.raises(MetricError, match=message):
        call()
