"""Kernel inception distance: squared maximum mean discrepancy. Lower is better; it can be negative.

MMD² = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)
(Gretton et al. 2012, eq. 3; Binkowski et al. 2018, eq. 4) with k(x, y) = (x·y / d + 1)³, averaged over random
subsets. CMMD (Jayasumana et al. 2024) is 1000 times the biased form with k(x, y) = exp(-|x - y|² / 2 sigma²),
sigma = 10, over all rows.

Official: mbinkowski/MMD-GAN@678bb5e gan/compute_scores.py; NVlabs/stylegan3@c233a91
metrics/kernel_inception_distance.py, toshas/torch-fidelity@5e211a9 metric_kid.py and
GaParmar/clean-fid@e88c4d6 fid.py draw the generated rows first, layer6ai-labs/dgm-eval@74c79f7 mmd.py the
real rows; sayakpaul/cmmd-pytorch@f7673a9 distance.py. Deviates: everything is float64, the official products
are float32 (1e-5 of the value); subsets come from a `RandomState` of the caller's seed and never from numpy's
global one; the mean may be taken of sets of unequal size. Where it is cheaper, kernels of all pairs are
computed once in blocks and every subset's sums are read off them, which gives the same numbers to rounding.

The variance of MMD² over draws of both sets is estimated beside it, by Hoeffding's decomposition
(`Components`): subsets overlap, so their spread over the square root of their number says nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.rows import Rows, blocks

FloatArray = npt.NDArray[np.float64]
Kernel = Callable[[FloatArray, FloatArray], FloatArray]
Form = Literal["unbiased", "biased", "u-statistic"]
DrawOrder = Literal["fake-first", "real-first"]

_BLOCK = 1024


def polynomial_kernel(*, degree: int = 3, gamma: float | None = None, coef0: float = 1.0) -> Kernel:
    """k(x, y) = (gamma x·y + coef0)^degree; ``gamma`` None is 1 / d."""

    def kernel(x: FloatArray, y: FloatArray) -> FloatArray:
        base: FloatArray = x @ y.T
        base *= 1.0 / x.shape[1] if gamma is None else gamma
        base += coef0
        out: FloatArray = base.copy()
        for _ in range(degree - 1):
            out *= base
        return out

    return kernel


def rbf_kernel(*, sigma: float) -> Kernel:
    """k(x, y) = exp(-|x - y|² / 2 sigma²)."""

    def kernel(x: FloatArray, y: FloatArray) -> FloatArray:
        squared: FloatArray = x @ y.T
        squared *= -2
        squared += np.einsum("ij,ij->i", x, x)[:, None]
        squared += np.einsum("ij,ij->i", y, y)
        np.maximum(squared, 0, out=squared)  # rounding of equal rows
        squared *= -0.5 / sigma**2
        return np.exp(squared, out=squared)

    return kernel


class _Sums(NamedTuple):
    """What one kernel matrix contributes.

    Attributes:
        rows: Sum along each row.
        columns: Sum along each column.
        squares: Sum of the squares of all entries.
        diagonal: Diagonal entries, of as many rows as the smaller set has.
        quadratic: For every subset the sum of the entries between its rows and its columns.
    """

    rows: FloatArray
    columns: FloatArray
    squares: float
    diagonal: FloatArray
    quadratic: FloatArray


def _sums(x: Rows, y: Rows, kernel: Kernel, in_x: FloatArray | None, in_y: FloatArray | None) -> _Sums:
    """Streams the kernel matrix of two sets; ``in_x`` and ``in_y`` hold 1 where a row is in a subset."""
    num_subsets = 0 if in_x is None else in_x.shape[1]
    rows = np.zeros(len(x))
    columns = np.zeros(len(y))
    diagonal = np.zeros(min(len(x), len(y)))
    quadratic = np.zeros(num_subsets)
    squares = 0.0
    for i, block_x in enumerate(blocks(x, _BLOCK)):
        here = slice(i * _BLOCK, i * _BLOCK + len(block_x))
        wide_x = block_x.astype(np.float64)
        for j, block_y in enumerate(blocks(y, _BLOCK)):
            there = slice(j * _BLOCK, j * _BLOCK + len(block_y))
            values = kernel(wide_x, block_y.astype(np.float64))
            rows[here] += values.sum(axis=1)
            columns[there] += values.sum(axis=0)
            squares += float(np.einsum("ij,ij->", values, values))
            if i == j:
                found = values.diagonal()
                diagonal[here.start : here.start + len(found)] = found
            if in_x is not None and in_y is not None:
                quadratic += np.einsum("is,is->s", in_x[here], values @ in_y[there])
    return _Sums(rows, columns, squares, diagonal, quadratic)


class Components(NamedTuple):
    """Variance components of the unbiased MMD² (Hoeffding 1948, section 5, for two samples).

    Attributes:
        first_x: Variance of E k(x, x') - E k(x, y) over x.
        first_y: Variance of E k(y, y') - E k(x, y) over y.
        pair_xx: Variance of k(x, x') beyond that of its two conditional means.
        pair_yy: Likewise within the other set.
        pair_xy: Likewise across.
    """

    first_x: float
    first_y: float
    pair_xx: float
    pair_yy: float
    pair_xy: float

    def variance(self, n_x: int, n_y: int) -> float:
        """Variance of MMD² between ``n_x`` and ``n_y`` rows."""
        return (
            4 * self.first_x / n_x
            + 4 * self.first_y / n_y
            + 2 * self.pair_xx / (n_x * (n_x - 1))
            + 2 * self.pair_yy / (n_y * (n_y - 1))
            + 4 * self.pair_xy / (n_x * n_y)
        )


def _components(xx: _Sums, yy: _Sums, xy: _Sums) -> Components:
    n_x, n_y = len(xx.rows), len(yy.rows)

    def within(sums: _Sums, n: int) -> tuple[FloatArray, float]:
        means = (sums.rows - sums.diagonal) / (n - 1)
        squares = (sums.squares - float(sums.diagonal @ sums.diagonal)) / (n * (n - 1))
        total = squares - float(means.mean()) ** 2
        # The variance of the row means holds a share 1/(n-1) of the pair component itself.
        pair = (total - 2 * float(means.var(ddof=1))) / (1 - 2 / (n - 1))
        return means, max(pair, 0.0)

    mean_x, pair_xx = within(xx, n_x)
    mean_y, pair_yy = within(yy, n_y)
    cross_x, cross_y = xy.rows / n_y, xy.columns / n_x
    total = xy.squares / (n_x * n_y) - float(cross_x.mean()) ** 2
    pair_xy = max(
        (total - float(cross_x.var(ddof=1)) - float(cross_y.var(ddof=1))) / (1 - 1 / n_x - 1 / n_y), 0.0
    )
    first_x = float((mean_x - cross_x).var(ddof=1)) - pair_xx / (n_x - 1) - pair_xy / n_y
    first_y = float((mean_y - cross_y).var(ddof=1)) - pair_yy / (n_y - 1) - pair_xy / n_x
    return Components(max(first_x, 0.0), max(first_y, 0.0), pair_xx, pair_yy, pair_xy)


def _mmd2(
    n_x: int, n_y: int, sum_xx: float, sum_yy: float, sum_xy: float, trace: tuple[float, float, float], form:
    Form
) -> float:  # fmt: skip
    if form == "biased":
        return sum_xx / n_x**2 + sum_yy / n_y**2 - 2 * sum_xy / (n_x * n_y)
    within = (sum_xx - trace[0]) / (n_x * (n_x - 1)) + (sum_yy - trace[1]) / (n_y * (n_y - 1))
    if form == "unbiased":
        return within - 2 * sum_xy / (n_x * n_y)
    return within - 2 * (sum_xy - trace[2]) / (n_x * (n_x - 1))


class FullDistance(NamedTuple):
    """MMD² of two whole sets.

    Attributes:
        value: The distance.
        components: What its variance is made of; None with fewer than 4 rows in a set.
    """

    value: float
    components: Components | None


def mmd2(fake: Rows, real: Rows, kernel: Kernel, form: Form = "unbiased") -> FullDistance:
    """MMD² of all rows of two sets, kernels computed in blocks.

    Args:
        fake: One set, ``(n, d)``.
        real: The other.
        kernel: The kernel.
        form: ``unbiased`` leaves a row's kernel with itself out; ``biased`` keeps it; ``u-statistic`` leaves
            out the pairs (i, i) across the sets too, and needs sets of one size.

    Raises:
        MetricError: Too few rows, other widths, or a form that does not fit the sizes.
    """
    _check(fake, real)
    if form == "u-statistic" and len(fake) != len(real):
        raise MetricError(
            f"the u-statistic pairs rows and needs sets of one size, got {len(fake)} and {len(real)}; use "
            "the unbiased form"
        )
    xx = _sums(fake, fake, kernel, None, None)
    yy = _sums(real, real, kernel, None, None)
    xy = _sums(fake, real, kernel, None, None)
    trace = (float(xx.diagonal.sum()), float(yy.diagonal.sum()), float(xy.diagonal.sum()))
    sums = (float(xx.rows.sum()), float(yy.rows.sum()), float(xy.rows.sum()))
    value = _finite(_mmd2(len(fake), len(real), *sums, trace, form))
    enough = min(len(fake), len(real)) >= 4
    return FullDistance(value, _components(xx, yy, xy) if enough else None)


class KernelDistance(NamedTuple):
    """MMD² averaged over random subsets.

    Attributes:
        value: Mean over the subsets.
        std: Standard deviation over the subsets, ddof 0, as official codes print it.
        subsets: MMD² of each subset.
        subset_size: Rows of either set in a subset.
        full: MMD² of all rows, where it was computed on the way; else None.
        components: What the variance of MMD² is made of; None with fewer than 4 rows in a subset.
    """

    value: float
    std: float
    subsets: FloatArray
    subset_size: int
    full: float | None
    components: Components | None


def kernel_distance(
    fake: Rows,
    real: Rows,
    kernel: Kernel,
    *,
    num_subsets: int,
    subset_size: int,
    seed: int,
    draw_order: DrawOrder = "fake-first",
) -> KernelDistance:
    """Mean of the unbiased MMD² over random subsets, drawn as the official codes draw them.

    Args:
        fake: Features of the samples, ``(n, d)``.
        real: Features of the real images.
        kernel: The kernel.
        num_subsets: Number of subsets.
        subset_size: Rows of either set in a subset, drawn without replacement.
        seed: Seed of ``numpy.random.RandomState``.
        draw_order: Which set is drawn from first.

    Raises:
        MetricError: A set is smaller than a subset, or the kernel overflows.
    """
    _check(fake, real)
    if num_subsets < 1 or subset_size < 2:
        raise MetricError(
            f"{num_subsets} subsets of {subset_size}: a kernel distance needs 1 subset or more, of 2 rows "
            "or more"
        )
    if min(len(fake), len(real)) < subset_size:
        raise MetricError(
            f"subsets of {subset_size} cannot be drawn from {len(fake)} samples and {len(real)} real images; "
            "give more images or choose smaller subsets"
        )
    rng = np.random.RandomState(seed)
    draws: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for _ in range(num_subsets):
        if draw_order == "fake-first":
            one = rng.choice(len(fake), subset_size, replace=False)
            other = rng.choice(len(real), subset_size, replace=False)
        else:
            other = rng.choice(len(real), subset_size, replace=False)
            one = rng.choice(len(fake), subset_size, replace=False)
        draws.append((one, other))
    pairs_once = (len(fake) + len(real)) ** 2
    if pairs_once <= num_subsets * (2 * subset_size) ** 2:
        return _over_all_pairs(fake, real, kernel, draws)
    return _subset_by_subset(fake, real, kernel, draws)


def _over_all_pairs(
    fake: Rows, real: Rows, kernel: Kernel, draws: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> KernelDistance:
    in_fake = np.zeros((len(fake), len(draws)))
    in_real = np.zeros((len(real), len(draws)))
    for i, (one, other) in enumerate(draws):
        in_fake[one, i] = 1
        in_real[other, i] = 1
    xx = _sums(fake, fake, kernel, in_fake, in_fake)
    yy = _sums(real, real, kernel, in_real, in_real)
    xy = _sums(fake, real, kernel, in_fake, in_real)
    size = len(draws[0][0])
    traces = xx.diagonal @ in_fake, yy.diagonal @ in_real
    subsets = np.array(
        [
            _mmd2(size, size, a, b, c, (ta, tb, 0.0), "unbiased")
            for a, b, c, ta, tb in zip(xx.quadratic, yy.quadratic, xy.quadratic, *traces, strict=True)
        ]
    )
    full = _mmd2(
        len(fake), len(real), float(xx.rows.sum()), float(yy.rows.sum()), float(xy.rows.sum()),
        (float(xx.diagonal.sum()), float(yy.diagonal.sum()), 0.0), "unbiased",
    )  # fmt: skip
    enough = min(len(fake), len(real)) >= 4
    return _average(subsets, size, full, _components(xx, yy, xy) if enough else None)


def _subset_by_subset(
    fake: Rows, real: Rows, kernel: Kernel, draws: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> KernelDistance:
    found = [mmd2(fake[one], real[other], kernel) for one, other in draws]
    parts = [each.components for each in found if each.components is not None]
    mean = Components(*np.mean(parts, axis=0).tolist()) if parts else None
    return _average(np.array([each.value for each in found]), len(draws[0][0]), None, mean)


def _average(
    subsets: FloatArray, size: int, full: float | None, components: Components | None
) -> KernelDistance:
    value = _finite(float(subsets.mean()))
    return KernelDistance(value, float(subsets.std()), subsets, size, full, components)


def _check(fake: Rows, real: Rows) -> None:
    if len(fake.shape) != 2 or len(real.shape) != 2 or fake.shape[1] != real.shape[1]:
        raise MetricError(
            f"a kernel distance needs two sets of features of one width, got {tuple(fake.shape)} and "
            f"{tuple(real.shape)}; take both from one layer of one extractor"
        )
    if min(len(fake), len(real)) < 2:
        raise MetricError(
            f"a kernel distance needs at least 2 rows in either set, got {len(fake)} and {len(real)}; give "
            "more images"
        )


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise MetricError(
            "the kernel distance is not finite: features this large overflow in the kernel; divide them by "
            "a constant first"
        )
    return value
