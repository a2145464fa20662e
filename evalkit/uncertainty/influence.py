"""Error bars that follow from the influence of single rows (delta method): the Fréchet distance.

The influence values, the standard error and the first-order bias come from
`evalkit.metrics.distribution.fid_influence`; here they become an `Estimate`. The interval is centred on the
value less its bias, since the bias of a Fréchet distance is often many standard errors (SPEC-performance
section 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval

FloatArray = npt.NDArray[np.float64]


def frechet_estimate(
    value: float, standard_error: float, bias: float, reliable: bool, notes: Sequence[str] = ()
) -> Estimate:
    """A Fréchet distance with its closed-form error bar.

    Args:
        value: The distance.
        standard_error: Of the distance.
        bias: Its first-order bias.
        reliable: Whether there are enough rows for the formulas.
        notes: What a reader must know.

    Returns:
        The estimate. No distance lies below 0: a centre below 0 is taken as 0, and the lower end is cut at 0.
    """
    low, high = normal_interval(max(value - bias, 0.0), standard_error)
    quality = "" if reliable else "; approximate, there are few rows for so many dimensions"
    return Estimate(
        value=value,
        standard_error=standard_error,
        interval=(max(low, 0.0), high),
        method="closed-form influence function; the interval is centred on value - bias and cut at 0"
        + quality,
        bias=bias,
        notes=tuple(notes),
    )


def extrapolated_estimate(
    value: float, sampling_error: float, line_error: float, notes: Sequence[str] = ()
) -> Estimate:
    """A Fréchet distance extrapolated to infinity.

    Args:
        value: Intercept of the line.
        sampling_error: Standard error of the distance of all samples, by its influence function.
        line_error: Standard error of the intercept, from the scatter around the line.
        notes: What a reader must know.
    """
    spread = float(np.hypot(sampling_error, line_error))
    return Estimate(
        value=value,
        standard_error=spread,
        interval=normal_interval(value, spread),
        method="influence function of the distance of all samples, and scatter around the line",
        notes=tuple(notes),
    )


def paired_difference(first: FloatArray, second: FloatArray, real: FloatArray) -> float:
    """Standard error of the difference of two models' distances from one real set.

    Args:
        first: Influence values of the first model's samples, ``(n1,)``.
        second: Influence values of the second model's samples, ``(n2,)``.
        real: For each real row, its influence on the first distance less that on the second, ``(m,)``.

    Returns:
        The standard error: what both distances share through the real set cancels in ``real``.
    """
    parts = (first, second, real)
    return float(np.sqrt(sum(float(part @ part) / len(part) ** 2 for part in parts if len(part))))
