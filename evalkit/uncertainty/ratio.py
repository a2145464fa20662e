"""Error bar of a pooled PSNR: a ratio of sums over clusters, on the scale of decibels.

Squared errors are pooled over all images and divided by the number of values behind them. Images of one batch
share their move, so batches and not images are what is independent: the standard error is the ratio
estimator's over clusters (Cochran 1977, section 6.3 and 9A), taken to decibels by the delta method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, student95

FloatArray = npt.NDArray[np.float64]


def psnr_estimate(
    value: float, errors: FloatArray, counted: FloatArray, *, group: int, notes: Sequence[str] = ()
) -> Estimate:
    """A PSNR in dB with its error bar.

    Args:
        value: The PSNR of ``errors.sum() / counted.sum()``.
        errors: Sum of squared errors of every image, ``(n,)``.
        counted: Values behind each sum, ``(n,)``; 0 where nothing could be compared.
        group: So many consecutive images are one batch (the last ones may be fewer).
        notes: What a reader must know.

    Returns:
        The estimate; with fewer than two batches no error is defined.
    """
    starts = np.arange(0, len(errors), group)
    if len(starts) < 2:
        return Estimate(
            value=value,
            standard_error=None,
            interval=None,
            method=f"none: {len(errors)} images are one batch, the error needs {group + 1} or more",
            notes=tuple(notes),
        )
    mean = float(errors.sum() / counted.sum())
    residuals = np.add.reduceat(errors - mean * counted, starts)
    scale = len(starts) / (len(starts) - 1)
    spread = math.sqrt(scale * float(residuals @ residuals)) / float(counted.sum())
    decibels = 10 / math.log(10) * spread / mean
    reach = student95(len(starts) - 1) * decibels
    return Estimate(
        value=value,
        standard_error=decibels,
        interval=(value - reach, value + reach),
        method=f"ratio of sums over {len(starts):,} batches of {group} images, each of one move (delta "
        "method, in dB)",
        notes=tuple(notes),
    )
