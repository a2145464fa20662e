"""Fréchet distance extrapolated to infinitely many samples. Lower is better.

The bias of a Fréchet distance falls as 1/n. The distance is computed on the first n of the shuffled samples
for sizes spread evenly from a smallest one to all, a line is fitted through (1/n, distance), and its
intercept is the value (Chong and Forsyth 2020, section 4).

Official: mchong6/FID_IS_infinity@2cbf52e score_infinity.py (15 sizes from 5,000; the samples are shuffled in
place before each), layer6ai-labs/dgm-eval@74c79f7 metrics/fd.py (sizes from min(5000, max(n // 10, 2)); rows
drawn without replacement). Deviates: draws come from the caller's seed; the covariance of few rows needs no
special case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution.fid import frechet_distance, frechet_distance_statistics
from evalkit.metrics.moments import Moments, moments
from evalkit.metrics.rows import Reordered, Rows

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Draw = Literal["shuffle", "choice"]


class FrechetInfinity(NamedTuple):
    """The line through the distances of growing parts of the samples.

    Attributes:
        value: Its intercept: the distance of infinitely many samples.
        slope: Its slope over 1/n.
        standard_error: Of the intercept, from the scatter of the points around the line alone.
        sizes: Sample sizes.
        distances: Distance at each size.
    """

    value: float
    slope: float
    standard_error: float
    sizes: IntArray
    distances: FloatArray


def sample_sizes(num_fake: int, min_fake: int | None, num_points: int) -> IntArray:
    """Sizes from the smallest (a tenth of the samples, at least 2, where None) to all, evenly spread."""
    least = max(num_fake // 10, 2) if min_fake is None else min_fake
    return np.linspace(least, num_fake, num_points).astype(np.int64)


def frechet_infinity(
    real: Moments | tuple[FloatArray, FloatArray],
    fake: Rows,
    *,
    ddof: int,
    num_points: int,
    min_fake: int | None,
    seed: int,
    draw: Draw = "shuffle",
) -> FrechetInfinity:
    """Extrapolates the distance of ``fake`` from ``real``.

    Args:
        real: Moments of the real features, or their mean and covariance.
        fake: Features of the samples, ``(n, d)``.
        ddof: Covariances divide by ``n - ddof``.
        num_points: Number of sizes.
        min_fake: Smallest size; None takes a tenth of the samples, at least 2.
        seed: Seed of the draws.
        draw: ``shuffle`` reshuffles all samples before each size (`RandomState`); ``choice`` draws each part
            anew (`default_rng`).

    Raises:
        MetricError: There are too few samples for the sizes.
    """
    sizes = sample_sizes(len(fake), min_fake, num_points)
    if num_points < 3 or sizes[0] < 2 or len(np.unique(sizes)) < num_points:
        raise MetricError(
            f"{num_points} different sample sizes from {sizes[0]} on do not fit into {len(fake)} samples "
            "(at least 3 sizes of at least 2 are needed); give more samples or fewer points"
        )
    distances = np.array(
        [
            _distance(real, moments(Reordered(fake, part)), ddof)
            for part in _parts(len(fake), sizes, seed, draw)
        ]
    )
    x = 1.0 / sizes
    spread = float(np.square(x - x.mean()).sum())
    slope = float((x - x.mean()) @ (distances - distances.mean())) / spread
    value = float(distances.mean()) - slope * float(x.mean())
    residual = distances - value - slope * x
    variance = float(residual @ residual) / (num_points - 2)
    error = float(np.sqrt(variance * (1 / num_points + float(x.mean()) ** 2 / spread)))
    return FrechetInfinity(value, slope, error, sizes, distances)


def _parts(num: int, sizes: IntArray, seed: int, draw: Draw) -> Iterator[IntArray]:
    if draw == "shuffle":
        legacy = np.random.RandomState(seed)
        order = np.arange(num)
        for size in sizes:
            legacy.shuffle(order)
            yield order[:size].copy()
        return
    rng = np.random.default_rng(seed)
    for size in sizes:
        yield rng.choice(num, size, replace=False)


def _distance(real: Moments | tuple[FloatArray, FloatArray], fake: Moments, ddof: int) -> float:
    if isinstance(real, Moments):
        return frechet_distance(real, fake, ddof=ddof)
    return frechet_distance_statistics(*real, fake.mean, fake.covariance(ddof))
