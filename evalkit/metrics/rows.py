"""The one thing metrics ask of stored features: rows by slice or by index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


@runtime_checkable
class Rows(Protocol):
    """A table of ``(n, d)`` numbers that need not be in memory: arrays, memory maps and stored shards fit."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, d)``."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        """The rows of a slice, or those at an array of indices, as an array in memory."""
        ...


def blocks(rows: Rows, size: int = 4096) -> Iterator[npt.NDArray[np.floating]]:
    """All rows in order, ``size`` at a time, the last partial block included."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class Reordered:
    """The rows of another table in another order, read as they are asked for."""

    def __init__(self, rows: Rows, order: npt.NDArray[np.int64]) -> None:
        """Row i of this table is row ``order[i]`` of ``rows``."""
        self._rows = rows
        self._order = order

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, d)``."""
        return (len(self._order), *self._rows.shape[1:])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._order)

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        """The rows of a slice, or those at an array of indices."""
        return self._rows[self._order[index]]


def canonical_order(rows: Rows) -> npt.NDArray[np.int64]:
    """An order of the rows that depends on their content alone, as an index array.

    Floating-point sums depend on the order of their terms. Summing in this order makes a distance between two
    *sets* the same to the last bit however the files were named or listed. Rows are ordered by a 64-bit hash
    of their bits; equal rows are interchangeable, and different rows with equal hashes keep the order they
    came in.
    """
    width = rows.shape[1]
    rng = np.random.Generator(np.random.PCG64(0))
    odd = rng.integers(0, 2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = [
        (np.ascontiguousarray(block, dtype=np.float32).view(np.uint32).astype(np.uint64) * odd).sum(
            axis=1, dtype=np.uint64
        )
        for block in blocks(rows)
    ]
    return np.argsort(np.concatenate(hashes), kind="stable") if hashes else np.empty(0, np.int64)
