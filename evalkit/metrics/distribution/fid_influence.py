"""Standard error and first-order bias of the Fréchet distance, in closed form, from one pass over features.

The distance F is a smooth function of the means and covariances of two samples, so its sampling error follows
from the influence of each row (delta method). With m, S the moments of either set and A the transport matrix
of the trace term (SPEC-performance section 5)::

    I1(x) = 2 (x - m1)·(m1 - m2) + |x - m1|² - (x - m1)^T A12 (x - m1)      centred over the set
    se²   = sum I1² / n1² + sum I2² / n2²

In coordinates w that whiten a set and diagonalise the trace term (S1 = R R^T, R^T S2 R = Q diag(s²) Q^T,
w = Q^T R^-1 (x - m1) or diag(1/s) Q^T R^T (y - m2)) the quadratic form is sum s_i w_i², and the bias is::

    bias(F) = tr S1 / n1 + tr S2 / n2 - 2 (b1 + b2)
    b(n)    = -(1/4n) (sum_ij s_i s_j / (s_i + s_j) mean(w_i² w_j²) - sum_i s_i / 2)

which is the same sum as the specification's without a division by small s. With ddof 0 the covariances shrink
by 1/n, which adds -(tr S - sum s) / n a side.

No official code computes either. Cost: one eigendecomposition, one matrix product a row, and no d x d matrix
of fourth moments: 1 / (s_i + s_j) is written as a sum of about 50 exponentials (trapezoidal rule on
1/x = integral of exp(u - x e^u) du, relative error below 1e-6), which turns the double sum into 50 squares a
row. In a set with no more rows than features everything is taken within the range of its covariance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution.fid import assemble, check_gaussian, check_traces
from evalkit.metrics.distribution.gaussian import Cross, cross
from evalkit.metrics.moments import Moments

FloatArray = npt.NDArray[np.float64]

ROWS_A_DIMENSION = 8  # fewer rows than this for each dimension: second-order bias shows (SPEC-performance 5)
_STEP = 0.6
_SMALLEST = 1e-6  # square roots below this part of the largest weigh nothing in the bias


class FrechetError(NamedTuple):
    """How far a Fréchet distance can be trusted.

    Attributes:
        standard_error: Of the distance over repeated draws of the sampled sets.
        bias: First-order expectation of the distance minus its value for infinite samples.
        reliable: Whether there are enough rows for both formulas to hold.
        notes: Sentences for a reader.
        first: Influence of each row of the first set on the distance, centred; empty where it is exact.
        second: Likewise of the second.
    """

    standard_error: float
    bias: float
    reliable: bool
    notes: tuple[str, ...]
    first: FloatArray
    second: FloatArray


class _Side:
    """One sampled set: its map to whitened coordinates, and sums over the rows seen so far."""

    def __init__(self, n: int, mean: FloatArray, towards: FloatArray, whitener: FloatArray) -> None:
        self.n = n
        self.mean = mean
        self.towards = towards  # 2 (mean - other mean)
        self.whitener = whitener  # (d, r)
        self.influence: list[FloatArray] = []
        self.fourth = 0.0  # sum over rows of sum_ij s_i s_j / (s_i + s_j) w_i² w_j²

    def observe(self, rows: npt.NDArray[np.floating], shared: slice | npt.NDArray[np.int64],
                roots: FloatArray, exponentials: FloatArray) -> None:  # fmt: skip
        centred = rows.astype(np.float64) - self.mean
        values = centred @ self.towards
        values += np.einsum("ij,ij->i", centred, centred)
        squares = centred[:, shared] @ self.whitener
        np.square(squares, out=squares)
        values -= squares @ roots
        self.influence.append(values)
        sums = squares @ exponentials
        self.fourth += float(np.einsum("ij,ij->", sums, sums))

    def finish(self) -> tuple[FloatArray, float]:
        values = np.concatenate(self.influence) if self.influence else np.empty(0)
        if len(values) != self.n:
            raise MetricError(
                f"the error of a Fréchet distance needs the {self.n:,} rows behind its moments and saw "
                f"{len(values):,}; pass every row once"
            )
        return values - values.mean(), self.fourth / self.n


class FrechetInfluence:
    """Collects the rows of one or both sets, then says how far their Fréchet distance can be trusted.

    Attributes:
        distance: The distance itself, to the last bit that of `evalkit.metrics.distribution.fid`; the
            factorisation is shared.
    """

    def __init__(
        self, first: Moments | tuple[npt.ArrayLike, npt.ArrayLike], second: Moments, *, ddof: int
    ) -> None:
        """Prepares the closed forms.

        Args:
            first: Moments of one set, or a mean and covariance that are taken as exact.
            second: Moments of the other.
            ddof: Covariances divide by ``n - ddof``.

        Raises:
            MetricError: The sets have different widths, too few rows, or statistics that are none.
        """
        mu2, sigma2 = second.mean, second.covariance(ddof)
        if isinstance(first, Moments):
            mu1, sigma1 = first.mean, first.covariance(ddof)
            most1 = first.n - 1
        else:
            mu1, sigma1 = check_gaussian(*first)
            most1 = len(mu1)
        if mu1.shape != mu2.shape:
            raise MetricError(
                f"one set has {len(mu1)} features and the other {len(mu2)}; both must come from one layer "
                "of one extractor"
            )
        self._ddof = ddof
        self._traces = float(np.trace(sigma1)), float(np.trace(sigma2))
        check_traces(sum(self._traces))
        found = cross(sigma1, sigma2, most1, second.n - 1)
        values, rotation = np.linalg.eigh(found.product, UPLO="L")
        keep = values > len(values) * np.finfo(np.float64).eps * np.max(values, initial=0.0)
        roots = np.sqrt(values[keep])
        rotation = rotation[:, keep]
        delta = mu1 - mu2
        self.distance = assemble(delta, sum(self._traces), found)
        self._rank = found.base.rank
        self._roots = found.scale * roots
        self._exponentials = _exponentials(self._roots)
        whole = len(found.shared) == len(delta)
        self._shared: slice | npt.NDArray[np.int64] = slice(None) if whole else found.shared
        self._first: _Side | None = None
        if isinstance(first, Moments):
            self._first = _Side(first.n, mu1, 2 * delta, _whitener(found, rotation, roots, True))
        self._second = _Side(second.n, mu2, -2 * delta, _whitener(found, rotation, roots, False))

    def observe_first(self, rows: npt.NDArray[np.floating]) -> None:
        """Takes in rows of the first set.

        Raises:
            MetricError: The first set is a mean and a covariance.
        """
        if self._first is None:
            raise MetricError("the first set was given as exact statistics and has no rows to observe")
        self._first.observe(rows, self._shared, self._roots, self._exponentials)

    def observe_second(self, rows: npt.NDArray[np.floating]) -> None:
        """Takes in rows of the second set."""
        self._second.observe(rows, self._shared, self._roots, self._exponentials)

    def finish(self) -> FrechetError:
        """The error of the distance, once every row was observed.

        Raises:
            MetricError: Rows are missing.
        """
        influences: list[FloatArray] = []
        variance = bias = 0.0
        fewest = None
        for side, trace in zip((self._first, self._second), self._traces, strict=True):
            if side is None:
                influences.append(np.empty(0))
                continue
            values, fourth = side.finish()
            influences.append(values)
            variance += float(values @ values) / side.n**2
            root_sum = float(self._roots.sum())
            bias += trace / side.n + (fourth - root_sum / 2) / (2 * side.n)
            if self._ddof == 0:
                bias -= (trace - root_sum) / side.n
            fewest = side.n if fewest is None else min(fewest, side.n)
        assert fewest is not None
        if not np.isfinite([variance, bias]).all():
            raise MetricError(
                "the standard error of the Fréchet distance is not finite: features this large overflow; "
                "divide them by a constant first"
            )
        reliable = fewest >= ROWS_A_DIMENSION * self._rank
        notes: tuple[str, ...] = ()
        if not reliable:
            notes = (
                f"{fewest:,} rows are fewer than {ROWS_A_DIMENSION} for each of the {self._rank:,} "
                "dimensions that the features span: the first-order bias misses part of the true one and "
                "the interval is approximate; a Fréchet distance extrapolated to infinity needs no bias "
                "formula",
            )
        return FrechetError(float(np.sqrt(variance)), bias, reliable, notes, influences[0], influences[1])


def _whitener(found: Cross, rotation: FloatArray, roots: FloatArray, of_first: bool) -> FloatArray:
    """T such that the shared features of a centred row of one set, times T, are its whitened coordinates."""
    if of_first == found.base_is_first:
        of_base: FloatArray = found.base.whitener(rotation) / np.sqrt(found.base_scale)
        return of_base
    of_other: FloatArray = found.base.root() @ (rotation / roots) / np.sqrt(found.other_scale)
    return of_other


def _exponentials(roots: FloatArray) -> FloatArray:
    """G, ``(r, nodes)``, with sum_q (a @ G)_q² = sum_ij s_i s_j / (s_i + s_j) a_i a_j."""
    if not len(roots):
        return np.zeros((0, 1))
    largest = float(roots.max())
    relative = roots / largest
    least = max(float(relative.min()), _SMALLEST)
    low, high = np.log(5e-7), np.log(8.0 / least)
    u = np.arange(low, high + _STEP, _STEP)
    rates = np.exp(u)
    matrix: FloatArray = (
        roots[:, None] * np.exp(-relative[:, None] * rates) * np.sqrt(_STEP * rates / largest)
    )
    return matrix
