"""Distance of every row of a set to its k-th nearest other row, exact, without an n x n matrix.

Quantity: the radius of the ball that improved precision and recall (Kynkäänniemi et al. 2019, eq. 1) and
density and coverage (Naeem et al. 2020, eq. 3) put around a row: its k-th nearest neighbour, the row itself
not counted. Official codes take the (k + 1)-th smallest entry of a row of the full matrix:
kynkaat/improved-precision-and-recall-metric@ed8ee4c, clovaai/generative-evaluation-prdc@e320c1d. Deviates:
distances are float64 at the end (`distances.py`), where theirs are float32, so equal distances count as
equal.

Every pair of blocks is multiplied once and serves the rows of both. A row keeps its k + 5 nearest by float32;
where the extra ones do not clear the k-th by more than rounding, the row is looked at again in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalkit.metrics.distribution.distances import (
    BLOCK,
    Cloud,
    Float32Array,
    FloatArray,
    IntArray,
    cuts,
    merge_smallest,
    roundoff,
)

_SPARE = 5


def squared_radii(cloud: Cloud, k: int, *, block: int = BLOCK) -> FloatArray:
    """Squared radius of every row, ``(n,)``, in the cloud's scaled unit; ``k`` must be below n."""
    best, who = _nearest(cloud, min(k + _SPARE, len(cloud) - 1), block)
    c = roundoff(cloud.values.shape[1], np.float32)
    # What can be nearer than r lies within |a| + r of the centre, so this bounds the error of all that
    # matter.
    radius = np.maximum(best[:, k - 1], 0)
    margin = c * (3 * cloud.norms + 2 * radius) + 1e-30
    out, sure = _decide(cloud, np.arange(len(cloud)), best, who, margin, k)
    if best.shape[1] < len(cloud) - 1:
        for rows in np.array_split(np.flatnonzero(~sure), max(1, -(-int((~sure).sum()) // block))):
            if len(rows):
                out[rows] = _again(cloud, rows, out[rows], k, block)
    return out


def _nearest(cloud: Cloud, keep: int, block: int) -> tuple[FloatArray, IntArray]:
    """The ``keep`` nearest other rows by float32 products: values in ascending order, and indices."""
    n = len(cloud)
    parts = cuts(n, max(block, 2 * keep + 2))
    norms = cloud.norms.astype(np.float32)
    best = np.full((n, keep), np.inf)
    who = np.full((n, keep), -1, np.int64)
    for part in parts:
        products = _products(cloud, part, part)
        products += norms[part]
        products += norms[part, None]
        np.fill_diagonal(products, np.inf)
        some = min(keep, len(products) - 1)
        chosen = np.argpartition(products, some - 1, axis=1)[:, :some]
        values = np.take_along_axis(products, chosen, 1).astype(np.float64)
        order = np.argsort(values, axis=1, kind="stable")
        best[part, :some] = np.take_along_axis(values, order, 1)
        who[part, :some] = np.take_along_axis(chosen, order, 1) + part.start
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            products = _products(cloud, one, other)
            products += norms[one, None]
            products += norms[other]
            # Both masks are read before either side is updated, so each pair is offered to both of its rows.
            of_one = np.flatnonzero(products <= best[one, -1].astype(np.float32)[:, None])
            of_other = np.flatnonzero(products <= best[other, -1].astype(np.float32))
            flat = products.ravel()
            row, column = np.divmod(of_one, products.shape[1])
            merge_smallest(best, who, row + one.start, flat[of_one].astype(np.float64), column + other.start)
            row, column = np.divmod(of_other, products.shape[1])
            merge_smallest(
                best, who, column + other.start, flat[of_other].astype(np.float64), row + one.start
            )
    return best, who


def _products(cloud: Cloud, one: slice, other: slice) -> Float32Array:
    products: Float32Array = (cloud.values[one] * np.float32(-2)) @ cloud.values[other].T
    return products


def _decide(
    cloud: Cloud, rows: IntArray, best: FloatArray, who: IntArray, margin: FloatArray, k: int
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Exact k-th smallest among the listed neighbours, and whether nothing unlisted can be nearer."""
    kth = best[:, k - 1 : k]
    doubtful = (np.abs(best - kth) <= 2 * margin[:, None]) & np.isfinite(best)
    below = (best < kth - 2 * margin[:, None]).sum(axis=1)
    row, column = np.nonzero(doubtful)
    values = np.full(best.shape, np.inf)
    values[row, column] = cloud.exact(rows[row], cloud, who[row, column])
    values.sort(axis=1)
    exact = np.take_along_axis(values, (k - 1 - below)[:, None], 1)[:, 0]
    # A radius of 0 cannot shrink; otherwise the last listed row must be clear of the k-th.
    sure = (best[:, -1] > kth[:, 0] + 2 * margin) | ((exact == 0) & (below == 0))
    return exact, sure


def _again(cloud: Cloud, rows: IntArray, upper: FloatArray, k: int, block: int) -> FloatArray:
    """Squared radii of a few rows by float64 products; ``upper`` bounds them from above."""
    c64 = roundoff(cloud.values.shape[1], np.float64)
    c32 = roundoff(cloud.values.shape[1], np.float32)
    wide = cloud.wide(rows)
    norms = cloud.norms[rows]
    bound = upper + 2 * c32 * (3 * norms + 2 * upper) + 1e-30
    best = np.full((len(rows), k), np.inf)
    who = np.full((len(rows), k), -1, np.int64)
    for part in cuts(len(cloud), block):
        squared = (wide * -2.0) @ cloud.wide(part).T
        squared += norms[:, None]
        squared += cloud.norms[part]
        error = c64 * (norms[:, None] + cloud.norms[part]) + 1e-300
        limit = np.minimum(best[:, -1], bound)
        row, column = np.nonzero(squared - error <= limit[:, None])
        column = column + part.start
        other = rows[row] != column
        row, column = row[other], column[other]
        merge_smallest(best, who, row, cloud.exact(rows[row], cloud, column), column)
    return best[:, -1]
