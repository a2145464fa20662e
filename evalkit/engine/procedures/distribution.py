"""Distances and coverage between two sets of stored features, each with its error bar.

Reads features and calls the pure metrics; knows no file, device or model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution import kid
from evalkit.metrics.distribution.checks import check_features
from evalkit.metrics.distribution.fid_infinity import frechet_infinity
from evalkit.metrics.distribution.fid_influence import FrechetError, FrechetInfluence
from evalkit.metrics.distribution.inception_score import inception_score
from evalkit.metrics.distribution.prdc import neighbours
from evalkit.metrics.moments import Moments, moments
from evalkit.metrics.rows import Reordered, Rows, blocks, canonical_order
from evalkit.protocols.spec import (
    FrechetInfinityOptions,
    FrechetOptions,
    InceptionScoreOptions,
    KernelOptions,
    NeighbourOptions,
    ProtocolSpec,
)
from evalkit.sources.statistics import ReferenceStatistics
from evalkit.uncertainty import bootstrap, influence, subsets
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
    assert isinstance(spec.options, NeighbourOptions)
    return _neighbours(spec, spec.options, fake, real, seed)


EXACT_REFERENCE = "the real side is a statistics file, taken as exact: the error is the samples' alone"


def _frechet(
    spec: ProtocolSpec, options: FrechetOptions, fake: Rows, real: Rows | ReferenceStatistics
) -> Measured:
    distance, found, _ = _influences(_canonical(fake), real, options.ddof)
    notes = (EXACT_REFERENCE,) if isinstance(real, ReferenceStatistics) else ()
    estimate = influence.frechet_estimate(
        distance, found.standard_error, found.bias, found.reliable, (*notes, *found.notes)
    )
    return Measured(metric=spec.name, estimate=estimate)


def _frechet_infinity(
    spec: ProtocolSpec, options: FrechetInfinityOptions, fake: Rows, real: Rows | ReferenceStatistics
) -> Measured:
    fake = _canonical(fake)
    distance, found, gaussian = _influences(fake, real, options.ddof)
    line = frechet_infinity(
        gaussian,
        fake,
        ddof=options.ddof,
        num_points=options.num_points,
        min_fake=options.min_fake,
        seed=options.seed,
    )
    notes = (
        (EXACT_REFERENCE,)
        if isinstance(real, ReferenceStatistics)
        else ("only the samples are extrapolated: the bias of the finite real set remains",)
    )
    estimate = influence.extrapolated_estimate(line.value, found.standard_error, line.standard_error, notes)
    extras = {"slope": line.slope, "distance_of_all": distance}
    return Measured(metric=spec.name, estimate=estimate, extras=extras, seed=options.seed)


def _influences(
    fake: Rows, real: Rows | ReferenceStatistics, ddof: int
) -> tuple[float, FrechetError, Moments | tuple[FloatArray, FloatArray]]:
    fake_moments = moments(fake)
    if isinstance(real, ReferenceStatistics):
        gaussian: Moments | tuple[FloatArray, FloatArray] = reference_gaussian(real, ddof)
        error = FrechetInfluence(gaussian, fake_moments, ddof=ddof)
    else:
        real = _canonical(real)
        gaussian = moments(real)
        error = FrechetInfluence(gaussian, fake_moments, ddof=ddof)
        for block in blocks(real):
            error.observe_first(block)
    for block in blocks(fake):
        error.observe_second(block)
    return error.distance, error.finish(), gaussian


def _canonical(rows: Rows) -> Rows:
    # Sums run in an order that depends on the rows alone: the same set gives the same last bit under any
    # listing.
    return Reordered(rows, canonical_order(rows))


def _kernel(spec: ProtocolSpec, options: KernelOptions, fake: Rows, real: Rows) -> Measured:
    kernel = (
        kid.polynomial_kernel(degree=options.degree, coef0=options.coef0)
        if options.kernel == "poly"
        else kid.rbf_kernel(sigma=options.sigma)
    )
    # The official draws are of places in the source's own order.
    found = kid.kernel_distance(
        fake, real, kernel,
        num_subsets=options.num_subsets, subset_size=min(options.subset_size, len(fake), len(real)),
        seed=options.seed, draw_order=options.draw_order,
    )  # fmt: skip
    variance = None if found.components is None else found.components.variance(len(fake), len(real))
    estimate = subsets.subset_estimate(found.value, found.subsets, variance)
    extras = {"std": found.std, "subset_size": float(found.subset_size)}
    if found.full is not None:
        extras["all_rows"] = found.full
    return Measured(metric=spec.name, estimate=estimate, extras=extras, seed=options.seed)


def _inception_score(spec: ProtocolSpec, options: InceptionScoreOptions, fake: Rows) -> Measured:
    found = inception_score(fake, splits=options.splits, shuffle_seed=options.shuffle_seed, ddof=options.ddof)
    estimate = subsets.split_estimate(found.mean, found.splits, found.bias)
    return Measured(metric=spec.name, estimate=estimate, extras={"std": found.std}, seed=options.shuffle_seed)


def _neighbours(
    spec: ProtocolSpec, options: NeighbourOptions, fake: Rows, real: Rows, seed: int
) -> list[Measured]:
    found = neighbours(_canonical(real), _canonical(fake), k=options.k, inside=options.inside)
    values: dict[str, float] = {name: float(getattr(found, name)) for name in options.values}
    counts = {"precision": len(fake), "density": len(fake), "recall": len(real), "coverage": len(real)}
    replicas = bootstrap.neighbour_replicas(found.graph, num=BOOTSTRAP_REPLICAS, seed=seed)
    estimates = bootstrap.neighbour_estimates(values, counts, replicas, seed)
    # torch-fidelity's rule, its 1e-5 included.
    f_score = 2 * found.precision * found.recall / max(1e-5, found.precision + found.recall)
    return [
        Measured(
            metric=name,
            estimate=estimates[part],
            extras={"f_score": f_score} if part in ("precision", "recall") else {},
        )
        for name, part in zip(spec.values, options.values, strict=True)
    ]


def reference_gaussian(real: ReferenceStatistics, ddof: int) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of a statistics file, the covariance brought to ``ddof`` where its own is known."""
    if real.num is None or real.ddof is None:
        return real.mu, real.sigma
    return real.mu, real.sigma * ((real.num - real.ddof) / (real.num - ddof))
