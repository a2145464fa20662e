"""From stored features to estimates: every kind of protocol, exact references, what cannot be measured."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from evalkit.engine.procedures.distribution import EXACT_REFERENCE, Measured, measure
from evalkit.errors import MetricError
from evalkit.metrics.moments import moments
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.sources.statistics import ReferenceStatistics

WIDTH = 12
KINDS = ["fd_mini", "kd_mini", "is_mini", "pr_mini", "prdc_mini", "fd_inf_mini"]


def features(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n, WIDTH)) + 0.5 + shift, 0).astype(np.float32)


def statistics(rows: np.ndarray, ddof: int | None = 1) -> ReferenceStatistics:
    found = moments(rows)
    known = ddof is not None
    return ReferenceStatistics(
        spec="ref.npz", format="evalkit" if known else "pytorch-fid", mu=found.mean,
        sigma=found.covariance(ddof if known else 1), num=len(rows) if known else None, ddof=ddof,
        fingerprint="f" * 64, resizes=("antialiased-bilinear",),
    )  # fmt: skip


def one(name: str, fake: np.ndarray, real) -> Measured:
    (found,) = measure(PROTOCOLS[name], fake, real, 0)
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_value_has_its_name_an_error_and_only_finite_numbers(name: str):
    spec = PROTOCOLS[name]
    found = measure(spec, features(260, 1), features(300, 2, 0.1), 0)
    assert tuple(part.metric for part in found) == spec.values
    for part in found:
        estimate = part.estimate
        assert estimate.standard_error > 0
        low, high = estimate.interval
        assert low < high
        assert all(math.isfinite(x) for x in (estimate.value, low, high, *part.extras.values()))


@pytest.mark.parametrize("name", ["fd_mini", "fd_inf_mini", "pr_mini", "prdc_mini"])
def test_the_order_of_the_rows_moves_no_bit_error_bars_included(name: str):
    rng = np.random.default_rng(0)
    fake, real = features(260, 1), features(300, 2, 0.1)
    here = measure(PROTOCOLS[name], fake, real, 0)
    there = measure(PROTOCOLS[name], fake[rng.permutation(260)], real[rng.permutation(300)], 0)
    assert here == there


@pytest.mark.parametrize("name", ["fd_mini", "fd_inf_mini"])
def test_statistics_stand_in_for_the_real_rows_and_have_no_error_of_their_own(name: str):
    fake, real = features(260, 1), features(300, 2, 0.1)
    rows, file = one(name, fake, real), one(name, fake, statistics(real))
    assert file.estimate.value == pytest.approx(rows.estimate.value, rel=1e-9)
    assert file.estimate.standard_error < rows.estimate.standard_error
    assert EXACT_REFERENCE in file.estimate.notes


def test_the_divisor_of_a_statistics_file_is_brought_to_the_protocols():
    fake, real = features(260, 1), features(300, 2, 0.1)
    known = one("fd_mini", fake, statistics(real, ddof=0)).estimate.value
    assert known == pytest.approx(one("fd_mini", fake, real).estimate.value, rel=1e-9)
    unknown = dataclasses.replace(statistics(real, ddof=None), sigma=moments(real).covariance(0))
    assert one("fd_mini", fake, unknown).estimate.value != pytest.approx(known, rel=1e-6)


def test_fewer_rows_than_features_still_have_a_distance():
    found = one("fd_mini", features(9, 1), features(7, 2)).estimate
    assert found.value > 0
    assert "approximate" in found.method


def test_the_seed_moves_the_bootstrap_and_not_the_value():
    fake, real = features(120, 1), features(130, 2, 0.3)
    here, there = (measure(PROTOCOLS["prdc_mini"], fake, real, seed)[0].estimate for seed in (0, 1))
    assert here.value == there.value
    assert here.standard_error != there.standard_error
    assert (here.seed, there.seed) == (0, 1)


@pytest.mark.parametrize(
    ("name", "fake", "real", "message"),
    [
        ("fd_mini", features(9, 1), None, "compares with real images and none were given"),
        ("kd_mini", features(9, 1), statistics(features(9, 2)), "needs the real images themselves"),
        ("fd_mini", features(9, 1)[:, :5], statistics(features(9, 2)), "12 features and layer 'features'"),
        ("fd_mini", np.full((9, WIDTH), np.nan, np.float32), features(9, 2), "samples hold NaN or infinity"),
        ("prdc_mini", features(9, 1), np.ones((9, WIDTH), np.float32), "of the data are equal"),
        ("prdc_mini", features(5, 1), features(9, 2), r"at least k \+ 1 = 6 samples and there are 5"),
        ("is_mini", features(5, 1), None, "5 samples cannot be cut by 10"),
        ("fd_inf_mini", features(12, 1), features(30, 2), "do not fit into 12 samples"),
        ("fd_mini", features(9, 1), features(9, 2)[:, :5], "one set has 5 features and the other 12"),
    ],
)
def test_what_cannot_be_measured(name: str, fake: np.ndarray, real, message: str):
    with pytest.raises(MetricError, match=message):
        measure(PROTOCOLS[name], fake, real, 0)
