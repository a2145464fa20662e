"""Precision, recall, density and coverage by nearest neighbours. Higher is better.

Around every row of either set lies a ball that reaches to its k-th nearest row of the same set. Then
(Kynkäänniemi et al. 2019, eq. 1-2; Naeem et al. 2020, eq. 3-5)::

    precision = share of fakes inside any real's ball         recall   = share of reals inside any fake's ball
    density   = sum over fakes of the reals' balls they are in / (k · number of fakes)
    coverage  = share of reals whose ball holds a fake

Official: kynkaat/improved-precision-and-recall-metric@ed8ee4c, NVlabs/stylegan3@c233a91
metrics/precision_recall.py, toshas/torch-fidelity@5e211a9 metric_prc.py count a row on the rim as inside
(``<=``); clovaai/generative-evaluation-prdc@e320c1d prdc/prdc.py does not (``<``).
Deviates: distances that float32 cannot tell from a radius are decided in float64 (`distances.py`); StyleGAN3
itself rounds features and distances to float16, which moves a few counts.

Memory: one float32 copy of both sets and blocks; never a matrix of all pairs. The pairs inside a ball are
kept, up to `KEPT` for each row, for error bars: a row inside that many balls stays inside one under any
resampling.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.distribution.distances import (
    BLOCK,
    Cloud,
    Float32Array,
    FloatArray,
    IntArray,
    centre,
    cuts,
    roundoff,
    row_keys,
    scale_of,
)
from evalkit.metrics.distribution.radii import squared_radii
from evalkit.metrics.rows import Rows

Inside = Literal["<=", "<"]

KEPT = 16  # exp(-16) is about 1e-7: the chance that all of so many balls are absent from a bootstrap sample


class Hits(NamedTuple):
    """For every row of one set, the rows of the other it is paired with.

    Attributes:
        counts: How many there are, ``(n,)``.
        first: The first `KEPT` of them by index, -1 where there are fewer, ``(n, KEPT)``.
    """

    counts: IntArray
    first: npt.NDArray[np.int32]


class NeighbourGraph(NamedTuple):
    """Who lies in whose ball.

    Attributes:
        k: Neighbours that set the radii.
        num_fake: Number of fakes.
        num_real: Number of reals.
        fake_in_real: For every fake, the reals whose balls it is in.
        real_holding: For every real, the fakes in its ball: the same pairs from the other end.
        real_in_fake: For every real, the fakes whose balls it is in.
    """

    k: int
    num_fake: int
    num_real: int
    fake_in_real: Hits
    real_holding: Hits
    real_in_fake: Hits


class Neighbours(NamedTuple):
    """The four values, and what their error bars need."""

    precision: float
    recall: float
    density: float
    coverage: float
    graph: NeighbourGraph


class _Collector:
    """Fills `Hits` block by block; blocks must come in ascending order of the partners."""

    def __init__(self, n: int) -> None:
        self.count = np.zeros(n, np.int64)
        self.first = np.full((n, KEPT), -1, np.int32)

    def add(self, owner: IntArray, partner: IntArray) -> None:
        """Takes in pairs that are sorted by owner, then by partner."""
        if not len(owner):
            return
        rank = self.count[owner] + np.arange(len(owner)) - np.searchsorted(owner, owner)
        kept = rank < KEPT
        self.first[owner[kept], rank[kept]] = partner[kept]
        self.count += np.bincount(owner, minlength=len(self.count))

    def hits(self) -> Hits:
        return Hits(self.count, self.first)


def neighbours(real: Rows, fake: Rows, *, k: int, inside: Inside, block: int = BLOCK) -> Neighbours:
    """Precision, recall, density and coverage of ``fake`` against ``real``.

    Args:
        real: Features of real images, ``(n, d)``.
        fake: Features of samples, ``(m, d)``.
        k: Neighbours that set a radius, the row itself not counted.
        inside: Whether a row on the rim of a ball is inside it.
        block: Rows multiplied at a time; it cannot change a count.

    Raises:
        MetricError: A set has fewer than k + 1 rows, or the widths differ.
    """
    _check(real, fake, k)
    keys_real, keys_fake = row_keys(real, fake)
    # Each set's own centre keeps the error of its own distances small; across sets the reals' centre serves.
    shift_real, shift_fake = centre(real), centre(fake)
    scale = min(scale_of(real, shift_real), scale_of(fake, shift_real), scale_of(fake, shift_fake))
    fakes = Cloud(fake, shift_fake, scale, keys_fake)
    radii_fake = squared_radii(fakes, k, block=block)
    del fakes
    fakes = Cloud(fake, shift_real, scale, keys_fake)
    reals = Cloud(real, shift_real, scale, keys_real)
    radii_real = squared_radii(reals, k, block=block)
    fake_in_real, real_holding, real_in_fake = (_Collector(n) for n in (len(fake), len(real), len(real)))
    for one in cuts(len(fake), block):
        for other in cuts(len(real), block):
            products = (fakes.values[one] * np.float32(-2)) @ reals.values[other].T
            in_real = _inside(fakes, one, reals, other, products, radii_real[other], 1, inside)
            in_fake = _inside(fakes, one, reals, other, products, radii_fake[one], 0, inside)
            width = products.shape[1]
            row, column = np.divmod(in_real, width)
            fake_in_real.add(row + one.start, column + other.start)
            _add_transposed(real_holding, row, column, one, other)
            row, column = np.divmod(in_fake, width)
            _add_transposed(real_in_fake, row, column, one, other)
    graph = NeighbourGraph(
        k, len(fake), len(real), fake_in_real.hits(), real_holding.hits(), real_in_fake.hits()
    )
    return Neighbours(
        precision=float(np.mean(graph.fake_in_real.counts > 0)),
        recall=float(np.mean(graph.real_in_fake.counts > 0)),
        density=float(graph.fake_in_real.counts.sum()) / (k * len(fake)),
        coverage=float(np.mean(graph.real_holding.counts > 0)),
        graph=graph,
    )


def radii(rows: Rows, *, k: int, block: int = BLOCK) -> FloatArray:
    """Distance of every row to its k-th nearest other row, ``(n,)``.

    Raises:
        MetricError: There are fewer than k + 1 rows.
    """
    _check(rows, rows, k)
    shift = centre(rows)
    scale = scale_of(rows, shift)
    (keys,) = row_keys(rows)
    return np.sqrt(squared_radii(Cloud(rows, shift, scale, keys), k, block=block)) / scale


def _add_transposed(to: _Collector, row: IntArray, column: IntArray, one: slice, other: slice) -> None:
    order = np.argsort(column, kind="stable")
    to.add(column[order] + other.start, row[order] + one.start)


def _inside(
    fakes: Cloud,
    one: slice,
    reals: Cloud,
    other: slice,
    products: Float32Array,
    radius: FloatArray,
    axis: int,
    inside: Inside,
) -> IntArray:
    """Flat indices of the pairs of a block within the squared radii of its rows (axis 0) or columns."""
    c = roundoff(fakes.values.shape[1], np.float32)
    norm_fake, norm_real = fakes.norms[one], reals.norms[other]
    # Lower bounds of the distances against the radii: nothing that is inside is lost here.
    if axis:
        near = products + (norm_fake * (1 - c)).astype(np.float32)[:, None]
        chosen = np.flatnonzero(near <= (radius - norm_real * (1 - c) + 1e-30).astype(np.float32))
    else:
        near = products + (norm_real * (1 - c)).astype(np.float32)
        chosen = np.flatnonzero(near <= (radius - norm_fake * (1 - c) + 1e-30).astype(np.float32)[:, None])
    if not len(chosen):
        return chosen
    row, column = np.divmod(chosen, products.shape[1])
    limit = radius[column if axis else row]
    both = norm_fake[row] + norm_real[column]
    squared = products.ravel()[chosen] + both
    answer = squared + c * both + 1e-30 < limit
    doubtful = np.flatnonzero(~answer)
    if len(doubtful):
        squared, error = squared[doubtful], np.full(len(doubtful), np.inf)
        if len(doubtful) > 2 * (len(norm_fake) + len(norm_real)):
            wide = (fakes.wide(one) * -2.0) @ reals.wide(other).T
            squared = wide.ravel()[chosen[doubtful]] + both[doubtful]
            error = roundoff(fakes.values.shape[1], np.float64) * both[doubtful] + 1e-300
        bound = limit[doubtful]
        answer[doubtful] = squared + error < bound
        close = np.flatnonzero(np.abs(squared - bound) <= error)
        if len(close):
            which = doubtful[close]
            exact = fakes.exact(row[which] + one.start, reals, column[which] + other.start)
            answer[which] = exact <= limit[which] if inside == "<=" else exact < limit[which]
    return chosen[answer]


def _check(real: Rows, fake: Rows, k: int) -> None:
    if len(real.shape) != 2 or len(fake.shape) != 2 or real.shape[1] != fake.shape[1]:
        raise MetricError(
            f"nearest neighbours need two sets of features of one width, got {tuple(real.shape)} and "
            f"{tuple(fake.shape)}; take both from one layer of one extractor"
        )
    if k < 1:
        raise MetricError(f"k = {k}: nearest neighbours need k of 1 or more")
    for rows, what in ((real, "real images"), (fake, "samples")):
        if len(rows) < k + 1:
            raise MetricError(
                f"k = {k} neighbours need at least k + 1 = {k + 1} {what} and there are {len(rows)}; give "
                "more images or a smaller k"
            )
