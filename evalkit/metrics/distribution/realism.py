"""Realism of single samples: how deep each lies in the real manifold. Higher is better, 1 is the rim.

R(x) = max over reals of (radius of the real's ball) / |x - real|   (Kynkäänniemi et al. 2019, eq. 3)

Official: layer6ai-labs/dgm-eval@74c79f7 metrics/realism.py leaves out balls of the median radius and above,
as the paper says; kynkaat/improved-precision-and-recall-metric@ed8ee4c precision_recall.py takes squared
distances, adds 1e-5 to the denominator, and its pruning has no effect. Deviates: distances are float64
differences.
"""

from __future__ import annotations

import numpy as np

from evalkit.errors import MetricError
from evalkit.metrics.distribution.distances import FloatArray
from evalkit.metrics.distribution.prdc import radii
from evalkit.metrics.rows import Rows, blocks

_BLOCK = 256


def realism(
    fake: Rows, real: Rows, *, k: int, squared: bool = False, prune: bool = True, eps: float = 0.0
) -> FloatArray:
    """Realism of each sample, ``(n,)``.

    Args:
        fake: Features of the samples, ``(n, d)``.
        real: Features of the real images, ``(m, d)``.
        k: Neighbours that set a radius.
        squared: Take the ratio of squares.
        prune: Leave out balls of the median radius and above.
        eps: Added to the denominator.

    Raises:
        MetricError: There are fewer than k + 1 reals, no ball is left, or a sample equals a real and ``eps``
            is 0.
    """
    radius = radii(real, k=k)
    kept = np.flatnonzero(radius < np.median(radius)) if prune else np.arange(len(radius))
    if not len(kept):
        raise MetricError(
            "realism leaves out balls of the median radius and above, and all radii are equal; give real "
            "images without so many duplicates"
        )
    power = 2 if squared else 1
    found = []
    for block in blocks(fake, _BLOCK):
        best = np.zeros(len(block))
        for start in range(0, len(kept), _BLOCK):
            chosen = kept[start : start + _BLOCK]
            gap = block[:, None].astype(np.float64) - real[chosen].astype(np.float64)
            bottom = np.sqrt(np.einsum("ijk,ijk->ij", gap, gap)) ** power + eps
            if not bottom.all():
                raise MetricError(
                    "realism is infinite for a sample that equals a real image; leave that sample out"
                )
            best = np.maximum(best, (radius[chosen] ** power / bottom).max(axis=1))
        found.append(best)
    return np.concatenate(found)
