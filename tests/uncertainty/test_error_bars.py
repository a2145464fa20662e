"""Error bars against the truth: each method's standard error beside the spread of many repetitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from evalkit.metrics.distribution import kid
from evalkit.metrics.distribution.fid_infinity import frechet_infinity
from evalkit.metrics.distribution.fid_influence import FrechetInfluence
from evalkit.metrics.distribution.inception_score import inception_score
from evalkit.metrics.distribution.prdc import neighbours
from evalkit.metrics.moments import moments
from evalkit.uncertainty.bootstrap import neighbour_estimates, neighbour_replicas
from evalkit.uncertainty.estimate import Estimate, normal_interval, student95
from evalkit.uncertainty.format import number, with_error
from evalkit.uncertainty.influence import extrapolated_estimate, frechet_estimate, paired_difference
from evalkit.uncertainty.subsets import split_estimate, subset_estimate

D = 16
MIX = np.random.default_rng(5).normal(size=(D, D)) / 4


def relu_features(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Non-Gaussian, as a network's features are."""
    z = np.random.default_rng(seed).normal(size=(n, D)) @ MIX
    return np.maximum(z + 0.3 + shift, 0).astype(np.float32)


def frechet(x: np.ndarray, y: np.ndarray) -> Estimate:
    error = FrechetInfluence(moments(x), moments(y), ddof=1)
    error.observe_first(x)
    error.observe_second(y)
    found = error.finish()
    return frechet_estimate(error.distance, found.standard_error, found.bias, found.reliable, found.notes)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_closed_form_of_the_frechet_distance(shift: float):
    """Spread, bias and coverage of 200 repetitions; the truth comes from 400,000 rows."""
    truth = frechet(relu_features(400_000, 1), relu_features(400_000, 2, shift)).value
    runs = [
        frechet(relu_features(600, 10 + 2 * i), relu_features(600, 11 + 2 * i, shift)) for i in range(200)
    ]
    values = np.array([run.value for run in runs])
    biases = np.array([run.bias for run in runs])
    errors = np.array([run.standard_error for run in runs])
    spread = values.std(ddof=1)
    # 200 repetitions know a spread to 5 %; near 0 the first-order error is conservative (SPEC table: 1.3).
    assert 0.85 * spread < errors.mean() < (1.15 if shift else 1.6) * spread
    assert biases.mean() == pytest.approx(
        values.mean() - truth, abs=0.2 * biases.mean() + 3 * spread / np.sqrt(200)
    )
    inside = np.mean([run.interval[0] <= truth <= run.interval[1] for run in runs])
    assert inside >= 0.90


def test_an_exact_reference_leaves_the_samples_error_alone():
    x, y = relu_features(3000, 1), relu_features(500, 2, 0.2)
    m = moments(x)
    both = frechet(x, y)
    error = FrechetInfluence((m.mean, m.covariance(1)), moments(y), ddof=1)
    error.observe_second(y)
    alone = error.finish()
    assert alone.standard_error < both.standard_error
    assert alone.bias < both.bias


def test_few_rows_for_many_dimensions_say_so():
    x, y = relu_features(40, 1), relu_features(40, 2)
    found = frechet(x, y)
    assert any("fewer than 8 for each of the" in note for note in found.notes)
    assert "approximate" in found.method


def test_intervals_do_not_reach_below_zero():
    found = frechet_estimate(0.1, 1.0, 0.2, True)
    assert found.interval[0] == 0.0
    assert found.interval[1] > 1
    assert frechet_estimate(0.1, 0.02, 5.0, False).interval == pytest.approx((0.0, 1.96 * 0.02), rel=1e-3)


def test_the_variance_of_a_kernel_distance():
    kernel = kid.polynomial_kernel()

    def estimate(seed: int, shift: float) -> Estimate:
        x, y = relu_features(300, seed), relu_features(250, seed + 1, shift)
        found = kid.kernel_distance(x, y, kernel, num_subsets=30, subset_size=100, seed=seed)
        return subset_estimate(found.value, found.subsets, found.components.variance(300, 250))

    for shift in (0.0, 0.2):
        runs = [estimate(100 + 2 * i, shift) for i in range(150)]
        values = np.array([run.value for run in runs])
        mean_error = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
        assert 0.8 < mean_error / values.std(ddof=1) < 1.25


def test_the_bootstrap_over_the_neighbour_graph():
    rng = np.random.default_rng(0)
    seen: dict[str, list[float]] = {name: [] for name in ("precision", "recall", "density", "coverage")}
    errors: dict[str, list[float]] = {name: [] for name in seen}
    for i in range(120):
        real, fake = rng.normal(size=(300, 8)), rng.normal(size=(300, 8)) + np.eye(8)[0] * 1.5
        found = neighbours(real.astype(np.float32), fake.astype(np.float32), k=5, inside="<")
        values = {name: getattr(found, name) for name in seen}
        for name, value in values.items():
            seen[name].append(value)
        if i < 15:
            replicas = neighbour_replicas(found.graph, num=200, seed=i)
            counts = dict.fromkeys(seen, 300)
            for name, estimate in neighbour_estimates(values, counts, replicas, i).items():
                errors[name].append(estimate.standard_error)
    for name in seen:
        assert 0.8 < np.mean(errors[name]) / np.std(seen[name], ddof=1) < 1.5, name


