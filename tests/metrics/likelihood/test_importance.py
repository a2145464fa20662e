"""The streamed bound is logsumexp's, whatever the order, the parts or the size of the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import logsumexp

from evalkit.errors import MetricError
from evalkit.metrics.likelihood.importance import LogMeanExp, elbo, iwae

WEIGHTS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements=st.floats(-1e5, 1e5) | st.just(-np.inf),
)


def streamed(columns) -> LogMeanExp:
    total = LogMeanExp(len(columns[0]))
    for column in columns:
        total.add(column)
    return total


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.randoms(use_true_random=False))
def test_it_is_logsumexp_in_any_order_and_any_parts(weights, random):
    k = weights.shape[1]
    wanted = logsumexp(weights, axis=1) - np.log(k)
    columns = list(weights.T)
    random.shuffle(columns)
    np.testing.assert_allclose(streamed(columns).value(), wanted, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(iwae(weights), wanted, rtol=1e-13, atol=1e-12)
    cut = random.randint(0, k)
    total = LogMeanExp(len(weights))
    for part in (columns[:cut], columns[cut:]):
        total.merge(streamed(part) if part else LogMeanExp(len(weights)))
    assert total.count == k
    np.testing.assert_allclose(total.value(), wanted, rtol=1e-13, atol=1e-12)


def test_laws_of_the_bound():
    weights = np.random.default_rng(0).normal(-4000, 30, (50, 64))
    np.testing.assert_array_equal(iwae(weights[:, :1]), weights[:, 0])
    np.testing.assert_allclose(iwae(weights + 7.5), iwae(weights) + 7.5, rtol=1e-14)
    # Jensen: never below the mean of ln w, and never above the largest.
    assert (iwae(weights) > elbo(weights)).all()
    assert (iwae(weights) <= weights.max(1)).all()
    np.testing.assert_allclose(iwae(np.full((3, 5), -2.0)), elbo(np.full((3, 5), -2.0)), rtol=1e-15)
    # In expectation it rises with K; over 50 images of wide weights it does so plainly.
    means = [iwae(weights[:, :k]).mean() for k in (1, 4, 16, 64)]
    assert means == sorted(means)


def test_images_do_not_touch_each_other():
    weights = np.array([[1.0, 2.0], [np.nan, 0.0], [-np.inf, -np.inf], [np.inf, 3.0], [-np.inf, 3.0]])
    found = iwae(weights)
    assert found[0] == pytest.approx(logsumexp([1, 2]) - np.log(2))
    assert np.isnan(found[1])
    assert found[2] == -np.inf
    assert found[3] == np.inf
    assert found[4] == pytest.approx(3 - np.log(2))


def test_more_samples_than_fit_a_float_of_weights_lose_nothing():
    total = LogMeanExp(1)
    for _ in range(20_000):
        total.add(np.array([-9000.0]))
    assert total.value()[0] == pytest.approx(-9000, abs=1e-9)


def test_no_samples_and_other_images_are_refused():
    with pytest.raises(MetricError, match="bound of no samples is not defined; take K of 1"):
        LogMeanExp(2).value()
    for bound in (iwae, elbo):
        with pytest.raises(MetricError, match="of no samples is not defined"):
            bound(np.empty((2, 0)))
    with pytest.raises(ValueError, match=r"values of shape \(3,\) for 2 images"):
        LogMeanExp(2).add(np.zeros(3))
    with pytest.raises(ValueError, match="3 images merged into 2"):
        LogMeanExp(2).merge(LogMeanExp(3))
