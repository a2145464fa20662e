"""Error bar of a mean without its extremes: the influence function of the percentile-trimmed mean.

A value within the bounds pulls at the trimmed mean by itself, one beyond them as if it stood at the bound:
the standard error is that of the *Winsorised* values over the share that was kept (Tukey and McLaughlin 1963;
Huber 1981, section 3.3). Few degrees of freedom make the interval Student's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, student95

FloatArray = npt.NDArray[np.float64]


def trimmed_estimate(
    value: float, values: FloatArray, lower: float, upper: float, *, group: int = 1
) -> Estimate:
    """A trimmed mean of quantities that cannot be negative.

    Args:
        value: Mean of the values within the bounds, both included.
        values: All values, ``(n,)``.
        lower: The lower bound, one of the values.
        upper: The upper bound, one of the values.
        group: So many consecutive values share a draw (the last ones may be fewer) and may move together; the
            groups are what is independent.

    Returns:
        The estimate; the interval is cut at 0. With fewer than two groups no error is defined.
    """
    groups = -(-len(values) // group)
    if groups < 2:
        return Estimate(
            value=value,
            standard_error=None,
            interval=None,
            method=f"none: {len(values)} distances are too few, the error needs {group + 1} or more",
        )
    kept = float(((lower <= values) & (values <= upper)).mean())
    winsorised = np.clip(values, lower, upper)
    pull = (winsorised - winsorised.mean()) / kept
    sums = np.add.reduceat(pull, np.arange(0, len(values), group))
    spread = float(np.sqrt(sums @ sums * groups / (groups - 1))) / len(values)
    reach = student95(groups - 1) * spread
    together = "" if group == 1 else f" over {groups:,} groups of {group} that share their noise"
    return Estimate(
        value=value,
        standard_error=spread,
        interval=(max(value - reach, 0.0), value + reach),
        method=f"influence function of the trimmed mean (Winsorised variance){together}",
    )
