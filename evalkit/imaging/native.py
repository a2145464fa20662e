"""Images at the resolution that they have in truth: enlarged ones reduced, and enlarged again.

An image enlarged by k consists of k x k squares of equal values, and a grey one handed over as RGB has three
equal channels. Neither adds information, and a likelihood per dimension must not count copies as dimensions:
both can be taken away without loss, and only where they are really there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from evalkit.errors import SourceError

__all__ = ["SMALLEST_SIDE", "from_native", "native_block", "to_native"]

UInt8Array = npt.NDArray[np.uint8]

# Flat images allow any reduction; so much of a side is left.
SMALLEST_SIDE = 8


def native_block(images: Iterable[UInt8Array]) -> int:
    """The largest power of two k such that every image consists of k x k squares of equal values.

    Args:
        images: uint8 ``(c, h, w)`` each, of any sizes; an array of them will do.

    Returns:
        k, which leaves sides of `SMALLEST_SIDE` or more; 1 where images hold detail of one pixel.
    """
    k = 0
    for image in images:
        most = _largest_block(*image.shape[1:])
        k = min(k, most) if k else most
        while k > 1 and not _consists_of_squares(image, k):
            k //= 2
        if k == 1:
            break
    return max(k, 1)


def to_native(
    images: UInt8Array, enlarge: int, channels: int, *, name: Callable[[int], str] = "image {}".format
) -> UInt8Array:
    """One pixel of each square, and one channel of grey images.

    Args:
        images: uint8 ``(n, 3, h, w)`` or ``(n, 1, h, w)``.
        enlarge: k, the side of the squares; 1 takes images as they are.
        channels: Channels wanted, 1 or 3; 1 takes grey images alone, whose channels are equal.
        name: How a message names image i.

    Returns:
        uint8 ``(n, channels, h / k, w / k)``.

    Raises:
        SourceError: An image does not consist of such squares, or has colour where one channel is wanted.
    """
    given, height, width = images.shape[1:]
    if height % enlarge or width % enlarge:
        raise SourceError(
            f"{name(0)} has {width}x{height} pixels, which cannot be squares of {enlarge}x{enlarge}; give "
            f"images whose sides are multiples of {enlarge}"
        )
    if channels > given:
        raise SourceError(f"{name(0)} has {given} channel, and {channels} are wanted; give RGB images")
    for index, image in enumerate(images):
        if not _consists_of_squares(image, enlarge):
            raise SourceError(
                f"{name(index)}, {width}x{height} pixels, does not consist of {enlarge}x{enlarge} squares of "
                f"equal values, so that it cannot be taken at {width // enlarge}x{height // enlarge} without "
                f"loss; give images of {width // enlarge}x{height // enlarge}, or such as were enlarged by "
                "repeating pixels"
            )
        if channels < given and not bool((image == image[:1]).all()):
            raise SourceError(
                f"{name(index)} has colour, and a model of one channel knows grey images alone; give grey "
                "images, or a model of three channels"
            )
    return np.ascontiguousarray(images[:, :channels, ::enlarge, ::enlarge])


def from_native(images: UInt8Array, enlarge: int, channels: int = 3) -> UInt8Array:
    """The reverse of `to_native`: every pixel becomes a square, grey becomes ``channels`` equal channels.

    Args:
        images: uint8 ``(n, 1, h, w)`` or ``(n, channels, h, w)``.
        enlarge: Side of the squares.
        channels: Channels wanted.
    """
    large = images.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    return large if images.shape[1] == channels else large.repeat(channels, axis=1)


def _largest_block(height: int, width: int) -> int:
    common = math.gcd(height, width)
    k = common & -common  # its largest power of two
    while k > 1 and min(height, width) // k < SMALLEST_SIDE:
        k //= 2
    return k


def _consists_of_squares(image: UInt8Array, k: int) -> bool:
    channels, height, width = image.shape
    squares = image.reshape(channels, height // k, k, width // k, k)
    return bool((squares == squares[:, :, :1, :, :1]).all())
