"""What the models' `evaluate` modules share: latents and labels of seeds, and batches that leave no trace.

The image of a seed depends on that seed alone. A network may round its sums otherwise at another batch size,
so rows always go through it in batches of one size, the last one filled up with copies of its last row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.errors import UsageError

Int64Array = npt.NDArray[np.int64]


def latents_of(seeds: Int64Array, z_dim: int) -> Tensor:
    """Normal latents as the official samplers draw them: ``RandomState(seed).randn(z_dim)`` in float32.

    Args:
        seeds: ``(n,)``, between 0 and 2^32 - 1.
        z_dim: Width.

    Returns:
        float32 ``(n, z_dim)``.

    Raises:
        UsageError: A seed is out of range.
    """
    seeds = np.asarray(seeds)
    if seeds.size and not (0 <= int(seeds.min()) and int(seeds.max()) < 2**32):
        raise UsageError(f"seeds {seeds.min()} to {seeds.max()} were given; they lie between 0 and 2^32 - 1")
    rows = [np.random.RandomState(int(seed)).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(len(seeds), z_dim))


def one_hot(labels: Int64Array | None, num: int, num_classes: int, what: str) -> Tensor | None:
    """One-hot rows ``(num, num_classes)`` of class numbers, None for a model without labels.

    Raises:
        UsageError: Labels are missing, unasked for, of another number, or no class.
    """
    if num_classes == 0:
        if labels is not None:
            raise UsageError(f"{what} has no labels; give none")
        return None
    if labels is None:
        raise UsageError(
            f"{what} is conditional on {num_classes} classes; give labels between 0 and {num_classes - 1}"
        )
    labels = np.asarray(labels)
    if labels.shape != (num,):
        raise UsageError(
            f"{what} was given labels of shape {labels.shape} for {num} samples; give one a sample"
        )
    if num and not (0 <= int(labels.min()) and int(labels.max()) < num_classes):
        raise UsageError(
            f"{what} was given labels {labels.min()} to {labels.max()}; give numbers between 0 and "
            f"{num_classes - 1}"
        )
    return torch.eye(num_classes)[torch.from_numpy(labels.astype(np.int64))]


def batch_size(resolution: int, device: torch.device) -> int:
    """How many images go through a network at once; fixed, since it may show in the last bit."""
    cpu = device.type == "cpu"
    for side, size in ((64, 16), (256, 4)) if cpu else ((64, 64), (256, 32)):
        if resolution <= side:
            return size
    return 1 if cpu else 8


def in_batches(function: Callable[..., Tensor], size: int, *columns: Tensor | None) -> Tensor:
    """Rows of ``function(*columns)``, computed in batches of exactly ``size`` rows.

    Args:
        function: Takes a batch of every column (None stays None) and returns one row a row.
        size: Rows in a batch.
        columns: Tensors of equal length, at least one row; None for an absent one.
    """
    first = next(column for column in columns if column is not None)
    parts = []
    for start in range(0, len(first), size):
        rows = [None if column is None else column[start : start + size] for column in columns]
        num = min(size, len(first) - start)
        filled = [
            row
            if row is None or num == size
            else torch.cat([row, row[-1:].expand(size - num, *row.shape[1:])])
            for row in rows
        ]
        parts.append(function(*filled)[:num])
    return torch.cat(parts)


def to_colour(images: Tensor) -> Tensor:
    """Repeats the one channel of grey images ``(n, 1, h, w)``; colour stays as it is."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def exactly() -> AbstractContextManager[None]:
    """Convolutions in true float32, by algorithms that do not vary from run to run."""
    return torch.backends.cudnn.flags(  # type: ignore[no-any-return, no-untyped-call, unused-ignore]
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
