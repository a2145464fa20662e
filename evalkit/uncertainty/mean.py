"""The error bar of a plain mean over images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval


def mean_estimate(values: npt.NDArray[np.float64], *, notes: tuple[str, ...] = ()) -> Estimate:
    """The mean of independent values, its standard error s / sqrt(n), and a normal interval.

    Args:
        values: ``(n,)``, n of 2 or more, finite.
        notes: What a reader must know.
    """
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(
        value=mean,
        standard_error=error,
        interval=normal_interval(mean, error),
        method="normal interval of a mean over images; the model and its draws are held fixed",
        notes=notes,
    )
