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
