"""Rows of a network in batches of one size.

The image of a seed depends on that seed alone. A network may round its sums otherwise at another batch size,
so rows always go through it in batches of one size, the last one filled up with copies of its last row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def batch_size(resolution: int, device: torch.device) -> int:
    """How many images go through a network at once; fixed, since it may show in the last bit."""
    if device.type == "cpu":
        return 16 if resolution <= 64 else 4 if resolution <= 256 else 1
    return 64 if resolution <= 64 else 32 if resolution <= 256 else 8


def in_batches(function: Callable[..., Tensor], size: int, *columns: Tensor | None) -> Tensor:
    """Rows of ``function(*columns)``, computed in batches of exactly ``size`` rows.

    Args:
        function: Takes a batch of every column (None stays None) and returns one row a row.
        size: Rows in a batch.
        columns: Tensors of equal length; None for an absent one. Without rows the function is called once, on
            none.
    """
    first = next(column for column in columns if column is not None)
    if not len(first):
        return function(*columns)
    parts = []
    for start in range(0, len(first), size):
        rows = [None if column is None else column[start : start + size] for column in columns]
        missing = max(start + size - len(first), 0)
        filled = [
            torch.cat([row, row[-1:].expand(missing, *row.shape[1:])]) if row is not None and missing else row
            for row in rows
        ]
        parts.append(function(*filled)[: size - missing])
    return torch.cat(parts)
