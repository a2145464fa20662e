"""Fréchet distance between Gaussians fitted to two sets of features. Lower is better.

F = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)   (Dowson and Landau 1982; Heusel et al. 2017, eq. 6)

Official: NVlabs/stylegan3@c233a91 metrics/frechet_inception_distance.py (ddof 0);
mseitzer/pytorch-fid@b9c1811, toshas/torch-fidelity@5e211a9, GaParmar/clean-fid@e88c4d6,
openai/guided-diffusion@22e0df8, layer6ai-labs/dgm-eval@74c79f7 (ddof 1).
Deviates: the trace term comes from symmetric eigenvalues (`gaussian.py`), so that no 1e-6 is ever added to a
diagonal and fewer rows than features are no special case; means are float64 where some official ones are
float32, which moves the seventh digit. F is a squared distance, hence never negative: a result below 0 by
rounding (at most 1e-9 of the two traces, as happens with identical sets) is reported as 0, and one further
below is an error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution.gaussian import Cross, cross, trace_root
from evalkit.metrics.moments import Moments

FloatArray = npt.NDArray[np.float64]

_ROUNDING = 1e-9  # of the traces


def frechet_distance(first: Moments, second: Moments, *, ddof: int) -> float:
    """Fréchet distance between two sets of features.

    Args:
        first: Moments of one set.
        second: Moments of the other.
        ddof: Covariances divide by ``n - ddof``.

    Raises:
        MetricError: The sets have different widths or too few rows, or the result is not finite.
    """
    _same_width(first.mean, second.mean)
    return _distance(
        first.mean, first.covariance(ddof), first.n - 1, second.mean, second.covariance(ddof), second.n - 1
    )


def frechet_distance_statistics(
    mu1: npt.ArrayLike, sigma1: npt.ArrayLike, mu2: npt.ArrayLike, sigma2: npt.ArrayLike
) -> float:
    """Fréchet distance between Gaussians given by means ``(d,)`` and covariances ``(d, d)``.

    Raises:
        MetricError: Shapes do not fit, numbers are not finite, or a matrix is no covariance.
    """
    m1, s1 = check_gaussian(mu1, sigma1)
    m2, s2 = check_gaussian(mu2, sigma2)
    _same_width(m1, m2)
    return _distance(m1, s1, len(m1), m2, s2, len(m2))


def check_gaussian(mu: npt.ArrayLike, sigma: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """A mean and a covariance in float64, the covariance made symmetric to the last bit.

    Raises:
        MetricError: Shapes do not fit, numbers are not finite, or the matrix is not symmetric.
    """
    mean = np.asarray(mu, np.float64)
    matrix = np.asarray(sigma, np.float64)
    if mean.ndim != 1 or matrix.shape != (len(mean), len(mean)):
        raise MetricError(
            f"statistics need a mean of shape (d,) and a covariance of shape (d, d), got {mean.shape} and "
            f"{matrix.shape}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(matrix).all()):
        raise MetricError(
            "statistics hold NaN or infinity; build them again from features that are finite in every row"
        )
    largest = np.max(np.abs(matrix), initial=0.0)
    if np.max(np.abs(matrix - matrix.T), initial=0.0) > 1e-3 * largest:
        raise MetricError(
            "sigma is not symmetric, so it is no covariance; check that the file's arrays are mu and sigma "
            "of the same features"
        )
    return mean, (matrix + matrix.T) / 2


def _same_width(mu1: FloatArray, mu2: FloatArray) -> None:
    if mu1.shape != mu2.shape:
        raise MetricError(
            f"one set has {len(mu1)} features and the other {len(mu2)}; both must come from one layer of one "
            "extractor"
        )


def _distance(
    mu1: FloatArray, sigma1: FloatArray, most1: int, mu2: FloatArray, sigma2: FloatArray, most2: int
) -> float:
    delta, traces = mu1 - mu2, float(np.trace(sigma1) + np.trace(sigma2))
    check_traces(traces)
    return assemble(delta, traces, cross(sigma1, sigma2, most1, most2))


def check_traces(traces: float) -> None:
    """Finds features whose squares overflow before the linear algebra does.

    Raises:
        MetricError: They do.
    """
    if not np.isfinite(traces):
        raise MetricError(
            "the Fréchet distance is not finite: features this large overflow when squared; divide them by a "
            "constant first"
        )


def assemble(delta: FloatArray, traces: float, found: Cross) -> float:
    """The distance from its parts, or 0 where it is below 0 by no more than rounding.

    Args:
        delta: Difference of the means.
        traces: Sum of the traces of both covariances, which also sets the size of rounding errors.
        found: The covariances brought together.

    Raises:
        MetricError: The result is not finite or further below 0.
    """
    value = float(delta @ delta) + traces - 2 * trace_root(found)
    check_traces(value)
    if value < -_ROUNDING * traces:
        raise MetricError(
            f"the Fréchet distance came out as {value:.6g}, which no pair of covariances can give; check "
            "the statistics file, and report this with it if it was built by evalkit"
        )
    return max(value, 0.0)
