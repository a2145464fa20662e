"""Error bars of averages over parts of the samples: kernel distances and inception scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalkit.uncertainty.estimate import Estimate, normal_interval, student95

FloatArray = npt.NDArray[np.float64]

MOST_SCORE_BIAS = 0.05  # of the score; see `split_estimate`


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
    """A score of 1 or more, averaged over disjoint parts of the samples.

    Small parts lower the score. Where the first-order bias is small the interval is that of infinitely many
    samples; where it is large the formula has left its range (it then covers a third to three quarters of
    the true bias), and the interval is that of the score of parts of this size.

    Args:
        value: Mean over the parts.
        splits: Score of each part.
        bias: First-order expectation of ``value`` minus its infinite-sample limit.
    """
    usable = abs(bias) <= MOST_SCORE_BIAS * value
    notes: tuple[str, ...] = ()
    if not usable:
        notes = (
            f"splits this small lower the score by more than {-bias:.3g}: compare only with scores of as "
            "many samples in as many splits",
        )
    if len(splits) < 2:
        return Estimate(
            value=value,
            standard_error=None,
            interval=None,
            method="none: one split has no spread",
            bias=bias if usable else None,
            notes=notes,
        )
    spread = float(splits.std(ddof=1)) / float(np.sqrt(len(splits)))
    centre = value - bias if usable else value
    reach = student95(len(splits) - 1) * spread
    where = "value - bias" if usable else "the value, since the bias is too large for its formula"
    return Estimate(
        value=value,
        standard_error=spread,
        interval=(max(centre - reach, 1.0), max(centre + reach, 1.0)),
        method=f"spread of {len(splits)} disjoint splits, Student's t; the interval is centred on {where}",
        bias=bias if usable else None,
        notes=notes,
    )
