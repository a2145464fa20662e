"""MATLAB's imresize, by which super-resolution makes and checks its low-resolution images.

Output pixel ``x = 1 ... ceil(in * scale)`` is a weighted sum of input pixels around ``u = x / scale + (1 -
1 / scale) / 2``; the weights are a kernel at the distances to ``u``, divided by their sum. The kernel is
Keys's cubic with a = -0.5 (``bicubic``; Keys 1981, eq. 4 to 8) or the sinc windowed by its three middle lobes
(``lanczos3``). Where an axis shrinks, the kernel is stretched by ``1 / scale`` against aliasing; beyond the
border the image is mirrored, the edge pixel repeated. Axes pass one after the other, the one that shrinks
most first, height before width at equal scales. uint8 images are rounded and clipped to uint8 after *each*
of the two passes, as MATLAB's and the official Python versions do (BasicSR@d21eac8 utils/matlab_functions.py,
SRFlow@5a007ad code/imresize.py, NTIRE21_Learning_SR_Space@cd4d574 imresize.py); halves go to the even level,
as in the Python ones. Floats are not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError, lookup

Kernel = Literal["bicubic", "lanczos3"]
FloatArray = npt.NDArray[np.float64]


def _cubic(x: FloatArray) -> FloatArray:
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _lanczos3(x: FloatArray) -> FloatArray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


class _Shape(NamedTuple):
    width: float  # of the interval on which the kernel is not 0, in pixels
    value: Callable[[FloatArray], FloatArray]


_KERNELS = {"bicubic": _Shape(4.0, _cubic), "lanczos3": _Shape(6.0, _lanczos3)}


def imresize(
    image: npt.NDArray[Any],
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    kernel: Kernel = "bicubic",
) -> npt.NDArray[Any]:
    """Resizes the last two axes as MATLAB's imresize does, with its antialiasing.

    Args:
        image: ``(..., h, w)``, uint8 or floats.
        scale: Factor of both axes; the output has ``ceil(h * scale)`` by ``ceil(w * scale)`` pixels.
        size: Height and width of the output instead of a scale; each axis then has the scale out / in.
        kernel: ``bicubic`` or ``lanczos3``.

    Returns:
        uint8 of uint8, rounded after each pass; float64 of floats, not rounded.

    Raises:
        UsageError: Neither or both of scale and size, or one that is not positive; an unknown kernel; an
            image of another type, without pixels or of fewer than two axes.
    """
    shape = lookup(kernel, _KERNELS, "kernel")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UsageError(
            f"images of type {image.dtype} cannot be resized as MATLAB does; give uint8 levels or floats"
        )
    if image.ndim < 2 or not image.size:
        raise UsageError(f"an image of shape {image.shape} cannot be resized; give (..., height, width)")
    before = image.shape[-2:]
    if (scale is None) == (size is None):
        raise UsageError(f"give either a scale or a size to resize to; got scale {scale} and size {size}")
    if size is not None:
        after = (int(size[0]), int(size[1]))
        scales = (after[0] / before[0], after[1] / before[1])
    elif scale is not None and math.isfinite(scale) and scale > 0:
        after = (math.ceil(before[0] * scale), math.ceil(before[1] * scale))
        scales = (float(scale), float(scale))
    else:
        raise UsageError(f"images cannot be resized by a scale of {scale}; give a positive number")
    if min(after) < 1:
        raise UsageError(f"images cannot be resized to {after[0]} by {after[1]} pixels; give 1 by 1 or more")
    out = image if image.dtype == np.uint8 else image.astype(np.float64)
    for place in sorted((0, 1), key=lambda place: scales[place]):
        values = _along(out, place - 2, after[place], scales[place], shape)
        out = np.rint(values).clip(0, 255).astype(np.uint8) if image.dtype == np.uint8 else values
    return out


def downscale(image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """`imresize` by ``1 / factor``, bicubic: how the low-resolution inputs of super-resolution are made."""
    return imresize(image, 1 / _whole(factor))


def upscale(image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """`imresize` by ``factor``, bicubic: the baseline of super-resolution."""
    return imresize(image, _whole(factor))


def _whole(factor: int) -> int:
    if factor < 1 or factor != int(factor):
        raise UsageError(f"a resizing factor is a whole number from 1 on; got {factor}")
    return int(factor)


def _along(image: npt.NDArray[Any], axis: int, after: int, scale: float, kernel: _Shape) -> FloatArray:
    weights, places = _contributions(image.shape[axis], after, scale, kernel)
    along = (-1, *(1,) * (-axis - 1))
    # Added tap by tap: the order of the sum, and so its last bit, is the same on every machine.
    total = np.zeros((*image.shape[:axis], after, *image.shape[image.ndim + axis + 1 :]))
    for weight, place in zip(weights, places, strict=True):
        total += weight.reshape(along) * image.take(place, axis=axis)
    return total


def _contributions(
    before: int, after: int, scale: float, kernel: _Shape
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """For each tap and output pixel its weight and the input pixel, both ``(taps, after)``."""
    stretch = min(scale, 1.0)
    width = kernel.width / stretch
    centre = np.arange(1, after + 1) / scale + (1 - 1 / scale) / 2
    places = np.floor(centre - width / 2) + np.arange(math.ceil(width) + 2)[:, None]
    weights = stretch * kernel.value(stretch * (centre - places))
    weights /= weights.sum(axis=0)
    mirrored = np.concatenate([np.arange(before), np.arange(before)[::-1]])
    used = weights.any(axis=1)
    return weights[used], mirrored[(places[used].astype(np.intp) - 1) % (2 * before)]
