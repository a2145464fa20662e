"""What no likelihood can be is refused with the reading that it might have; what one can be is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.errors import MetricError
from evalkit.metrics.likelihood.plausibility import check_finite, check_plausible, smallest_mean

DIMS = 3 * 32 * 32


def check(values, **changes):
    values = np.asarray(values, dtype=np.float64)
    settings = {"num_dims": DIMS, "bits": 8, "num_distinct": len(values), "name": "vae"} | changes
    return check_plausible(values, **settings)


def spread(mean, num=1000, share=0.1, seed=0):
    return np.random.default_rng(seed).normal(mean, abs(mean) * share, num)


def test_likelihoods_pass_without_a_word():
    assert check(spread(2.9 * DIMS * math.log(2))) is None
    assert check(spread(78.0, 10_000), num_dims=784) is None
    # Exactly uniform, exactly a memory of the images: the borders are possible.
    assert check(np.full(3, 8 * DIMS * math.log(2)), kind="exact") is None
    assert check(np.full(1000, math.log(1000)), kind="exact", num_dims=4) is None
    assert check([0.0], kind="exact") is None


@pytest.mark.parametrize("kind", ["exact", "elbo", "iwae"])
@pytest.mark.parametrize("mean", [3.0, 2.0])
def test_bits_or_nats_a_dimension_are_no_nats_of_an_image(kind, mean):
    with pytest.raises(MetricError) as caught:
        check(values := spread(mean, 10_000), kind=kind)
    message = str(caught.value)
    assert f"vae gives a mean of {values.mean():.4g} nats an image" in message
    assert "over 10,000 different images, which cannot be a likelihood" in message
    assert "their probabilities sum to at most 1, so that the mean is at least 9.21" in message
    assert "Most likely bits/dim or nats/dim were returned where nats an image were declared" in message
    for units, factor in (("nats/dim", 1 / math.log(2)), ("bits/dim", 1)):
        assert f'(units="{units}") it would be {values.mean() * factor:.4g} bits/dim' in message
    assert 'units="bits")' not in message


def test_a_reading_takes_the_offset_of_a_density_into_account():
    # A density on [-1, 1] of -0.9 nats a dimension, that is 7 - 0.9 / ln 2 bits/dim, returned as nats of an
    # image and declared as nats of a dimension.
    returned = spread(-0.9) * DIMS
    offset = 7 * math.log(2) * DIMS
    with pytest.raises(MetricError) as caught:
        check(returned * DIMS + offset, units="nats/dim", dequantisation="uniform", scale="signed")
    wanted = 7 + returned.mean() / DIMS / math.log(2)
    assert f'read as nats an image (units="nats") it would be {wanted:.4g} bits/dim' in str(caught.value)


def test_probabilities_above_one_are_refused():
    values = spread(5000.0)
    values[17] = -0.25
    with pytest.raises(MetricError, match=r"vae gives -0.25 nats for image 17, a probability above 1"):
        check(values, kind="exact")
    # A drawn number may be by chance; a mean may not.
    assert check(values, kind="elbo") is None
    with pytest.raises(
        MetricError, match=r"Most likely ln p was returned .* with the other sign, read as nats an image"
    ):
        check(-values, kind="elbo")
    with pytest.raises(MetricError, match="declared with another dequantisation, scale or unit"):
        check(-values, dequantisation="uniform", scale="unit")


def test_a_density_at_the_levels_is_refused_above_what_levels_can_have():
    with pytest.raises(MetricError, match="probability above 1"):
        check(spread(-5000.0), dequantisation="none", scale="signed")
    assert check(spread(2.0 * DIMS), dequantisation="none", scale="signed") is None
    assert "worse than the uniform" in check(spread(9.0 * DIMS), dequantisation="none", scale="signed")


def test_repeated_images_are_counted_once():
    # 990 copies of one image that the model knows by heart, and 10 others.
    values = np.array([0.02] * 990 + [6.9] * 10)
    assert check(values, num_distinct=11, kind="exact") is None
    with pytest.raises(MetricError, match="over 1,000 different"):
        check(values, num_distinct=1000, kind="exact")


@pytest.mark.parametrize(("num", "distinct"), [(1, 1), (7, 7), (7, 1), (9, 4), (1000, 11)])
def test_the_smallest_mean_is_the_entropy_of_the_most_uneven_frequencies(num, distinct):
    copies = np.array([num - distinct + 1] + [1] * (distinct - 1)) / num
    assert smallest_mean(num, distinct) == pytest.approx(-(copies * np.log(copies)).sum(), abs=1e-12)
    # No other frequencies of so many images have less.
    rng = np.random.default_rng(num)
    for _ in range(20):
        others = np.bincount(rng.integers(0, distinct, num - distinct), minlength=distinct) + 1
        assert smallest_mean(num, distinct) <= -(others / num * np.log(others / num)).sum() + 1e-12


def test_a_drawn_mean_is_refused_only_beyond_its_error():
    rng = np.random.default_rng(0)
    near = math.log(100) - 0.2 + rng.normal(0, 1, 100)
    assert check(near, kind="elbo", num_dims=16) is None
    with pytest.raises(MetricError, match="cannot be a likelihood"):
        check(near, kind="exact", num_dims=16)


def test_worse_than_uniform_is_doubted():
    nats = spread(8.5 * DIMS * math.log(2), share=0.001)
    assert 'if these are bits, declare units="bits"' in check(nats)
    doubt = check(nats, units="bits")
    assert doubt.startswith("vae: 8.5 bits/dim is worse than the uniform model, which needs 8;")
    assert "an untrained model may be" in doubt
    assert "units=" not in check(nats * 2)
    assert "needs 5" in check(spread(5.5 * DIMS * math.log(2)), bits=5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named_and_never_averaged(bad):
    values = spread(5000.0, 20)
    values[[3, 11]] = bad
    with pytest.raises(
        MetricError, match=rf"vae gives {bad} nats for image 3 \(and for 1 more\); a mean over"
    ):
        check(values)
    with pytest.raises(MetricError, match=rf"flow gives {bad} nats for image 0; a mean"):
        check_finite(np.array([bad]), "flow")
