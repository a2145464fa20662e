"""Photographs cut into squares: what networks learn from that take any image, but train on crops of one side.

Squares lie side by side from the top left, row by row; what is left at the right and below is left out. They
are an `evalkit.sources.base.ImageSource` like any other, so that a pass through the data sees every square
once. SRFlow's own preparation draws 47 random crops an image instead (andreas128/SRFlow@5a007ad).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from evalkit.errors import SourceError
from evalkit.sources.base import ImageSource, UInt8Array

_CHUNK = 16


class Patches(ImageSource):
    """The squares of another source's images."""

    def __init__(self, source: ImageSource, side: int) -> None:
        """Reads every image once, for its size.

        Args:
            source: Images of any sizes from ``side`` on.
            side: Of the squares.

        Raises:
            SourceError: An image is smaller than a square; the message names it.
        """
        self.spec, self._source, self._side = source.spec, source, side
        places: list[tuple[int, int, int]] = []
        for indices, images in source.batches(_CHUNK):
            for index, image in zip(indices, images, strict=True):
                height, width = image.shape[1:]
                if min(height, width) < side:
                    raise SourceError(
                        f"{source.item_name(index)} has {width}x{height} pixels, and --fit patches cuts "
                        f"squares of {side}x{side}; leave it out, or give a smaller --resolution"
                    )
                places += [
                    (index, top, left)
                    for top in range(0, height - side + 1, side)
                    for left in range(0, width - side + 1, side)
                ]
        # Image, top and left of each.
        self._places: npt.NDArray[np.int64] = np.array(places, np.int64).reshape(-1, 3)
        self.labels = None if source.labels is None else source.labels[self._places[:, 0]]

    def __len__(self) -> int:
        return len(self._places)

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """The squares at ``indices``; an image of which several are asked for is read once."""
        asked = [self._place(index) for index in indices]
        wanted = list(dict.fromkeys(image for image, _, _ in asked))
        images = dict(zip(wanted, self._source.load(wanted), strict=True))
        side = self._side
        return [
            np.ascontiguousarray(images[image][:, top : top + side, left : left + side])
            for image, top, left in asked
        ]

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """Of the image's own digest, the place and the side."""
        for index in indices:
            image, top, left = self._place(index)
            (whole,) = self._source.item_digests([image])
            yield hashlib.sha256(whole + f"|{top}|{left}|{self._side}".encode()).digest()

    def item_name(self, index: int) -> str:
        """The image's own name, and the place."""
        image, top, left = self._place(index)
        return f"{self._source.item_name(image)} at ({left}, {top})"

    def _place(self, index: int) -> tuple[int, int, int]:
        image, top, left = self._places[index].tolist()
        return image, top, left
