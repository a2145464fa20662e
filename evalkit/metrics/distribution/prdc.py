"""How two sets of features cover each other: improved precision and recall, density and coverage, realism.

A set's manifold is the union of balls around its rows, each reaching to the row's k-th nearest neighbour in
the set (the row itself not counted). Precision is the share of generated rows inside the real manifold,
recall the share of real rows inside the generated one (Kynkäänniemi et al. 2019, eq. 1-2, a rim counts:
``<=``). Density is the mean number of real balls around a generated row over k, coverage the share of real
balls that hold a generated row (Naeem et al. 2020, eq. 3-5, a rim does not count: ``<``). All but density lie
in [0, 1]; higher is better. Realism of a generated row is the largest ratio of a real ball's radius to the
row's distance from its centre (Kynkäänniemi et al. 2019, eq. 3).

Official: kynkaat/improved-precision-and-recall-metric@ed8ee4c precision_recall.py, NVlabs/stylegan3@c233a91
metrics/precision_recall.py, toshas/torch-fidelity@5e211a9 metric_prc.py,
clovaai/generative-evaluation-prdc@e320c1d prdc/prdc.py, layer6ai-labs/dgm-eval@74c79f7 metrics/prdc.py.
Deviates: products run in float32 in blocks, and every comparison that float32 cannot decide is made again
from the float64 difference of the two rows, so that counts are exact, ties included. No matrix of all pairs
is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.rows import Rows, blocks

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Inside = Literal["<=", "<"]

_ROWS, _COLUMNS = 1024, 4096
_EXACT_ROWS = 4096  # pairs recomputed at a time
_SPARE = 8  # candidates kept beyond the k + 1 nearest
# A row in more balls than this is inside whatever is drawn; the bootstrap needs no more of them.
MOST_HITS = 512


class Hits(NamedTuple):
    """Which balls hold which rows, as lists: row i is in the balls ``balls[starts[i] : starts[i + 1]]``.

    Attributes:
        starts: ``(n + 1,)``.
        balls: Indices of balls, at most `MOST_HITS` a row.
        totals: ``(n,)``, all balls around each row.
        num_balls: Number of balls.
    """

    starts: IntArray
    balls: IntArray
    totals: IntArray
    num_balls: int


class Coverage(NamedTuple):
    """How two sets cover each other.

    Attributes:
        precision: Share of the samples inside the real manifold.
        recall: Share of the real rows inside the samples' manifold.
        density: Mean number of real balls around a sample, over k.
        coverage: Share of the real balls that hold a sample.
        k: Neighbours.
        in_real: Real balls around each sample.
        in_fake: Samples' balls around each real row.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    in_real: Hits
    in_fake: Hits


class _Table:
    """A set prepared for float32 products: centred, with squared norms; exact rows stay with their owner."""

    def __init__(self, rows: Rows, centre: FloatArray) -> None:
        self.rows = rows
        self.values = np.empty((len(rows), rows.shape[1]), np.float32)
        start = 0
        for block in blocks(rows):
            np.subtract(block, centre, out=self.values[start : start + len(block)], casting="same_kind")
            start += len(block)
        self.norms = np.einsum("ij,ij->i", self.values, self.values)
        if not np.isfinite(self.norms).all():
            raise MetricError(
                "nearest neighbours are not finite: features this large overflow in float32; divide them by "
                "a "
                "constant first"
            )
        # Rounding of a float32 product of this width, as a share of the two squared norms.
        self.tolerance = np.float32(2 * np.finfo(np.float32).eps * (8 + np.sqrt(rows.shape[1])))

    def __len__(self) -> int:
        return len(self.rows)


def coverage(fake: Rows, real: Rows, *, k: int, inside: Inside) -> Coverage:
    """Precision, recall, density and coverage of two sets.

    Args:
        fake: Features of the samples, ``(n, d)``.
        real: Features of the real images, ``(m, d)``.
        k: Neighbours, the row itself not counted.
        inside: Whether a row on the rim of a ball is inside.

    Raises:
        MetricError: A set has no k neighbours, widths differ, or features overflow.
    """
    _check(fake, real, k)
    centre = _mean(real)
    fakes, reals = _Table(fake, centre), _Table(real, centre)
    radii_real, radii_fake = _radii(reals, k), _radii(fakes, k)
    in_real, in_fake = _Collector(len(fake), len(real)), _Collector(len(real), len(fake))
    for row, column, squared, tolerance in _pairs(fakes, reals):
        for radii, axis, found in ((radii_real, 1, in_real), (radii_fake, 0, in_fake)):
            here = radii[column] if axis == 1 else radii[row][:, None]
            hit = _decide(squared, tolerance, here, inside, fakes, reals, row.start, column.start)
            if axis == 1:
                found.add(hit, row.start, column.start)
            else:
                found.add(hit.T, column.start, row.start)
    real_hits, fake_hits = in_real.finish(), in_fake.finish()
    return Coverage(
        precision=float(np.mean(real_hits.totals > 0)),
        recall=float(np.mean(fake_hits.totals > 0)),
        density=float(real_hits.totals.sum()) / (k * len(fake)),
        coverage=float(np.mean(in_real.used)),
        k=k,
        in_real=real_hits,
        in_fake=fake_hits,
    )


