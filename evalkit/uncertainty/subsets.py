"""Error bars of averages over parts of the samples: kernel distances and inception scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval

FloatArray = npt.NDArray[np.float64]


def subset_estimate(value: float, subsets: FloatArray, variance: float | None) -> Estimate:
    """An unbiased distance averaged over random subsets that overlap.

    The spread of overlapping subsets over the root of their number only says how well the average over all
    possible subsets is known, not how it would move with other images. That second part is ``variance``.

    Args:
        value: Mean over the subsets.
        subsets: Value of each subset.
        variance: Variance of the distance of all rows over draws of both sets; None where there are too few
        rows.
    """
    if variance is None:
        return Estimate(
            value=value,
            standard_error=None,
            interval=None,
            method="none: a variance needs at least 4 rows in either set",
        )
    draws = float(subsets.var(ddof=1)) / len(subsets) if len(subsets) > 1 else 0.0
    spread = float(np.sqrt(variance + draws))
    return Estimate(
        value=value,
        standard_error=spread,
        interval=normal_interval(value, spread),
        method=f"variance of the U-statistic over both sets, and the spread of {len(subsets):,} subsets",
    )


def split_estimate(value: float, splits: FloatArray, bias: float) -> Estimate:
    """A score averaged over disjoint parts of the samples.

    Args:
        value: Mean over the parts.
        splits: Score of each part.
        bias: First-order expectation of ``value`` minus its infinite-sample limit.
    """
    if len(splits) < 2:
        return Estimate(
            value=value, standard_error=None, interval=None, method="none: one split has no spread", bias=bias
        )
    spread = float(splits.std(ddof=1)) / float(np.sqrt(len(splits)))
    return Estimate(
        value=value,
        standard_error=spread,
        interval=normal_interval(value - bias, spread),
        method=f"spread of {len(splits)} disjoint splits; the interval is centred on value - bias",
        bias=bias,
    )
