"""A selection of another source's images: ``--limit``, ``--subset-seed`` and what ``--skip-broken`` leaves.

The selection keeps the order of the source. Without a seed it is the first images; with one, images drawn
without replacement by ``numpy.random.default_rng(seed)``. Its fingerprint is that of a source which holds
just these images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evalkit.errors import SourceError, UsageError
from evalkit.sources.base import Form, ImageSource, UInt8Array


class SubsetSource(ImageSource):
    """The images of ``source`` at ``chosen``, in that order."""

    def __init__(self, source: ImageSource, chosen: Sequence[int], broken: tuple[str, ...] = ()) -> None:
        """Selects; ``broken`` names what was left out because it cannot be read."""
        self._source = source
        self._chosen = np.asarray(chosen, dtype=np.int64)
        self._stated = source._stated
        self.spec = source.spec
        self.broken = source.broken + broken
        self.labels = None if source.labels is None else source.labels[self._chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def _inner(self, indices: Sequence[int]) -> list[int]:
        return [int(i) for i in self._chosen[np.asarray(indices, dtype=np.int64)]]

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """The images at ``indices`` of the selection."""
        return self._source.load(self._inner(indices))

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The digests the items have in the source itself."""
        return self._source.item_digests(self._inner(indices))

    def observed(self, indices: Sequence[int]) -> tuple[str, ...]:
        """What the source observes on the selected images alone."""
        return self._source.observed(self._inner(indices))

    def file_name(self, index: int) -> str | None:
        """The path the item has in the source itself."""
        return self._source.file_name(self._inner([index])[0])

    def forms(self, indices: Sequence[int]) -> list[Form]:
        """The forms the items have in the source itself."""
        return self._source.forms(self._inner(indices))

    def item_name(self, index: int) -> str:
        """The name the item has in the source itself."""
        return self._source.item_name(self._inner([index])[0])


def choose(num: int, spec: str, limit: int | None, subset_seed: int | None) -> list[int] | None:
    """Indices of the images to use out of ``num``, or None for all of them.

    Raises:
        UsageError: The limit is below 1, or a seed was given with nothing to draw.
        SourceError: There are fewer images than the limit asks for.
    """
    if limit is None:
        if subset_seed is not None:
            raise UsageError(
                f"a subset seed ({subset_seed}) draws a limited number of images from {spec}, and no limit "
                "was given; add --limit, or leave the seed out to use all images"
            )
        return None
    if limit < 1:
        raise UsageError(f"the limit on {spec} is {limit}; it must be 1 or more, or left out to use all")
    if limit > num:
        raise SourceError(
            f"{spec} has {num:,} images and the limit asks for {limit:,}; lower the limit, or leave it out "
            "to use all"
        )
    if subset_seed is None:
        return list(range(limit))
    if subset_seed < 0:
        raise UsageError(f"the subset seed is {subset_seed}; it must be 0 or more")
    drawn = np.random.default_rng(subset_seed).choice(num, size=limit, replace=False)
    return [int(i) for i in np.sort(drawn)]


def select(source: ImageSource, limit: int | None, subset_seed: int | None) -> ImageSource:
    """``source`` itself, or the selection of it that `choose` makes."""
    chosen = choose(len(source), source.spec, limit, subset_seed)
    return source if chosen is None else SubsetSource(source, chosen)


def leave_out_broken(source: ImageSource, block: int = 64) -> ImageSource:
    """Decodes every image once and leaves out, by name, those that cannot be read.

    Raises:
        SourceError: No image can be read.
    """
    good: list[int] = []
    broken: list[str] = []
    for start in range(0, len(source), block):
        indices = range(start, min(start + block, len(source)))
        try:
            source.load(indices)
            good += indices
            continue
        except SourceError:
            pass  # at least one of these: look at each
        for index in indices:
            try:
                source.load([index])
                good.append(index)
            except SourceError:
                broken.append(source.item_name(index))
    if not broken:
        return source
    if not good:
        raise all_broken(source.spec, broken)
    return SubsetSource(source, good, tuple(broken))


def all_broken(spec: str, broken: Sequence[str]) -> SourceError:
    """The error of a source of which nothing is left."""
    return SourceError(
        f"{spec}: none of its {len(broken):,} images can be read (the first is {broken[0]}); check the files "
        "with an image viewer, and write them again"
    )
