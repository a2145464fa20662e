"""Images and labels for training: squares of one side, in memory where they fit, in an order that repeats.

The order is a fresh permutation for every pass through the data, drawn from (seed, pass) alone, so that one
whole number says where a training is. Official loaders shuffle through a buffer or per process; here all
processes share one order, of which each takes every size-th item. Levels of detail are `schedules.pyramid`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.errors import SourceError, UsageError
from evalkit.imaging.native import native_block
from evalkit.sources.base import ImageSource
from evalkit.sources.resolve import resolve
from reference_models.layers.checks import check_choice
from reference_models.training import fitting
from reference_models.training.fitting import FITS
from reference_models.training.patches import Patches
from reference_models.training.schedules import pyramid
from reference_models.training.task import Group, Reals

__all__ = ["FITS", "DataFeed", "Sampler", "TrainingData", "open_data"]

Int64Array = npt.NDArray[np.int64]

_CHUNK = 256
_MOST_CLASSES = 100_000
# Luma of ITU-R BT.601 in 16 bits; the weights sum to 2^16, so that grey stays what it is.
_LUMA, _LUMA_SHIFT = (19595, 38470, 7471), 16


class TrainingData:
    """Images of one side, by index.

    Attributes:
        spec: How the user named them.
        num: How many there are.
        resolution: Their side.
        num_classes: Classes of their labels; 0 where labels are not used.
        enlarge: By how much samples are enlarged to have the size of the images given; 1 but for ``native``.
    """

    def __init__(
        self,
        source: ImageSource,
        fit: fitting.Fit,
        resolution: int,
        *,
        classes: Int64Array | None = None,
        enlarge: int = 1,
        check: bool = False,
        cache_bytes: int = 2 << 30,
    ) -> None:
        """Reads all images where they fit into memory; `open_data` is the way to have one.

        Args:
            source: Images of any size.
            fit: Brings one of them to ``resolution``.
            resolution: The side.
            classes: int64 ``(num,)``.
            enlarge: What `native` took away.
            check: Read every image once even where they are not kept, since ``fit`` may refuse one.
            cache_bytes: Most that is kept, levels of detail aside (which add a third).
        """
        self.spec, self.num, self.resolution = source.spec, len(source), resolution
        self.num_classes = 0 if classes is None else int(classes.max()) + 1
        self.enlarge = enlarge
        self._source, self._fit, self._classes = source, fit, classes
        self._cache: dict[int, Tensor] = {}
        if self.num * 3 * resolution**2 <= cache_bytes:
            kept = torch.empty(self.num, 3, resolution, resolution, dtype=torch.uint8)
            for at in _chunks(self.num):
                kept[at] = self._read(range(at.start, at.stop))
            self._cache[0] = kept
        elif check:
            for at in _chunks(self.num):
                self._read(range(at.start, at.stop))

    @property
    def fingerprint(self) -> str:
        """The sha256 over the content of all images as given, and over their labels."""
        return self._source.fingerprint

    def images(self, indices: npt.NDArray[Any], level: int = 0, channels: int = 3) -> Tensor:
        """Images by index.

        Args:
            indices: Whole numbers below `num`, ``(n,)``.
            level: Halvings of the resolution.
            channels: 3, or 1 for their luma.

        Returns:
            uint8 ``(n, channels, r, r)`` on the CPU, ``r = resolution / 2^level``.

        Raises:
            SourceError: An image that is not in memory cannot be read.
        """
        if 0 in self._cache:
            found = self._level(level)[torch.from_numpy(np.asarray(indices, dtype=np.int64))]
        else:
            found = self._read([int(index) for index in indices])
            if level:
                found = pyramid(found)[level]
        return _luma(found) if channels == 1 else found

    def classes(self, indices: npt.NDArray[Any]) -> Int64Array | None:
        """Classes of images by index, int64 ``(n,)``; None where labels are not used."""
        return None if self._classes is None else self._classes[indices]

    def _level(self, level: int) -> Tensor:
        if level not in self._cache:
            parts = [pyramid(self._cache[0][at])[level] for at in _chunks(self.num)]
            self._cache[level] = torch.cat(parts)
        return self._cache[level]

    def _read(self, indices: Sequence[int]) -> Tensor:
        source = self._source
        loaded = source.load(indices)
        fitted = [
            self._fit(image, source.item_name(index)) for index, image in zip(indices, loaded, strict=True)
        ]
        return torch.from_numpy(np.stack(fitted))


def _chunks(num: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, num)) for start in range(0, num, _CHUNK))


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, dtype=torch.int32).reshape(1, 3, 1, 1)
    total = (images.int() * weights).sum(1, keepdim=True) + (1 << _LUMA_SHIFT - 1)
    return (total >> _LUMA_SHIFT).to(torch.uint8)


def open_data(
    spec: Any,  # noqa: ANN401 - what `evalkit.sources.resolve` takes
    *,
    fit: str,
    resolution: int | None,
    labels: bool,
    cache_bytes: int = 2 << 30,
) -> TrainingData:
    """Opens the images that training is to see.

    Args:
        spec: A path, a spelling of `evalkit list sources`, an array, a data set, or a source.
        fit: One of `FITS`.
        resolution: Side for ``resize``, ``crop``, ``pad`` and ``patches``; for the others None, or what they
            must have.
        labels: Whether classes are used.
        cache_bytes: Most bytes of images that are kept in memory.

    Raises:
        UsageError: ``fit`` is none, lacks a resolution or has nothing to do.
        SourceError: The data cannot be read, an image does not fit, or labels are asked for and lack.
    """
    check_choice("training", "fit", fit, FITS)
    source = resolve(spec)
    if not isinstance(source, ImageSource):
        raise SourceError(
            f"{source.spec} holds statistics of images, and training needs the images themselves; give a "
            "folder, an archive or an array of them"
        )
    if fit == "patches":
        side = fitting.check_side(fit, resolution)
        cut = Patches(source, side)
        classes = _classes(cut) if labels else None
        return TrainingData(cut, fitting.exact(side), side, classes=classes, cache_bytes=cache_bytes)
    classes = _classes(source) if labels else None
    if fit in ("resize", "crop", "pad"):
        side = fitting.check_side(fit, resolution)
        return TrainingData(source, fitting.fitted(fit, side), side, classes=classes, cache_bytes=cache_bytes)
    first = source.load([0])[0]
    if fit == "exact":
        side = fitting.common_side(first, source.item_name(0), resolution)
        take = fitting.exact(side)
        return TrainingData(source, take, side, classes=classes, check=True, cache_bytes=cache_bytes)
    side = fitting.common_side(first, source.item_name(0), None)
    k = native_block(_all_of(source, side))
    if k == 1:
        raise fitting.nothing_to_reduce(source.spec, side)
    if resolution is not None and resolution != side // k:
        raise UsageError(
            f"--fit native takes {source.spec} at its own resolution, {side // k}, and --resolution "
            f"{resolution} was asked for; leave one of them out"
        )
    take = fitting.reduced(side, k)
    return TrainingData(
        source, take, side // k, classes=classes, enlarge=k, check=True, cache_bytes=cache_bytes
    )


def _all_of(source: ImageSource, side: int) -> Iterator[fitting.UInt8Array]:
    take = fitting.exact(side)
    for indices, images in source.batches(_CHUNK):
        for index, image in zip(indices, images, strict=True):
            yield take(image, source.item_name(index))


def _classes(source: ImageSource) -> Int64Array:
    found = source.labels
    if found is None:
        raise SourceError(
            f"{source.spec} has no labels, and --cond asks for them; leave --cond out, or give labels: a "
            "dataset.json, a folder for each class, or an array labels in the npz"
        )
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= _MOST_CLASSES or high == 0:
        raise SourceError(
            f"{source.spec} has labels from {low} to {high}, and --cond takes two classes or more, numbered "
            f"from 0 and below {_MOST_CLASSES:,}; number them anew, or leave --cond out"
        )
    return found


class Sampler:
    """The endless order of the data: a permutation for every pass, drawn from (seed, pass)."""

    def __init__(self, num: int, seed: int) -> None:
        """Takes how many items there are, and the seed of their order."""
        self.num, self.seed = num, seed
        self._order: tuple[int, Int64Array] | None = None

    def indices(self, position: int, count: int) -> Int64Array:
        """Which items stand at ``position``, ``position + 1`` … of the order; depends on nothing else.

        Returns:
            int64 ``(count,)`` below `num`.
        """
        parts: list[Int64Array] = []
        end = position + count
        while position < end:
            epoch, start = divmod(position, self.num)
            part = self._permutation(epoch)[start : start + end - position]
            parts.append(part)
            position += len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _permutation(self, epoch: int) -> Int64Array:
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num)
            self._order = (epoch, order.astype(np.int64))
        return self._order[1]


class DataFeed:
    """This process's share of the data: a `reference_models.training.task.Feed`.

    Attributes:
        position: Images served over all processes; set it to go on where a training was.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        mirror_doubles: bool,
        group: Group,
        device: torch.device,
        channels: int,
    ) -> None:
        """Begins at the beginning.

        Args:
            data: The images.
            seed: Of their order.
            mirror_doubles: Whether mirrored images enter as images of their own, which doubles their number.
            group: The processes among which batches are divided.
            device: Where images and labels are wanted.
            channels: 3, or 1 for luma.
        """
        self.position = 0
        self._data, self._group, self._device, self._channels = data, group, device, channels
        self._sampler = Sampler(data.num * (2 if mirror_doubles else 1), seed)

    def reals(self, count: int, *, level: int = 0) -> Reals:
        """The next ``count`` images over all processes; this one gets every size-th, from its rank on.

        Args:
            count: Over all processes; a multiple of their number.
            level: Halvings of the resolution.

        Raises:
            UsageError: Processes cannot share so many evenly.
            SourceError: An image cannot be read.
        """
        rank, size = self._group.rank, self._group.size
        if count % size:
            raise UsageError(
                f"a batch of {count} images cannot be shared evenly by {size} processes; give a multiple of "
                f"{size}"
            )
        items = self._sampler.indices(self.position, count)[rank::size]
        self.position += count
        # Items from num on are the images once more, mirrored.
        mirrored, indices = np.divmod(items, self._data.num)
        images = self._data.images(indices, level, self._channels)
        if mirrored.any():
            flipped = torch.from_numpy(mirrored.astype(bool)).reshape(-1, 1, 1, 1)
            images = torch.where(flipped, images.flip(3), images)
        classes = self._data.classes(indices)
        labels = None if classes is None else self._one_hot(torch.from_numpy(classes))
        return Reals(images.to(self._device), labels)

    def labels(self, count: int, rng: torch.Generator) -> Tensor | None:
        """One-hot labels of this process, as often as the data has them; None where labels are not used.

        Args:
            count: How many.
            rng: On the device of training.

        Returns:
            float32 ``(count, num_classes)`` on the device.
        """
        if not self._data.num_classes:
            return None
        drawn = torch.randint(self._data.num, (count,), generator=rng, device=rng.device).cpu().numpy()
        classes = self._data.classes(drawn)
        assert classes is not None
        return self._one_hot(torch.from_numpy(classes))

    def _one_hot(self, classes: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(classes, self._data.num_classes).float().to(self._device)
