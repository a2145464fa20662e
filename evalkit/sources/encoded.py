"""What folders, archives and Hugging Face data sets share: image files that are decoded when asked for.

An item's digest is the sha256 of its file's bytes, not of its name: renaming files moves the fingerprint only
where it moves their order. The bytes are read once for the digest and the header is looked at in the same
pass, so the notes of a source cost no second reading.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from evalkit.sources.base import Form, ImageSource, Int64Array, UInt8Array
from evalkit.sources.decode import TRAIT_NOTES, decode, form, traits

T = TypeVar("T")
_BLOCK = 256


class EncodedSource(ImageSource):
    """Images whose files' bytes a subclass reads by index; `read` may be called from several threads."""

    def __init__(self, spec: str, num: int, labels: Int64Array | None) -> None:
        """Prepares the tables of digests and traits for ``num`` items."""
        self.spec = spec
        self.labels = labels
        self._num = num
        self._digests = np.zeros((num, 32), dtype=np.uint8)
        self._traits = np.zeros(num, dtype=np.uint8)
        self._forms = np.zeros((num, 3), dtype=np.int64)
        self._scanned = np.zeros(num, dtype=np.bool_)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The bytes of one item's file.

        Raises:
            SourceError: The file cannot be read; the message names it.
        """

    def __len__(self) -> int:
        return self._num

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """Reads and decodes, in several threads."""
        return _spread(lambda index: decode(self.read(index), self.item_name(index)), indices)

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 of the items' file bytes."""
        for start in range(0, len(indices), _BLOCK):
            block = indices[start : start + _BLOCK]
            self._scan(block)
            for index in block:
                yield self._digests[index].tobytes()

    def observed(self, indices: Sequence[int]) -> tuple[str, ...]:
        """How many of the images a rule of `evalkit.sources.decode` was applied to."""
        self._scan(indices)
        found = self._traits[np.asarray(indices, dtype=np.int64)]
        counts = ((int(np.count_nonzero(found & trait.value)), words) for trait, words in TRAIT_NOTES.items())
        return tuple(f"{count:,} of {len(found):,} images have {words}" for count, words in counts if count)

    def forms(self, indices: Sequence[int]) -> list[Form]:
        """From the headers of the items' files."""
        self._scan(indices)
        return [
            Form(int(height), int(width), bool(grey)) for height, width, grey in self._forms[list(indices)]
        ]

    def _scan(self, indices: Sequence[int]) -> None:
        todo = [index for index in indices if not self._scanned[index]]
        for start in range(0, len(todo), _BLOCK):
            block = todo[start : start + _BLOCK]
            for index, (item, seen, shape) in zip(block, _spread(self._look, block), strict=True):
                self._digests[index] = np.frombuffer(item, dtype=np.uint8)
                self._traits[index] = seen
                self._forms[index] = shape
                self._scanned[index] = True

    def _look(self, index: int) -> tuple[bytes, int, Form]:
        data, name = self.read(index), self.item_name(index)
        return hashlib.sha256(data).digest(), traits(data, name).value, form(data, name)


def _spread(work: Callable[[int], T], indices: Sequence[int]) -> list[T]:
    """Results in the order of ``indices``; of several failures the first in that order is raised."""
    workers = min(len(indices), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4, 16)
    if workers < 2:
        return [work(index) for index in indices]
    # A pool a call: no threads outlive it, so a process may fork between two calls.
    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="evalkit-decode") as pool:
        return list(pool.map(work, indices))