def realism(
    fake: Rows, real: Rows, *, k: int, squared: bool = False, prune: bool = True, eps: float = 0.0
) -> FloatArray:
    """Realism of each sample: the largest radius over distance among real balls.

    Args:
        fake: Features of the samples.
        real: Features of the real images.
        k: Neighbours.
        squared: Take the ratio of squares (kynkaat's code) instead of distances (the paper, dgm-eval).
        prune: Leave out real balls with a radius at or above the median (the paper, dgm-eval).
        eps: Added to the denominator (1e-5 in kynkaat's code).

    Raises:
        MetricError: As `coverage`; or no ball is left, or a sample lies on a centre and ``eps`` is 0.
    """
    _check(fake, real, k)
    radii = _radii(_Table(real, _mean(real)), k)
    kept = np.flatnonzero(radii < np.median(radii)) if prune else np.arange(len(radii))
    if not len(kept):
        raise MetricError(
            "realism leaves out the real balls above the median radius, and all radii are equal; give real "
            "images "
            "without so many duplicates"
        )
    out = np.empty(len(fake))
    start = 0
    for block in blocks(fake, 256):
        best = np.zeros(len(block))
        for first in range(0, len(kept), 256):
            chosen = kept[first : first + 256]
            difference = block[:, None].astype(np.float64) - real[chosen].astype(np.float64)
            distances = np.einsum("ijk,ijk->ij", difference, difference)
            top = radii[chosen] if squared else np.sqrt(radii[chosen])
            bottom = distances if squared else np.sqrt(distances)
            if eps == 0 and (bottom == 0).any():
                raise MetricError(
                    "realism is infinite for a sample that equals a real image; leave that sample out"
                )
            best = np.maximum(best, (top / (bottom + eps)).max(axis=1))
        out[start : start + len(block)] = best
        start += len(block)
    return out


def squared_radii(rows: Rows, k: int) -> FloatArray:
    """Squared distance of each row to its k-th nearest neighbour in the set, itself not counted; float64.

    Raises:
        MetricError: There are fewer than k + 1 rows.
    """
    _check(rows, rows, k)
    return _radii(_Table(rows, _mean(rows)), k)


def _check(fake: Rows, real: Rows, k: int) -> None:
    if len(fake.shape) != 2 or len(real.shape) != 2 or fake.shape[1] != real.shape[1]:
        raise MetricError(
            f"nearest neighbours need two sets of features of one width, got {tuple(fake.shape)} and "
            f"{tuple(real.shape)}; take both from one layer of one extractor"
        )
    if k < 1 or min(len(fake), len(real)) < k + 1:
        raise MetricError(
            f"k = {k} neighbours need k of 1 or more and at least k + 1 = {k + 1} rows in either set, got "
            f"{len(fake)} "
            f"and {len(real)}; give more images or a smaller k"
        )


def _mean(rows: Rows) -> FloatArray:
    total = np.zeros(rows.shape[1])
    for block in blocks(rows):
        total += block.sum(axis=0, dtype=np.float64)
    return total / len(rows)


def _pairs(one: _Table, other: _Table) -> Iterator[tuple[slice, slice, Float32Array, Float32Array]]:
    """Blocks of squared distances in float32, each with the rounding error they may have."""
    for first in range(0, len(one), _ROWS):
        row = slice(first, min(first + _ROWS, len(one)))
        for second in range(0, len(other), _COLUMNS):
            column = slice(second, min(second + _COLUMNS, len(other)))
            norms = one.norms[row][:, None] + other.norms[column]
            squared = one.values[row] @ other.values[column].T
            squared *= -2
            squared += norms
            norms *= one.tolerance
            yield row, column, squared, norms