def test_the_bootstrap_is_seeded_and_its_chunks_do_not_matter():
    rng = np.random.default_rng(0)
    found = neighbours(rng.normal(size=(80, 3)), rng.normal(size=(70, 3)), k=3, inside="<=")
    one, again = (neighbour_replicas(found.graph, num=120, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.precision, again.precision)
    assert not np.array_equal(one.precision, neighbour_replicas(found.graph, num=120, seed=5).precision)


def test_proportions_that_never_vary_get_the_rule_of_three():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(50, 3))
    found = neighbours(real, real + 100, k=3, inside="<=")
    replicas = neighbour_replicas(found.graph, num=20, seed=0)
    made = neighbour_estimates({"precision": 0.0}, {"precision": 50}, replicas, 0)["precision"]
    assert made.standard_error == 0
    assert made.interval == (0.0, 3 / 50)
    assert "rule of three" in made.method


def test_the_splits_of_an_inception_score():
    def logits(seed: int) -> np.ndarray:
        return (np.random.default_rng(seed).normal(size=(1000, 10)) * 3).astype(np.float32)

    truth = inception_score(logits(0).repeat(1, axis=0), splits=1)
    runs = [inception_score(logits(i), splits=10) for i in range(1, 121)]
    estimates = [split_estimate(run.mean, run.splits, run.bias) for run in runs]
    spread = np.std([run.mean for run in runs], ddof=1)
    assert 0.8 < np.mean([e.standard_error for e in estimates]) / spread < 1.2
    many = inception_score(
        (np.random.default_rng(9).normal(size=(200_000, 10)) * 3).astype(np.float32), splits=1
    )
    corrected = np.mean([e.value - e.bias for e in estimates])
    assert corrected == pytest.approx(many.mean, abs=4 * spread / np.sqrt(120) + 0.002)
    assert truth.mean > 1
    inside = np.mean([e.interval[0] <= many.mean <= e.interval[1] for e in estimates])
    assert inside >= 0.90


def test_a_score_of_small_splits_is_not_corrected_beyond_its_formula():
    """Many classes and few samples a split: the first-order bias is far from the true one."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 400)) * 4
    found = inception_score(logits, splits=10)
    made = split_estimate(found.mean, found.splits, found.bias)
    assert made.bias is None
    assert made.interval[0] < made.value < made.interval[1]
    assert "small lower the score by more than" in made.notes[0]
    assert "too large for its formula" in made.method


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 1000])
def test_students_t(freedom: int):
    assert student95(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=2e-3)


def test_students_t_needs_a_degree_of_freedom():
    with pytest.raises(ValueError, match="1 degree of freedom or more, got 0"):
        student95(0)


def test_the_intercept_of_the_extrapolated_distance():
    """Its error is the sampling error of all samples and the scatter of the points."""
    values, errors = [], []
    for i in range(60):
        x, y = relu_features(600, 500 + 2 * i), relu_features(400, 501 + 2 * i, 0.3)
        error = FrechetInfluence(moments(x), moments(y), ddof=1)
        error.observe_first(x)
        error.observe_second(y)
        line = frechet_infinity(moments(x), y, ddof=1, num_points=15, min_fake=None, seed=i)
        values.append(line.value)
        errors.append(
            extrapolated_estimate(
                line.value, error.finish().standard_error, line.standard_error
            ).standard_error
        )
    # 60 repetitions know a spread to 9 %.
    assert 0.75 < np.mean(errors) / np.std(values, ddof=1) < 1.3


def test_a_density_of_crowded_balls_is_not_understated():
    """Balls that hold many rows: the graph lists only some of them, and the error must still be honest."""
    rng = np.random.default_rng(0)
    seen, errors = [], []
    for i in range(60):
        real, fake = rng.normal(size=(300, 8)), rng.normal(size=(300, 8)) * 0.3
        found = neighbours(real, fake, k=5, inside="<")
        seen.append(found.density)
        if i < 6:
            errors.append(neighbour_replicas(found.graph, num=200, seed=i).density.std())
    assert 1 < np.mean(errors) / np.std(seen, ddof=1) < 3


def test_paired_differences_are_surer_than_independent_ones():
    real = relu_features(800, 1)
    models = [relu_features(800, 2, 0.2), relu_features(800, 3, 0.25)]
    parts = []
    for fake in models:
        error = FrechetInfluence(moments(real), moments(fake), ddof=1)
        error.observe_first(real)
        error.observe_second(fake)
        parts.append(error.finish())
    paired = paired_difference(parts[0].second, parts[1].second, parts[0].first - parts[1].first)
    independent = np.hypot(parts[0].standard_error, parts[1].standard_error)
    assert 0 < paired < independent


def test_estimates_hold_finite_numbers_only():
    with pytest.raises(ValueError, match="finite numbers only"):
        Estimate(value=float("nan"), standard_error=None, interval=None, method="x")
    assert normal_interval(1.0, 0.0) == (1.0, 1.0)
    assert extrapolated_estimate(1.0, 0.3, 0.4).standard_error == pytest.approx(0.5)
    assert subset_estimate(1.0, np.ones(3), None).standard_error is None
    assert split_estimate(1.0, np.ones(1), 0.0).standard_error is None


@pytest.mark.parametrize(
    ("value", "spread", "alone", "both"),
    [
        (12.3456, 0.0321, "12.346", "12.346 ± 0.032"),
        (1234.5, 56.0, "1234", "1234 ± 56"),
        (0.5, None, "0.5", "0.5"),
        (-0.00001, 0.01, "0.000", "0.000 ± 0.010"),
    ],
)
def test_numbers_show_the_digits_their_error_supports(
    value: float, spread: float | None, alone: str, both: str
):
    assert number(value, spread) == alone
    assert with_error(value, spread) == both
