"""Luma as super-resolution measures it.

``Y = (65.481 R + 128.553 G + 24.966 B) / 255 + 16`` for levels 0 to 255: the luma of ITU-R BT.601 with its
"studio" range, 16 for black to 235 for white, as MATLAB's rgb2ycbcr and BasicSR@d21eac8 (utils/color_util.py,
the ``y_channel`` of its metrics) have it. Not rounded: rounding to levels, as rgb2ycbcr does for uint8,
changes a PSNR in its second decimal. An image that is stored grey has no luma to compute: its level is its
Y, from 0 to 255, as in the tables of the literature (Set14's bridge; by way of luma its PSNR would be
20 log10(255 / 219) = 1.32 dB higher).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError

_WEIGHTS = (65.481, 128.553, 24.966)  # they add up to 219, the number of levels from black to white
_BLACK = 16.0


def luma(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Luma of an image.

    Args:
        image: ``(3, h, w)`` RGB, or ``(1, h, w)`` grey, on the scale 0 to 255, uint8 or floats.

    Returns:
        float64 ``(h, w)``, not rounded: of RGB from 16 to 235, of grey the level as it is.

    Raises:
        UsageError: The image has other axes.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise UsageError(
            f"luma is of an RGB image (3, height, width) or a grey one (1, height, width); got the shape "
            f"{image.shape}"
        )
    planes = image.astype(np.float64)
    if len(planes) == 1:
        grey: npt.NDArray[np.float64] = planes[0]
        return grey
    red, green, blue = _WEIGHTS
    total: npt.NDArray[np.float64] = (red * planes[0] + green * planes[1] + blue * planes[2]) / 255 + _BLACK
    return total
