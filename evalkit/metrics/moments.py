"""Mean and scatter of a set of features: mergeable, streamed, the divisor explicit.

Quantity: for rows x of a set of n, the mean m and the scatter sum (x - m)(x - m)^T; a covariance is the
scatter over ``n - ddof``. Merging follows Chan, Golub and LeVeque 1983, eq. 1.5b. Conventions of the divisor:
NVlabs/stylegan3@c233a91 metrics/metric_utils.py divides by n, ``np.cov`` (nearly everybody else) by n - 1.
Deviates: the official codes sum features themselves; here every block is centred on the mean of the first
block before it is squared, which loses no digits when the mean is large beside the spread, and a column whose
values are all equal has a variance of exactly 0. All sums are float64 whatever the features are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.rows import Rows, blocks

FloatArray = npt.NDArray[np.float64]


class Moments(NamedTuple):
    """What a Fréchet distance needs to know of a set of rows.

    Attributes:
        n: Number of rows.
        mean: Their mean, ``(d,)``.
        scatter: Sum of the outer products of centred rows, ``(d, d)``.
    """

    n: int
    mean: FloatArray
    scatter: FloatArray

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together.

        Raises:
            MetricError: The sets have features of different widths.
        """
        if self.mean.shape != other.mean.shape:
            raise MetricError(
                f"moments of {len(self.mean)} and of {len(other.mean)} features cannot be merged; both sets "
                "must come from one layer of one extractor"
            )
        if not (n := self.n + other.n):
            return self
        delta = other.mean - self.mean
        cross = np.outer(delta, delta) * (self.n * other.n / n)
        return Moments(n, self.mean + delta * (other.n / n), self.scatter + other.scatter + cross)

    def covariance(self, ddof: int) -> FloatArray:
        """The covariance that divides by ``n - ddof``.

        Raises:
            MetricError: There are too few rows.
        """
        if self.n <= ddof:
            raise MetricError(
                f"a covariance with ddof {ddof} needs more than {ddof} rows and there are {self.n}; "
                "give more images"
            )
        return self.scatter / (self.n - ddof)


def moments(rows: Rows, *, block_size: int = 4096) -> Moments:
    """Mean and scatter of ``rows``, read once, ``block_size`` at a time: memory does not grow with n.

    Raises:
        MetricError: ``rows`` is not two-dimensional, or empty.
    """
    if len(rows.shape) != 2:
        raise MetricError(
            f"features must have shape (n, d), got {tuple(rows.shape)}; keep one row for each image"
        )
    n, width = rows.shape
    if not n:
        raise MetricError("there are no features to take a mean of; give at least 2 images")
    shift: FloatArray | None = None
    total = np.zeros(width)
    scatter = np.zeros((width, width))
    for block in blocks(rows, block_size):
        centred = block.astype(np.float64)
        if shift is None:
            shift = centred.mean(axis=0)
        centred -= shift
        total += centred.sum(axis=0)
        scatter += centred.T @ centred
    assert shift is not None
    offset = total / n
    scatter -= np.outer(total, offset)
    return Moments(n, shift + offset, scatter)
