"""Peak signal-to-noise ratio of an image, and of the low-resolution image that it should shrink to.

``PSNR = 20 log10(peak / sqrt(mse))`` in dB over all values of all channels. Where a protocol leaves a border
out it is cut off before anything else is computed (xinntao/BasicSR@d21eac8 basicsr/metrics/psnr_ssim.py
``crop_border``). LR-PSNR shrinks the restoration as MATLAB does, rounding to levels after each pass, and
compares it with the low-resolution image (andreas128/SRFlow@5a007ad code/test.py; its "LRC PSNR").
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.imaging.resize_matlab import downscale

FloatArray = npt.NDArray[np.float64]


def shave(image: npt.NDArray[Any], border: int) -> npt.NDArray[Any]:
    """An image without ``border`` pixels on each of its four sides.

    Args:
        image: ``(..., h, w)``.
        border: Pixels, 0 or more.

    Returns:
        A view of ``(..., h - 2 border, w - 2 border)``.

    Raises:
        MetricError: Nothing would be left.
    """
    height, width = image.shape[-2:]
    if border < 0 or min(height, width) <= 2 * border:
        raise MetricError(
            f"an image of {height} by {width} pixels has nothing left without a border of {border} on each "
            f"side; give images of more than {2 * border} by {2 * border}, or a protocol that leaves no "
            "border out"
        )
    return image[..., border : height - border, border : width - border]


def psnr(a: npt.NDArray[Any], b: npt.NDArray[Any], *, peak: float = 255.0) -> float:
    """PSNR of two images, in dB; infinite where they are equal.

    Args:
        a: Any shape, any numbers.
        b: Of the same shape.
        peak: Distance from black to white.

    Raises:
        MetricError: The shapes differ, or there are no pixels.
    """
    first, second = as_pair(a, b, "PSNR")
    error = math.sqrt(np.mean(np.square(first - second)))
    return 20 * math.log10(peak / error) if error else math.inf


def lr_psnr(sr: npt.NDArray[np.uint8], lr: npt.NDArray[np.uint8], scale: int) -> float:
    """PSNR, in dB, between a restoration shrunk by ``scale`` and a low-resolution image.

    Args:
        sr: uint8 ``(3, h, w)``.
        lr: uint8 ``(3, ceil(h / scale), ceil(w / scale))``.
        scale: Whole factor.

    Raises:
        MetricError: The sizes do not fit the factor, or an image is not of uint8 levels.
    """
    for image in (sr, lr):
        if image.dtype != np.uint8:
            raise MetricError(
                f"LR-PSNR rounds to levels while it shrinks and takes uint8 images; got {image.dtype}; round "
                "the restoration first"
            )
    shrunk = downscale(sr, scale)
    if shrunk.shape != lr.shape:
        raise MetricError(
            f"a restoration of {_size(sr)} shrinks by {scale} to {_size(shrunk)}, and the low-resolution "
            f"image has {_size(lr)}; give the image it was made from, or the right scale"
        )
    return psnr(shrunk, lr)


def as_pair(a: npt.NDArray[Any], b: npt.NDArray[Any], what: str) -> tuple[FloatArray, FloatArray]:
    """Both images as float64, for ``what``.

    Raises:
        MetricError: The shapes differ, or there are no pixels.
    """
    if a.shape != b.shape or not a.size:
        raise MetricError(
            f"{what} compares two images of one shape; got {a.shape} and {b.shape}: check that the files are "
            "partners and that the scale is right"
        )
    return a.astype(np.float64), b.astype(np.float64)


def _size(image: npt.NDArray[Any]) -> str:
    return f"{image.shape[-2]} by {image.shape[-1]} pixels"
