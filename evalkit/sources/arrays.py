"""Images that are an array already: which axis is which, and the source that hands them out.

Four axes are NHWC or NCHW, told apart by where a 1 or a 3 stands (a 4, red green blue alpha, where neither
does); three axes are grey images, NHW. Whatever could be read in two ways is refused. Grey is repeated to
three channels and alpha is dropped. Types other than uint8 are refused, since nothing says what their white
is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evalkit.errors import SourceError
from evalkit.sources.base import Form, ImageSource, Int64Array, UInt8Array, array_digest

Layout = Literal["NHWC", "NCHW", "NHW"]
_FORMS = "uint8 arrays of shape (n, h, w, c) or (n, c, h, w) with 1, 3 or 4 channels, or grey (n, h, w)"


def find_layout(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> Layout:
    """What the axes of an array of images are.

    Args:
        shape: Its shape.
        dtype: Its type.
        where: How messages name the array.

    Raises:
        SourceError: The type is not uint8, the array is empty, or its axes can be read in two ways or in
        none.
    """
    if dtype != np.uint8:
        step = (
            "round floats by evalkit.imaging.quantise.to_uint8(images, 'signed') for [-1, 1] or 'unit' for "
            "[0, 1]"
            if np.issubdtype(dtype, np.floating)
            else "scale the values to 0..255 and save them as uint8"
        )
        raise SourceError(f"{where} holds {dtype}, and images must be uint8; {step}")
    if 0 in shape:
        raise SourceError(f"{where} is empty: its shape is {shape}; accepted are {_FORMS}")
    if len(shape) == 4:
        first, last = shape[1], shape[3]
        for channels in ({1, 3}, {4}):
            if first in channels and last in channels:
                raise SourceError(
                    f"{where} has shape {shape}, in which the channels can be the second or the last axis; "
                    "crop or resize the images to another size"
                )
            if first in channels:
                return "NCHW"
            if last in channels:
                return "NHWC"
    elif len(shape) == 3:
        if shape[0] in (1, 3, 4) or shape[2] in (1, 3, 4):
            raise SourceError(
                f"{where} has shape {shape}, which is one image or several grey ones; add an axis: "
                "images[None] for one image, images[..., None] for grey ones"
            )
        return "NHW"
    raise SourceError(f"{where} has shape {shape}; accepted are {_FORMS}")


def to_rgb(image: npt.NDArray[np.uint8], layout: Layout) -> UInt8Array:
    """One image of an array as ``(3, h, w)`` with memory of its own."""
    planes = image[None] if layout == "NHW" else image.transpose(2, 0, 1) if layout == "NHWC" else image
    if planes.shape[0] == 1:
        return np.repeat(planes, 3, axis=0)
    return np.array(planes[:3], order="C")


class ArraySource(ImageSource):
    """Images in one uint8 array, in memory or mapped from a file."""

    def __init__(
        self, images: npt.NDArray[Any], labels: Int64Array | None = None, spec: str | None = None
    ) -> None:
        """Finds the layout; the array is not copied.

        Raises:
            SourceError: The array is no array of uint8 images.
        """
        self.spec = f"array{list(images.shape)}" if spec is None else spec
        self._layout = find_layout(images.shape, images.dtype, self.spec)
        self._images: npt.NDArray[np.uint8] = images
        self.labels = labels
        if self._layout != "NHW" and 4 in (images.shape[1], images.shape[3]) and self._channels() == 4:
            self.notes = ("all images have four channels: the last, alpha, is dropped",)

    def _channels(self) -> int:
        return int(self._images.shape[1 if self._layout == "NCHW" else 3])

    def __len__(self) -> int:
        return len(self._images)

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """Copies of the images at ``indices``."""
        return [to_rgb(self._images[index], self._layout) for index in indices]

    def forms(self, indices: Sequence[int]) -> list[Form]:
        """The one form that all images of an array have."""
        shape = self._images.shape
        height, width = shape[2:] if self._layout == "NCHW" else shape[1:3]
        return [Form(height, width, self._layout == "NHW" or self._channels() == 1)] * len(indices)

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 of the images' shapes and RGB pixels: NHWC and NCHW of equal content are equal."""
        for index in indices:
            yield array_digest(to_rgb(self._images[index], self._layout))
