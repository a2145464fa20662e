"""The error bar of a plain mean over images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval, student95


def mean_estimate(
    values: npt.NDArray[np.float64], *, notes: tuple[str, ...] = (), few: bool = False
) -> Estimate:
    """The mean of independent values, its standard error s / sqrt(n), and an interval.

    Args:
        values: ``(n,)``, n of 2 or more, finite.
        notes: What a reader must know.
        few: Whether n may be small, as of sets of five photographs: the interval is then Student's with
            n - 1 degrees of freedom, else the normal one.
    """
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if few:
        margin = student95(len(values) - 1) * error
        interval, name = (mean - margin, mean + margin), "Student's interval"
    else:
        interval, name = normal_interval(mean, error), "normal interval"
    return Estimate(
        value=mean,
        standard_error=error,
        interval=interval,
        method=f"{name} of a mean over images; the model and its draws are held fixed",
        notes=notes,
    )