def _exact(one: _Table, other: _Table, left: IntArray, right: IntArray) -> FloatArray:
    """Squared distances of pairs of rows, from their float64 differences."""
    out = np.empty(len(left))
    step = max(1, (_EXACT_ROWS * 2048) // one.values.shape[1])
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        unique, place = np.unique(left[part], return_inverse=True)
        difference = one.rows[unique].astype(np.float64)[place] - other.rows[right[part]].astype(np.float64)
        out[part] = np.einsum("ij,ij->i", difference, difference)
    return out


def _radii(table: _Table, k: int) -> FloatArray:
    n, keep = len(table), min(k + 1 + _SPARE, len(table))
    best = np.full((n, keep), np.inf, np.float32)
    where = np.zeros((n, keep), np.int64)
    slack = np.zeros(n, np.float32)
    for row, column, squared, tolerance in _pairs(table, table):
        np.maximum(slack[row], tolerance.max(axis=1), out=slack[row])
        if squared.shape[1] > keep:
            nearest = np.argpartition(squared, keep - 1, axis=1)[:, :keep]
        else:
            nearest = np.broadcast_to(np.arange(squared.shape[1]), squared.shape)
        values = np.concatenate([best[row], np.take_along_axis(squared, nearest, axis=1)], axis=1)
        places = np.concatenate([where[row], nearest + column.start], axis=1)
        order = np.argpartition(values, keep - 1, axis=1)[:, :keep]
        best[row] = np.take_along_axis(values, order, axis=1)
        where[row] = np.take_along_axis(places, order, axis=1)
    exact = _exact(table, table, np.repeat(np.arange(n), keep), where.ravel()).reshape(n, keep)
    radii = np.partition(exact, k, axis=1)[:, k]
    if keep < n:
        # No row that was dropped can be nearer than the farthest that was kept, less rounding.
        unsure = np.flatnonzero((radii > best.max(axis=1) - 2 * slack) & (radii > 0))
        for index in unsure:
            radii[index] = _radius_in_float64(table, int(index), k)
    return radii


def _radius_in_float64(table: _Table, index: int, k: int) -> float:
    centre = table.rows[index : index + 1].astype(np.float64)
    distances = [
        np.square(block.astype(np.float64) - centre).sum(axis=1) for block in blocks(table.rows, _ROWS)
    ]
    return float(np.partition(np.concatenate(distances), k)[k])


def _decide(
    squared: Float32Array,
    tolerance: Float32Array,
    radii: FloatArray,
    inside: Inside,
    one: _Table,
    other: _Table,
    row: int,
    column: int,
) -> npt.NDArray[np.bool_]:
    rim = radii.astype(np.float32)
    hit = squared <= rim
    # Twice the tolerance also covers the rounding of the radius itself.
    near = np.abs(squared - rim) <= 2 * tolerance
    left, right = np.nonzero(near)
    if len(left):
        distances = _exact(one, other, left + row, right + column)
        reach = np.broadcast_to(radii, squared.shape)[left, right]
        hit[left, right] = distances <= reach if inside == "<=" else distances < reach
    return hit


class _Collector:
    """Gathers hits block by block, a bounded number of them a row."""

    def __init__(self, num_rows: int, num_balls: int) -> None:
        self._rows: list[npt.NDArray[np.int32]] = []
        self._balls: list[npt.NDArray[np.int32]] = []
        self._totals = np.zeros(num_rows, np.int64)
        self.used = np.zeros(num_balls, np.bool_)

    def add(self, hit: npt.NDArray[np.bool_], row: int, ball: int) -> None:
        counts = hit.sum(axis=1)
        here = self._totals[row : row + len(hit)]
        self.used[ball : ball + hit.shape[1]] |= hit.any(axis=0)
        if (here + counts > MOST_HITS).any():
            hit = hit & (np.cumsum(hit, axis=1) + here[:, None] <= MOST_HITS)
        rows, balls = np.nonzero(hit)
        self._rows.append((rows + row).astype(np.int32))
        self._balls.append((balls + ball).astype(np.int32))
        here += counts

    def finish(self) -> Hits:
        rows = np.concatenate(self._rows)
        order = np.argsort(rows, kind="stable")
        stored = np.bincount(rows, minlength=len(self._totals))
        starts = np.concatenate([[0], np.cumsum(stored)]).astype(np.int64)
        return Hits(starts, np.concatenate(self._balls)[order].astype(np.int64), self._totals, len(self.used))
