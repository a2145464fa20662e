"""Features on which no distance between sets is defined, found before the metric and named.

Deviates from the official codes, which turn such features into NaN, into a number, or into an exception from
inside a linear-algebra routine.
"""

from __future__ import annotations

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.rows import Rows, blocks


def check_features(rows: Rows, what: str) -> None:
    """Checks shape, count, finiteness and spread, in one pass over the rows.

    Args:
        rows: Features ``(n, d)``.
        what: Whose features they are, for messages: ``samples`` or ``data``.

    Raises:
        MetricError: They are not two-dimensional, fewer than 2, not finite, or all equal.
    """
    shape = tuple(rows.shape)
    if len(shape) != 2 or not shape[1]:
        raise MetricError(
            f"features of the {what} must have shape (n, d), one row for each image, got {shape}; reshape "
            "them before they are measured"
        )
    if shape[0] < 2:
        raise MetricError(
            f"there is {shape[0]} row of features of the {what} and a spread needs at least 2; give more "
            "images"
        )
    first = rows[0:1]
    bad = 0
    first_bad = -1
    constant = True
    start = 0
    for block in blocks(rows):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            if first_bad < 0:
                first_bad = start + int(np.argmin(finite))
            bad += int(np.count_nonzero(~finite))
        constant = constant and bool((block == first).all())
        start += len(block)
    if bad:
        raise MetricError(
            f"features of the {what} hold NaN or infinity in {bad:,} of {shape[0]:,} rows, first in row "
            f"{first_bad} (counting from 0); look at that image and at the network's weights, and measure "
            "again without them"
        )
    if constant:
        raise MetricError(
            f"all {shape[0]:,} rows of features of the {what} are equal, so they have no spread to measure; "
            "check that the images differ and that the extractor's weights are the right ones"
        )
