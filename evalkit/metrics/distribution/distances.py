"""Squared distances between sets of rows: fast where that is enough, exact where a decision hangs on it.

|a - b|² = |a|² + |b|² - 2 a·b is a matrix product, quick and of known error: with all terms in a
floating-point type of unit roundoff u, it is off by at most (d + 32) u (|a|² + |b|²) (Higham 2002, section
3.1, with room for the rounding of centring and of the sums). Float32 products decide almost every comparison;
those within their error are decided by float64 products, and the few within the error of those by sum (a_l -
b_l)² in float64, which is 0 exactly for equal rows and the same to the last bit for (a, b) and (b, a).

Rows are centred, which shrinks |a|² and so the error, and scaled by a power of 2, so that huge and tiny
features survive float32. Memory: one float32 copy of a set, and blocks.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from evalkit.metrics.rows import Rows, blocks

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BLOCK = 1024
_CHUNK = 512  # pairs whose rows are held at a time for exact distances


def roundoff(width: int, kind: type[np.floating]) -> float:
    """Bound c of the error of a squared distance by a product: at most c (|a|² + |b|²)."""
    return (width + 32) * float(np.finfo(kind).eps) / 2


def cuts(n: int, size: int = BLOCK) -> list[slice]:
    """N rows in equal blocks of at most ``size``."""
    parts = max(1, -(-n // size))
    return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def centre(rows: Rows) -> FloatArray:
    """Mean of the rows."""
    total = np.zeros(rows.shape[1])
    for block in blocks(rows):
        total += block.sum(axis=0, dtype=np.float64)
    mean: FloatArray = total / len(rows)
    return mean


def scale_of(rows: Rows, shift: FloatArray) -> float:
    """The power of 2 that brings the largest centred feature between 1/2 and 1."""
    largest = max(float(np.max(np.abs(block - shift))) for block in blocks(rows))
    return 2.0 ** -float(np.ceil(np.log2(largest))) if largest > 0 else 1.0


class Cloud:
    """A set of rows, centred and scaled, ready for products.

    Attributes:
        rows: The rows as they were given.
        values: Centred, scaled, float32.
        norms: Squared norms of ``values``.
        keys: Equal for equal rows of any two clouds, different for different rows.
    """

    def __init__(self, rows: Rows, shift: FloatArray, scale: float, keys: IntArray) -> None:
        """Makes the float32 copy of ``rows``."""
        self.rows = rows
        self.keys = keys
        self._shift = shift
        self._scale = scale
        self.values: Float32Array = np.empty(rows.shape, np.float32)
        self.norms: FloatArray = np.empty(len(rows))
        for part in cuts(len(rows)):
            wide = self.wide(part)
            self.values[part] = wide
            self.norms[part] = np.einsum("ij,ij->i", wide, wide)

    def __len__(self) -> int:
        return len(self.norms)

    def wide(self, part: slice | IntArray) -> FloatArray:
        """Rows in float64, centred and scaled."""
        out: FloatArray = self.rows[part].astype(np.float64)
        out -= self._shift
        out *= self._scale
        return out

    def exact(self, mine: IntArray, other: Cloud, theirs: IntArray) -> FloatArray:
        """Exact squared distances of pairs, in the scaled unit."""
        out = np.zeros(len(mine))
        todo = np.flatnonzero(self.keys[mine] != other.keys[theirs])
        for start in range(0, len(todo), _CHUNK):
            part = todo[start : start + _CHUNK]
            gap = self.rows[mine[part]].astype(np.float64)
            gap -= other.rows[theirs[part]]
            gap *= self._scale
            out[part] = np.einsum("ij,ij->i", gap, gap)
        return out


def row_keys(*sets: Rows) -> list[IntArray]:
    """Integers that are equal for equal rows and only for those, over all ``sets``.

    Rows are told apart by 128 bits of a cryptographic hash; -0.0 equals 0.0.
    """
    known: dict[bytes, int] = {}
    keys = []
    for rows in sets:
        found = np.empty(len(rows), np.int64)
        start = 0
        for block in blocks(rows):
            plain = np.ascontiguousarray(block + 0.0)
            for i, row in enumerate(plain):
                name = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
                found[start + i] = known.setdefault(name, len(known))
            start += len(block)
        keys.append(found)
    return keys


def merge_smallest(
    best: FloatArray, who: IntArray, owner: IntArray, values: FloatArray, partner: IntArray
) -> None:
    """Keeps the smallest values a row, with their owners' partners, in place.

    Args:
        best: ``(n, k)``, each row in ascending order.
        who: ``(n, k)`` partners behind ``best``.
        owner: Row of each new value.
        values: New values.
        partner: Partner behind each.
    """
    if not len(owner):
        return
    width = best.shape[1]
    touched, place = np.unique(owner, return_inverse=True)
    all_rows = np.concatenate([np.repeat(np.arange(len(touched)), width), place])
    all_values = np.concatenate([best[touched].ravel(), values])
    all_partners = np.concatenate([who[touched].ravel(), partner])
    order = np.lexsort((all_partners, all_values, all_rows))
    sorted_rows = all_rows[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_rows, sorted_rows)
    kept = order[rank < width]
    best[touched] = all_values[kept].reshape(-1, width)
    who[touched] = all_partners[kept].reshape(-1, width)
