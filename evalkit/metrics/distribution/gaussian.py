"""Square-root factors of covariances, and the trace term of the Fréchet distance from them.

Quantity: for covariances S1 = R R^T and S2, the numbers s = sqrt(eig(R^T S2 R)), whose sum is
tr (S1 S2)^(1/2) (SPEC-performance sections 3 and 5). The official codes take ``scipy.linalg.sqrtm`` of the
non-symmetric product; here everything is symmetric and nothing can come out complex.

The route follows the rank, which is found by a Cholesky factorisation with pivoting (LAPACK ``pstrf``):

- Features that have variance 0 on either side cannot enter the trace term and are left out.
- The set of lower rank is factored, so that R^T S2 R has full rank and no eigenvalue is rounding noise.
- Pivoting orders the columns of R by size. The symmetric product is then graded from large to small, and the
  tridiagonal reduction that starts from its first column keeps the digits of small eigenvalues: with
  condition numbers up to 1e17 the sum agrees with the nuclear norm of the cross Gram to 1e-9 of the distance.
- A matrix that is not positive semi-definite to rounding (statistics that were stored in float32) has no
  Cholesky factor; it is projected on the nearest one by its eigenvalues.

Deviates: directions with less than d * 2e-16 of the largest variance of their set count as empty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A statistics file in float16 has eigenvalues down to about -1e-3 of the largest; below, it is no covariance.
_MOST_NEGATIVE = 1e-3
_EPS = float(np.finfo(np.float64).eps)


class Factor(NamedTuple):
    """R with R R^T = S, as ``lower`` whose row i belongs to feature ``pivot[i]``.

    Attributes:
        lower: ``(d, r)``; lower trapezoidal where ``triangular``.
        pivot: Order of the features.
        triangular: Whether the first r rows of ``lower`` are a triangle (else columns are orthogonal).
    """

    lower: FloatArray
    pivot: IntArray
    triangular: bool

    @property
    def rank(self) -> int:
        """Number of columns."""
        return int(self.lower.shape[1])

    def root(self) -> FloatArray:
        """R with its rows in the order of the features."""
        out = np.empty_like(self.lower)
        out[self.pivot] = self.lower
        return out

    def congruence(self, other: FloatArray) -> FloatArray:
        """The lower triangle of R^T ``other`` R for a symmetric ``other``; above it lies anything."""
        permuted = other[np.ix_(self.pivot, self.pivot)]
        if self.triangular and self.rank == len(self.pivot):
            from scipy.linalg import lapack

            # `permuted` is symmetric: its transpose is the column-major matrix that LAPACK wants, uncopied.
            lower = np.asfortranarray(self.lower)
            product: FloatArray = lapack.dsygst(permuted.T, lower, itype=2, lower=1, overwrite_a=1)[0]
            return product
        dense: FloatArray = self.lower.T @ (permuted @ self.lower)
        return dense

    def whitener(self, rotation: FloatArray) -> FloatArray:
        """T such that ``x @ T`` has ``rotation``-ed coordinates of unit covariance, for x in the range of R.

        That is T = R^(-T) ``rotation``, with a left inverse of R where there are fewer columns than features.
        """
        out = np.zeros((len(self.pivot), rotation.shape[1]))
        if self.triangular:
            from scipy.linalg import solve_triangular

            # x = R c fixes c by the first r rows alone, since they are a regular triangle.
            top = self.lower[: self.rank]
            out[self.pivot[: self.rank]] = solve_triangular(top, rotation, lower=True, trans=1)
        else:
            out[self.pivot] = self.lower @ (rotation / (self.lower**2).sum(axis=0)[:, None])
        return out


def factor(sigma: FloatArray, most: int) -> Factor:
    """Factors a covariance.

    Args:
        sigma: ``(d, d)``, symmetric.
        most: A bound of its rank known from elsewhere: one less than the number of rows behind it.

    Raises:
        MetricError: It has eigenvalues too far below 0 for a covariance.
    """
    from scipy.linalg import lapack

    packed, pivot, rank, _ = lapack.dpstrf(sigma, lower=1)
    rank = min(int(rank), most)
    lower = np.tril(packed)[:, :rank]
    found = Factor(np.ascontiguousarray(lower), pivot.astype(np.int64) - 1, triangular=True)
    if rank == len(sigma):
        return found
    root = found.root()
    largest = float(np.max(np.diagonal(sigma), initial=0.0))
    if np.max(np.abs(sigma - root @ root.T), initial=0.0) <= 1e-10 * largest:
        return found
    values, vectors = np.linalg.eigh(sigma)
    if values[0] < -_MOST_NEGATIVE * values[-1]:
        raise MetricError(
            f"a covariance has no negative eigenvalues and this one has {values[0]:.3g} (the largest is "
            f"{values[-1]:.3g}); check that sigma is the covariance of features, and build the statistics "
            "again"
        )
    keep = np.flatnonzero(values > len(sigma) * _EPS * values[-1])[::-1][:most]
    return Factor(
        vectors[:, keep] * np.sqrt(values[keep]), np.arange(len(sigma), dtype=np.int64), triangular=False
    )


class Cross(NamedTuple):
    """Two covariances brought together, each divided by a scale of its own.

    Attributes:
        shared: Features with variance in both sets.
        base: Factor of the covariance of lower rank, over the shared features.
        base_is_first: Whose covariance ``base`` factors.
        product: Lower triangle of R^T S R with S the other covariance, ``(r, r)``.
        scale: What the square roots of the eigenvalues of ``product`` have to be multiplied with.
        base_scale: Scale of the factored covariance.
        other_scale: Scale of the other.
    """

    shared: IntArray
    base: Factor
    base_is_first: bool
    product: FloatArray
    scale: float
    base_scale: float
    other_scale: float


def cross(first: FloatArray, second: FloatArray, most_first: int, most_second: int) -> Cross:
    """Factors the covariance of lower rank and multiplies the other by it from both sides.

    Args:
        first: Covariance of one set, ``(d, d)``.
        second: Covariance of the other.
        most_first: Largest rank the first can have: one less than its rows.
        most_second: Likewise.
    """
    shared = np.flatnonzero((np.diagonal(first) > 0) & (np.diagonal(second) > 0))
    width = len(shared)
    sides = [first, second]
    if width < len(first):
        sides = [side[np.ix_(shared, shared)] for side in sides]
    # Powers of 2, so that scaling rounds nothing.
    scales = [2.0 ** round(np.log2(np.max(np.diagonal(side)))) if width else 1.0 for side in sides]
    sides = [side if scale == 1 else side / scale for side, scale in zip(sides, scales, strict=True)]
    most = [min(most_first, width), min(most_second, width)]
    start = 0 if most[0] <= most[1] else 1
    base, base_index = factor(sides[start], most[start]), start
    if base.rank < width:
        other = factor(sides[1 - start], most[1 - start])
        if other.rank < base.rank:
            base, base_index = other, 1 - start
    product = base.congruence(sides[1 - base_index])
    scale = float(np.sqrt(scales[0]) * np.sqrt(scales[1]))
    return Cross(
        shared, base, base_index == 0, product, scale, scales[base_index], scales[1 - base_index]
    )  # fmt: skip


def trace_root(found: Cross) -> float:
    """The trace term tr (S1 S2)^(1/2)."""
    if not len(found.product):
        return 0.0
    values = np.linalg.eigvalsh(found.product, UPLO="L")  # see the file's contract on "L"
    return found.scale * float(np.sqrt(np.maximum(values, 0.0)).sum())
