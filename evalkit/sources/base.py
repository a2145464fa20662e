"""What every source of images offers: a length, images by index, labels, and a content fingerprint.

Images leave a source as uint8 RGB arrays of shape ``(3, h, w)``, in an order that depends on the data alone.
Sizes may differ within a source; a protocol's resize brings them together. Access is by index, so that any
shard of a source can be computed by any process, in any order, and computed again after a crash.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


class Form(NamedTuple):
    """What an image is, before its pixels are looked at.

    Attributes:
        height: In pixels.
        width: In pixels.
        grey: Whether it is stored with one channel of colour; a grey image stored as RGB is not.
    """

    height: int
    width: int
    grey: bool


class ImageSource(ABC):
    """A finite, ordered collection of uint8 RGB images.

    Attributes:
        spec: What the user typed to name it; appears in plans, messages and records.
        labels: int64 array of shape ``(n,)``, or None where the data has no labels.
        broken: Names of the items that ``--skip-broken`` left out; they are not counted in ``len``.
    """

    spec: str
    labels: Int64Array | None = None
    broken: tuple[str, ...] = ()
    _stated: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """The images at ``indices``, each uint8 RGB of shape ``(3, h, w)``, in the order asked for.

        Raises:
            SourceError: An image cannot be decoded or made; the message names it.
        """

    @abstractmethod
    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 digest of each item's stored content (file bytes, or shape and pixels)."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences a record should carry about how the images were read.

        They depend on the content alone, never on what was loaded before, so that a resumed run files the
        same record as an uninterrupted one.
        """
        return (*self._stated, *self.observed(range(len(self))))

    @notes.setter
    def notes(self, stated: tuple[str, ...]) -> None:
        self._stated = stated

    def observed(self, indices: Sequence[int]) -> tuple[str, ...]:
        """The notes that the images at ``indices`` call for; a source that looks into its files has some."""
        return ()

    def item_name(self, index: int) -> str:
        """How a message names the image at ``index``."""
        return f"image {index} of {self.spec}"

    def file_name(self, index: int) -> str | None:
        """The path of the image's file within the source, ``/`` between folders; None where it has none."""
        return None

    def forms(self, indices: Sequence[int]) -> list[Form]:
        """Sizes of the images at ``indices``, and which are stored grey; from headers where there are some.

        Raises:
            SourceError: An image cannot be read; the message names it.
        """
        sizes = (self.load([index])[0].shape[1:] for index in indices)
        return [Form(height, width, grey=False) for height, width in sizes]

    @property
    def fingerprint(self) -> str:
        """The sha256 over all items' digests and labels, in order: equal content has an equal fingerprint."""
        cached: str | None = getattr(self, "_fingerprint", None)
        if cached is None:
            cached = self._fingerprint = combine_digests(self.item_digests(range(len(self))), self.labels)
        return cached

    def batches(self, batch_size: int) -> Iterator[tuple[range, list[UInt8Array]]]:
        """All images in order, the last partial batch included, with the indices of each batch."""
        for start in range(0, len(self), batch_size):
            indices = range(start, min(start + batch_size, len(self)))
            yield indices, self.load(indices)


def combine_digests(digests: Iterable[bytes], labels: Int64Array | None) -> str:
    """One fingerprint of many item digests and the labels that go with them."""
    total = hashlib.sha256(b"evalkit-source-1")
    count = 0
    for item in digests:
        total.update(item)
        count += 1
    total.update(f"|{count}|".encode())
    if labels is not None:
        total.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    return total.hexdigest()


def array_digest(image: UInt8Array) -> bytes:
    """The sha256 of one image's shape and pixels."""
    head = "x".join(str(n) for n in image.shape).encode()
    return hashlib.sha256(head + b"|" + np.ascontiguousarray(image).tobytes()).digest()
