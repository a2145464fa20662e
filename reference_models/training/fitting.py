"""How images become squares of the side that a model is trained on.

A model takes squares whose side is a power of two. What else there is, is never changed silently: ``exact``
refuses it by name, and the other ways are asked for.

- ``resize`` brings an image to R x R whatever its shape; ``crop`` takes the largest square in its middle
  first, ``pad`` adds black bars to a square first. All by Pillow's bicubic, stretched where it shrinks.
- ``patches`` cuts every image into whole squares (`reference_models.training.patches`), of any side that the
  model takes: for networks that restore images of any size.
- ``native`` undoes an enlargement: images that consist of k x k squares of equal values are taken at the
  resolution that they have in truth, and samples are enlarged by k again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.imaging import native

FITS = ("exact", "resize", "crop", "pad", "patches", "native")
SMALLEST_SIDE = 4
_OTHERS = "give --fit resize, crop or pad"

UInt8Array = npt.NDArray[np.uint8]
Fit = Callable[[UInt8Array, str], UInt8Array]


def is_side(side: int) -> bool:
    """Whether a model can have images of this side."""
    return side >= SMALLEST_SIDE and not side & (side - 1)


def check_side(fit: str, resolution: int | None) -> int:
    """The side to which ``resize``, ``crop``, ``pad`` and ``patches`` bring images.

    Raises:
        UsageError: There is none, or it is no power of two from 4; of ``patches`` any number from 4 is one.
    """
    if fit == "patches" and resolution is not None and resolution >= SMALLEST_SIDE:
        return resolution
    if resolution is None or not is_side(resolution):
        raise UsageError(
            f"--fit {fit} brings images to a resolution, and {resolution} was given; give --resolution, a "
            f"power of two from {SMALLEST_SIDE}"
        )
    return resolution


def exact(side: int) -> Fit:
    """Takes images of ``side`` x ``side``, and no others."""

    def take(image: UInt8Array, name: str) -> UInt8Array:
        height, width = image.shape[1:]
        if (height, width) != (side, side):
            raise SourceError(
                f"{name} has {width}x{height} pixels, and training takes {side}x{side}; {_OTHERS} to bring "
                "all images to one side, or --fit patches to cut squares of --resolution out of them"
            )
        return image

    return take


def common_side(image: UInt8Array, name: str, resolution: int | None) -> int:
    """The side of all images where none is changed, which the first one gives.

    Args:
        image: The first image, uint8 ``(3, h, w)``.
        name: How messages name it.
        resolution: What the user asks for, or None.

    Raises:
        SourceError: It is no square with a power of two as its side, or not of the side asked for.
    """
    height, width = image.shape[1:]
    if height != width or not is_side(width):
        what = "is no square" if height != width else f"is no power of two from {SMALLEST_SIDE}"
        raise SourceError(
            f"{name} has {width}x{height} pixels, which {what}; models are trained on squares of 4, 8, 16 … "
            f"pixels: {_OTHERS}, with --resolution for a side other than the preset's"
        )
    if resolution is not None and resolution != width:
        raise SourceError(
            f"{name} has {width}x{height} pixels, and --resolution {resolution} was asked for; {_OTHERS}, or "
            "leave --resolution out"
        )
    return int(width)


def fitted(fit: str, side: int) -> Fit:
    """Brings images to ``side`` x ``side`` by ``resize``, ``crop`` or ``pad``."""

    def bring(image: UInt8Array, name: str) -> UInt8Array:
        del name
        if fit == "crop":
            image = _middle(image)
        elif fit == "pad":
            image = _barred(image)
        if image.shape[1:] == (side, side):
            return image
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        small = picture.resize((side, side), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))

    return bring


def _middle(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]


def _barred(image: UInt8Array) -> UInt8Array:
    channels, height, width = image.shape
    side = max(height, width)
    out = np.zeros((channels, side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    out[:, top : top + height, left : left + width] = image
    return out


def reduced(side: int, k: int) -> Fit:
    """Takes one pixel of each k x k square of images of ``side`` x ``side``."""
    take = exact(side)
    return lambda image, name: native.to_native(
        take(image, name)[None], k, image.shape[0], name=lambda _: name
    )[0]


def nothing_to_reduce(spec: str, side: int) -> UsageError:
    """What to say of images that are at their own resolution."""
    return UsageError(
        f"--fit native undoes an enlargement, and the images of {spec}, {side}x{side}, have none: they do "
        f"not consist of equal squares that leave {native.SMALLEST_SIDE}x{native.SMALLEST_SIDE} or more; "
        "leave --fit out"
    )
