"""The orthogonal low-pass filters that augmentations resample and filter with, and their bank of four bands.

Symlets (Daubechies 1992, "Ten lectures on wavelets", table 8.3 lists ``sym6``; ``sym2`` is Daubechies' filter
of four taps, of closed form). An orthogonal filter h of sum sqrt(2) has ``sum_k h[k] h[k + 2 m] = [m = 0]``:
upsampling with h and then downsampling with h mirrored changes nothing.

Bank (Karras et al. 2020, arXiv:2006.06676, appendix B): ``lo = h * mirrored(h) / 2`` and ``hi``, the same of
``(-1)^k h[k]``, are symmetric and add up to the identity. The bands [0, pi/8], [pi/8, pi/4], [pi/4, pi/2],
[pi/2, pi] are ``lo lo' lo''``, ``hi'' lo lo'``, ``hi' lo`` and ``hi``, where a dash spreads the taps to twice
their distance; they too add up to the identity.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_ROOT3 = math.sqrt(3)
SYM2 = tuple(
    tap / (4 * math.sqrt(2)) for tap in (1 - _ROOT3, 3 - _ROOT3, 3 + _ROOT3, 1 + _ROOT3)
)  # fmt: skip

# Expected power of the bands in natural images, which is proportional to 1/f (appendix B).
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


def delay(taps: tuple[float, ...]) -> float:
    """The centre of mass of a filter: by how many samples it shifts what varies slowly."""
    h = np.asarray(taps)
    return float((np.arange(h.size) * h).sum() / h.sum())


@functools.cache
def band_filters() -> Array:
    """The bank: four symmetric filters of unit total, from the lowest band to the highest.

    Returns:
        ``(4, 43)``, along one axis.
    """
    h = np.asarray(SYM2)
    signed = h * (-1.0) ** np.arange(h.size)
    lo, hi = np.convolve(h, h[::-1]) / 2, np.convolve(signed, signed[::-1]) / 2
    lowest, bands = np.ones(1), []
    for level in range(3):
        bands.append(np.convolve(lowest, _spread(hi, 2**level)))
        lowest = np.convolve(lowest, _spread(lo, 2**level))
    bands.append(lowest)
    width = lowest.size
    return np.stack([np.pad(band, (width - band.size) // 2) for band in reversed(bands)])


def _spread(taps: Array, factor: int) -> Array:
    spread = np.zeros((taps.size - 1) * factor + 1)
    spread[::factor] = taps
    return spread
