"""The importance-weighted bound, streamed: posterior samples come one by one and none is kept.

Quantity: ln (1/K) sum_k w_k of each image, w_k = p(x | z_k) p(z_k) / q(z_k | x), a lower bound on ln p(x)
that rises with K in expectation (Burda et al. 2016, arXiv 1509.00519, eq. 8). NVlabs/NVAE@9fc1a28 keeps all
K and calls logsumexp; here the state is the running maximum and the sum relative to it, so that K may be any
number and parts computed apart can be merged. In float64.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError

__all__ = ["LogMeanExp", "elbo", "iwae"]

Float64Array = npt.NDArray[np.float64]


class LogMeanExp:
    """The running ln of a mean of exponentials, of several images at once.

    Attributes:
        count: K, how many values each image has.
    """

    def __init__(self, num: int) -> None:
        """Begins with no values for ``num`` images."""
        self.count = 0
        self._max = np.full(num, -np.inf)
        self._sum = np.zeros(num)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Takes one value of every image.

        Args:
            values: ln w, ``(num,)``. Minus infinity is a weight of zero; NaN makes the image's result NaN.
        """
        wide = np.asarray(values, dtype=np.float64)
        if wide.shape != self._max.shape:
            raise ValueError(f"values of shape {wide.shape} for {len(self._max)} images")
        self._join(wide, np.ones_like(wide), 1)

    def merge(self, other: LogMeanExp) -> None:
        """Takes all values of another one of the same images, which stays as it is."""
        if other._max.shape != self._max.shape:
            raise ValueError(f"{len(other._max)} images merged into {len(self._max)}")
        self._join(other._max, other._sum, other.count)

    def value(self) -> Float64Array:
        """The logarithm of the mean, ``(num,)``.

        Raises:
            MetricError: There are no values.
        """
        if not self.count:
            raise MetricError(
                "an importance-weighted bound of no samples is not defined; take K of 1 or more"
            )
        with np.errstate(divide="ignore"):  # all weights zero: ln 0
            found: Float64Array = self._max + np.log(self._sum) - math.log(self.count)
        return found

    def _join(self, top: Float64Array, total: Float64Array, count: int) -> None:
        largest = np.maximum(self._max, top)
        # Of infinite maxima no difference is taken: weights of zero stay zero, and an infinite one stays so.
        shift = np.where(np.isinf(largest), 0.0, largest)
        with np.errstate(over="ignore"):
            self._sum = self._sum * np.exp(self._max - shift) + total * np.exp(top - shift)
        self._sum = np.where(largest == np.inf, 1.0, self._sum)
        self._max = largest
        self.count += count


def iwae(log_weights: npt.NDArray[np.floating]) -> Float64Array:
    """The importance-weighted bound on ln p of each image.

    Args:
        log_weights: ln w, ``(n, K)``.

    Returns:
        ``(n,)``, nats.

    Raises:
        MetricError: K is 0.
    """
    total = LogMeanExp(len(log_weights))
    for sample in np.asarray(log_weights, dtype=np.float64).T:
        total.add(sample)
    return total.value()


def elbo(log_weights: npt.NDArray[np.floating]) -> Float64Array:
    """The evidence lower bound on ln p of each image, as the mean of ln w over K posterior samples.

    Args:
        log_weights: ln w, ``(n, K)``.

    Returns:
        ``(n,)``, nats.

    Raises:
        MetricError: K is 0.
    """
    wide = np.asarray(log_weights, dtype=np.float64)
    if not wide.shape[1]:
        raise MetricError("an evidence lower bound of no samples is not defined; take K of 1 or more")
    found: Float64Array = wide.mean(axis=1)
    return found
