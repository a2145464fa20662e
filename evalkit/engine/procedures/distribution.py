"""Distances and coverage between two sets of stored features, each with its error bar.

Reads features and calls the pure metrics; knows no file, device or model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution import fid
from evalkit.metrics.distribution.checks import check_features
from evalkit.metrics.moments import moments
from evalkit.metrics.rows import Reordered, Rows, blocks, canonical_order
from evalkit.protocols.spec import (
    FrechetInfinityOptions,
    FrechetOptions,
    InceptionScoreOptions,
    KernelOptions,
    ProtocolSpec,
)
from evalkit.sources.statistics import ReferenceStatistics
from evalkit.uncertainty import influence
from evalkit.uncertainty.estimate import Estimate

FloatArray = npt.NDArray[np.float64]

BOOTSTRAP_REPLICAS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One number of a protocol.

    Attributes:
        metric: Its name.
        estimate: The number and its error bar.
        extras: Further numbers of the same computation.
        seed: Seed of the draws inside the metric, or None where nothing is drawn.
    """

    metric: str
    estimate: Estimate
    extras: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None


def measure(
    spec: ProtocolSpec, fake: Rows, real: Rows | ReferenceStatistics | None, seed: int
) -> list[Measured]:
    """All numbers of ``spec``.

    Args:
        spec: The protocol.
        fake: Features of the samples, ``(n, d)``.
        real: Features of the real images, or their mean and covariance, or None where the protocol needs
            none.
        seed: Seed of the bootstrap.

    Raises:
        MetricError: The metric is not defined on these features.
    """
    check_features(fake, "samples")
    if isinstance(spec.options, InceptionScoreOptions):
        return [_inception_score(spec, spec.options, fake)]
    if real is None:
        raise MetricError(f"{spec.name} compares with real images and none were given; name them with --data")
    if isinstance(real, ReferenceStatistics):
        if real.mu.shape[0] != fake.shape[1]:
            raise MetricError(
                f"{real.spec} holds statistics of {real.mu.shape[0]} features and layer {spec.layer!r} of "
                f"{spec.extractor} has {fake.shape[1]}; use statistics of that layer"
            )
    else:
        check_features(real, "data")
    if isinstance(spec.options, FrechetOptions):
        return [_frechet(spec, spec.options, fake, real)]
    if isinstance(spec.options, FrechetInfinityOptions):
        return [_frechet_infinity(spec, spec.options, fake, real)]
    if isinstance(real, ReferenceStatistics):
        raise MetricError(
            f"{spec.name} needs the real images themselves, and {real.spec} holds only statistics"
        )
    if isinstance(spec.options, KernelOptions):
        return [_kernel(spec, spec.options, fake, real)]
    return _neighbours(spec, spec.options, fake, real, seed)


def _frechet(
    spec: ProtocolSpec, options: FrechetOptions, fake: Rows, real: Rows | ReferenceStatistics
) -> Measured:
    # Sums run in an order that depends on the rows alone: the same set gives the same last bit under any
    # listing.
    fake = Reordered(fake, canonical_order(fake))
    fake_moments = moments(fake)
    if isinstance(real, ReferenceStatistics):
        mu, sigma = reference_gaussian(real, options.ddof)
        value = fid.frechet_distance_statistics(
            mu, sigma, fake_moments.mean, fake_moments.covariance(options.ddof)
        )
        error = fid.FrechetInfluence((mu, sigma), fake_moments, ddof=options.ddof)
        notes: tuple[str, ...] = (
            "the real side is a statistics file, taken as exact: the error is the samples' alone",
        )
    else:
        real = Reordered(real, canonical_order(real))
        moments_real = moments(real)
        value = fid.frechet_distance(moments_real, fake_moments, ddof=options.ddof)
        error = fid.FrechetInfluence(moments_real, fake_moments, ddof=options.ddof)
        for block in blocks(real):
            error.observe_first(block)
        notes = ()
    for block in blocks(fake):
        error.observe_second(block)
    found = error.finish()
    estimate = influence.frechet_estimate(
        value, found.standard_error, found.bias, found.reliable, (*notes, *found.notes)
    )
    return Measured(metric=spec.name, estimate=estimate)


def reference_gaussian(real: ReferenceStatistics, ddof: int) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of a statistics file, the covariance brought to ``ddof`` where its own is known."""
    if real.num is None or real.ddof is None:
        return real.mu, real.sigma
    return real.mu, real.sigma * ((real.num - real.ddof) / (real.num - ddof))
