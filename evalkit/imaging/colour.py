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
    """Luma of an RGB image.

    Args:
        image: ``(3, h, w)`` on the scale 0 to 255, uint8 or floats.

    Returns:
        float64 ``(h, w)`` from 16 to 235, not rounded.

    Raises:
        UsageError: The image has other axes.
    """
    return _weighted(image) / 255 + _BLACK


def grey_level(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """What stands for the luma of an image that is stored grey, and of its restorations: their levels.

    Of channels that differ, as a model may restore a grey image, it is their luma brought to 0 ... 255.

    Args:
        image: ``(3, h, w)`` on the scale 0 to 255, uint8 or floats.

    Returns:
        float64 ``(h, w)`` from 0 to 255, not rounded.

    Raises:
        UsageError: The image has other axes.
    """
    return _weighted(image) / sum(_WEIGHTS)


def _weighted(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if image.ndim != 3 or image.shape[0] != 3:
        raise UsageError(f"luma is of an RGB image (3, height, width); got the shape {image.shape}")
    red, green, blue = (np.asarray(plane, np.float64) for plane in image)
    return _WEIGHTS[0] * red + _WEIGHTS[1] * green + _WEIGHTS[2] * blue
