"""The Fréchet distance: closed forms, invariances, and every rank a covariance can have."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from evalkit.errors import MetricError
from evalkit.metrics.distribution.checks import check_features
from evalkit.metrics.distribution.fid import frechet_distance, frechet_distance_statistics
from evalkit.metrics.distribution.fid_infinity import frechet_infinity, sample_sizes
from evalkit.metrics.distribution.fid_influence import FrechetInfluence
from evalkit.metrics.moments import Moments, moments
from evalkit.metrics.rows import Reordered, canonical_order

RNG = np.random.default_rng(0)


def rows(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return (shift + scale * rng.normal(size=(n, d)) @ mix).astype(np.float32)


def distance(x: np.ndarray, y: np.ndarray, ddof: int = 1) -> float:
    return frechet_distance(moments(x), moments(y), ddof=ddof)


def nuclear_norm(x: np.ndarray, y: np.ndarray) -> float:
    """tr (S1 S2)^(1/2) is the nuclear norm of the cross Gram matrix: exact for any rank."""
    a, b = (z.astype(np.float64) - z.mean(axis=0, dtype=np.float64) for z in (x, y))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt((len(x) - 1) * (len(y) - 1))
    gap = x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)
    return float(gap @ gap + (a**2).sum() / (len(x) - 1) + (b**2).sum() / (len(y) - 1) - 2 * root)


@pytest.mark.parametrize(
    ("n", "m", "d"), [(300, 200, 10), (20, 30, 50), (5, 200, 40), (200, 5, 40), (2, 2, 7)]
)
def test_any_rank_agrees_with_the_nuclear_norm(n: int, m: int, d: int):
    x, y = rows(n, d, 1), rows(m, d, 2, shift=0.3, scale=1.2)
    assert distance(x, y) == pytest.approx(nuclear_norm(x, y), rel=1e-7)


def test_full_rank_agrees_with_the_matrix_square_root():
    x, y = rows(500, 12, 1), rows(400, 12, 2, scale=2)
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(0) - y.mean(0)
    want = gap @ gap + np.trace(s1 + s2 - 2 * np.real(scipy.linalg.sqrtm(s1 @ s2)))
    assert distance(x, y) == pytest.approx(want, rel=1e-6)


def test_diagonal_gaussians_have_a_closed_form():
    mu1, mu2 = RNG.normal(size=6), RNG.normal(size=6)
    sd1, sd2 = RNG.uniform(0.1, 3, 6), RNG.uniform(0.1, 3, 6)
    want = ((mu1 - mu2) ** 2).sum() + ((sd1 - sd2) ** 2).sum()
    assert frechet_distance_statistics(mu1, np.diag(sd1**2), mu2, np.diag(sd2**2)) == pytest.approx(
        want, rel=1e-12
    )


@pytest.mark.parametrize(("n", "d"), [(300, 10), (20, 50)])
def test_laws(n: int, d: int):
    x, y = rows(n, d, 1), rows(n + 3, d, 2, shift=0.5, scale=1.5)
    here = distance(x, y)
    assert distance(y, x) == pytest.approx(here, rel=1e-7)
    assert distance(x, x) == pytest.approx(0, abs=1e-6 * here)
    assert distance(x, x) >= 0
    rotation = scipy.linalg.qr(RNG.normal(size=(d, d)))[0]
    turned = distance(x @ rotation + 1, y @ rotation + 1)
    assert turned == pytest.approx(here, rel=1e-4)  # the rotated rows are rounded to float32 again
    assert distance(2 * x, 2 * y) == pytest.approx(4 * here, rel=1e-9)
    assert distance(x, y, ddof=0) != pytest.approx(here, rel=1e-9)


@pytest.mark.parametrize("power", [1, 3, 5])
def test_small_eigenvalues_keep_their_digits(power: int):
    """Variances that fall as i^-power: condition numbers up to 1e11, and a distance of 1e-4 of the traces."""
    d, n = 150, 750
    rng = np.random.default_rng(0)
    mix = scipy.linalg.qr(rng.normal(size=(d, d)))[0] * np.arange(1, d + 1) ** (-power / 2)
    x, y = (rng.normal(size=(n, d)) @ mix.T for _ in range(2))
    assert distance(x, y) == pytest.approx(nuclear_norm(x, y), rel=1e-7)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e6])
def test_scales_do_not_matter(scale: float):
    x, y = rows(100, 20, 1).astype(np.float64), rows(90, 20, 2, shift=1).astype(np.float64)
    assert distance(x * scale, y * scale) == pytest.approx(scale**2 * distance(x, y), rel=1e-8)


def test_dead_features_change_nothing():
    x, y = rows(100, 20, 1), rows(90, 20, 2, shift=1)
    here = distance(x, y)
    padded = [np.concatenate([z, np.zeros((len(z), 5), np.float32)], axis=1) for z in (x, y)]
    assert distance(*padded) == pytest.approx(here, rel=1e-9)
    one_dead = np.concatenate([x, np.zeros((len(x), 1), np.float32)], axis=1)
    one_alive = np.concatenate([y, RNG.normal(size=(len(y), 1)).astype(np.float32)], axis=1)
    assert distance(one_dead, one_alive) > here


def test_more_noise_is_farther():
    x = rows(400, 16, 1)
    noisy = [x + level * RNG.normal(size=x.shape) for level in (0, 0.1, 0.3, 1.0)]
    found = [distance(x, each) for each in noisy]
    assert found == sorted(found)


def test_the_order_of_the_rows_moves_no_bit_once_they_are_in_canonical_order():
    x, y = rows(333, 24, 1), rows(222, 24, 2)
    shuffled = x[RNG.permutation(len(x))]
    in_order = [Reordered(z, canonical_order(z)) for z in (x, y, shuffled)]
    assert distance(in_order[0], in_order[1]) == distance(in_order[2], in_order[1])


def test_moments_merge_to_the_whole():
    x = rows(250, 9, 1, shift=100)
    parts = [moments(x[:3]), moments(x[3:90]), moments(x[90:])]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    whole = moments(x)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        whole.covariance(1), np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12
    )
    empty = Moments(0, np.zeros(9), np.zeros((9, 9)))
    assert empty.merge(whole).n == whole.merge(empty).n == 250


def test_the_influence_shares_the_distance_to_the_last_bit():
    x, y = rows(120, 30, 1), rows(100, 30, 2, shift=0.2)
    found = FrechetInfluence(moments(x), moments(y), ddof=1)
    assert found.distance == distance(x, y)


@pytest.mark.parametrize(("n", "d"), [(60, 8), (20, 30)])
def test_the_influence_of_a_row_is_what_leaving_it_out_does(n: int, d: int):
    """Jackknife: n (F - F without row i) is the influence of row i to first order in 1/n."""
    x, y = rows(4000, 5, 1), rows(3000, 5, 2, shift=0.5, scale=1.4)
    error = FrechetInfluence(moments(x), moments(y), ddof=0)
    error.observe_first(x)
    error.observe_second(y)
    found = error.finish()
    here = distance(x, y, ddof=0)
    for i in range(0, 40):
        without = distance(np.delete(x, i, axis=0), y, ddof=0)
        assert (len(x) - 1) * (here - without) == pytest.approx(found.first[i], rel=0.05, abs=0.02)


def test_rows_that_were_not_shown_are_missed():
    x, y = rows(30, 4, 1), rows(30, 4, 2)
    error = FrechetInfluence(moments(x), moments(y), ddof=1)
    error.observe_second(y)
    with pytest.raises(MetricError, match="needs the 30 rows behind its moments and saw 0"):
        error.finish()


def test_infinity_takes_the_bias_off():
    real = rows(20_000, 8, 5)
    fake = rows(600, 8, 6)
    biased = distance(real, fake)
    line = frechet_infinity(moments(real), fake, ddof=1, num_points=15, min_fake=None, seed=0)
    assert abs(line.value) < biased
    assert line.slope > 0
    assert line.sizes[0] == 60
    assert line.sizes[-1] == 600
    assert line.distances[-1] == pytest.approx(biased, rel=1e-9)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(MetricError, match="15 different sample sizes from 2 on do not fit into 12 samples"):
        frechet_infinity(
            moments(rows(50, 3, 1)), rows(12, 3, 2), ddof=1, num_points=15, min_fake=None, seed=0
        )
    assert sample_sizes(100, None, 3).tolist() == [10, 55, 100]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(5, np.float32), r"shape \(n, d\)"),
        (np.zeros((1, 3), np.float32), "1 row"),
        (np.ones((9, 3), np.float32), "all 9 rows .* are equal"),
        (
            np.array([[0, 1], [np.nan, 2], [1, np.inf]], np.float32),
            "NaN or infinity in 2 of 3 rows, first in row 1",
        ),
    ],
)
def test_features_without_a_distance_are_refused(bad: np.ndarray, message: str):
    with pytest.raises(MetricError, match=message):
        check_features(bad, "samples")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), np.eye(4), np.zeros(3), np.eye(3)), r"mean of shape \(d,\) and a covariance"),
        ((np.zeros(3), np.eye(3), np.zeros(4), np.eye(4)), "3 features and the other 4"),
        ((np.zeros(3), np.eye(3) * np.nan, np.zeros(3), np.eye(3)), "NaN or infinity"),
        ((np.zeros(2), np.array([[1.0, 5], [0, 1]]), np.zeros(2), np.eye(2)), "not symmetric"),
        ((np.zeros(2), np.array([[1.0, 2], [2, 1]]), np.zeros(2), np.eye(2)), "no negative eigenvalues"),
    ],
)
def test_statistics_that_are_none_are_refused(arguments: tuple, message: str):
    with pytest.raises(MetricError, match=message):
        frechet_distance_statistics(*arguments)


def test_too_few_rows_have_no_covariance():
    with pytest.raises(MetricError):
        distance(rows(1, 3, 1), rows(5, 3, 2))
