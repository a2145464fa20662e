"""Structural similarity (Wang et al. 2004, eq. 13) with the two windows that papers use.

``SSIM = (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))`` at every window, ``C1 =
(0.01 peak)^2``, ``C2 = (0.03 peak)^2``; the mean over windows that lie wholly inside the image, then over
channels. ``gaussian11``: 11x11, sigma 1.5, weighted moments, as its authors have it and
xinntao/BasicSR@d21eac8 (basicsr/metrics/psnr_ssim.py). ``uniform7``: 7x7 of equal weights with variances over
n - 1 (factor 49/48), the default of scikit-image that andreas128/SRFlow@5a007ad (code/Measure.py) reports.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError, lookup
from evalkit.metrics.restoration.psnr import as_pair, shave

Window = Literal["gaussian11", "uniform7"]
FloatArray = npt.NDArray[np.float64]


class _Kind(NamedTuple):
    weights: tuple[float, ...]  # along one axis, they add up to 1
    correction: float  # of the variances

    @property
    def reach(self) -> int:
        return len(self.weights) // 2


def _gaussian(size: int, sigma: float) -> tuple[float, ...]:
    heights = [math.exp(-((x - size // 2) ** 2) / (2 * sigma**2)) for x in range(size)]
    return tuple(height / sum(heights) for height in heights)


_WINDOWS = {
    "gaussian11": _Kind(_gaussian(11, 1.5), 1.0),
    "uniform7": _Kind((1 / 7,) * 7, 49 / 48),
}


def ssim_map(
    a: npt.NDArray[Any], b: npt.NDArray[Any], *, window: Window = "gaussian11", peak: float = 255.0
) -> FloatArray:
    """SSIM around every pixel; beyond the border the images are mirrored, the edge pixel repeated.

    Args:
        a: ``(c, h, w)`` or ``(h, w)``, any numbers.
        b: Of the same shape.
        window: ``gaussian11`` or ``uniform7``.
        peak: Distance from black to white.

    Returns:
        float64 of the images' shape, from -1 to 1.

    Raises:
        MetricError: The shapes differ or are others, or the images are smaller than the window.
        UsageError: There is no such window.
    """
    kind = lookup(window, _WINDOWS, "window")
    first, second = as_pair(a, b, "SSIM")
    size = len(kind.weights)
    if first.ndim not in (2, 3) or min(first.shape[-2:]) < size:
        raise MetricError(
            f"SSIM with the window {window} needs images (c, h, w) or (h, w) of {size} by {size} pixels or "
            f"more; got {first.shape}; give larger images, or a protocol with a smaller window or border"
        )
    mean_a, mean_b = _averaged(first, kind), _averaged(second, kind)
    var_a = kind.correction * (_averaged(first * first, kind) - mean_a * mean_a)
    var_b = kind.correction * (_averaged(second * second, kind) - mean_b * mean_b)
    cov = kind.correction * (_averaged(first * second, kind) - mean_a * mean_b)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / (
        (mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2)
    )


def ssim(
    a: npt.NDArray[Any], b: npt.NDArray[Any], *, window: Window = "gaussian11", peak: float = 255.0
) -> float:
    """Mean of `ssim_map` over the windows inside the image and over channels: exactly 1 of equal images.

    Args:
        a: ``(c, h, w)`` or ``(h, w)``, any numbers.
        b: Of the same shape.
        window: ``gaussian11`` or ``uniform7``.
        peak: Distance from black to white.

    Raises:
        MetricError: The shapes differ or are others, or the images are smaller than the window.
        UsageError: There is no such window.
    """
    found = ssim_map(a, b, window=window, peak=peak)
    return float(shave(found, _WINDOWS[window].reach).mean())


def _averaged(image: FloatArray, kind: _Kind) -> FloatArray:
    from scipy import ndimage

    for axis in (-2, -1):
        image = ndimage.correlate1d(image, kind.weights, axis=axis, mode="reflect")
    return image
