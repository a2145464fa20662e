"""Do the samples of one input differ, and does that help: NTIRE21's diversity score, SRFlow's deviation.

The score of the NTIRE 2021 challenge (Lugmayr et al. 2021; andreas128/NTIRE21_Learning_SR_Space@cd4d574
measure.py) takes maps of distances to the original, one a sample. G, the global best, is the least mean of a
map; L, the local best, is the mean of the least value of each pixel; the score is ``100 (G - L) / G``: by how
much one would gain if one could choose the best sample pixel by pixel. SRFlow's (Lugmayr et al. 2020, column
sigma) is the standard deviation over samples of each pixel and channel, averaged, on the scale 0 to 255. The
official repository (andreas128/SRFlow@5a007ad) has no code for it, so that ``ddof`` is to be named: 1 divides
by n - 1, 0 by n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError

FloatArray = npt.NDArray[np.float64]


class BestOfSamples(NamedTuple):
    """What a choice among samples gains.

    Attributes:
        global_best: Least mean of a sample's map.
        local_best: Mean of the least values of the pixels; at most ``global_best``.
        score: What the second is below the first, in percent, from 0 to 100; 0 where the first is 0, since a
            perfect sample cannot be bettered.
    """

    global_best: float
    local_best: float
    score: float


def best_of_samples(maps: npt.NDArray[Any]) -> BestOfSamples:
    """NTIRE21's diversity score of the samples of one image; exactly 0 where all samples are equal.

    Args:
        maps: Distances to the original at every pixel, ``(n, h, w)``, at least 0.

    Raises:
        MetricError: Fewer than two maps, no pixels, or values that are negative or not finite.
    """
    if maps.ndim != 3 or not maps.size:
        raise MetricError(f"the diversity score takes maps (samples, h, w); got the shape {maps.shape}")
    _several(len(maps), 2)
    values = np.ascontiguousarray(maps, np.float64).reshape(len(maps), -1)
    if not np.isfinite(values).all() or values.min() < 0:
        raise MetricError(
            "the diversity score takes finite distances of 0 or more, and a map holds others; check the "
            "images and the network that compares them"
        )
    # One order of summation for both, so that rounding cannot put the local best above the global one.
    global_best = min(float(np.mean(row)) for row in values)
    local_best = float(np.mean(values.min(axis=0)))
    score = 100 * (global_best - local_best) / global_best if global_best else 0.0
    return BestOfSamples(global_best, local_best, score)


def pixel_std_map(samples: npt.NDArray[Any], ddof: int) -> FloatArray:
    """Standard deviation over the samples of one image at every pixel, a mean over its channels.

    Args:
        samples: ``(n, c, h, w)`` on the scale 0 to 255, uint8 or floats.
        ddof: 1 divides by n - 1, 0 by n.

    Returns:
        float64 ``(h, w)`` on the scale 0 to 255; exactly 0 where all samples are equal.

    Raises:
        MetricError: Another shape, or not more samples than ``ddof``, or only one.
    """
    if samples.ndim != 4 or not samples.size:
        raise MetricError(
            f"the deviation over samples takes images (samples, c, h, w); got the shape {samples.shape}"
        )
    _several(len(samples), max(2, ddof + 1))
    apart = samples.astype(np.float64)
    apart -= apart[:1].copy()  # equal samples are then exactly 0 apart, whatever their values
    deviation: FloatArray = apart.std(axis=0, ddof=ddof).mean(axis=0)
    return deviation


def pixel_std(samples: npt.NDArray[Any], ddof: int) -> float:
    """The mean over the image of `pixel_std_map`: SRFlow's diversity, on the scale 0 to 255.

    Args:
        samples: ``(n, c, h, w)`` on the scale 0 to 255, uint8 or floats.
        ddof: 1 divides by n - 1, 0 by n.

    Raises:
        MetricError: Another shape, or not more samples than ``ddof``, or only one.
    """
    return float(pixel_std_map(samples, ddof).mean())


def _several(num: int, least: int) -> None:
    if num < least:
        raise MetricError(
            f"diversity is not applicable: it is of {least} samples of an image or more, and there is {num}; "
            "give more samples (--samples 10)"
        )
