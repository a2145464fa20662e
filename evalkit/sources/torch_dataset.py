"""torchvision's data sets by name, and any torch ``Dataset`` object.

``cifar10:train`` is read from a local root and downloaded only when that is allowed. Items are an image or a
tuple that begins with one: a Pillow image, or a uint8 tensor or array. Labels are taken from the data set's
``targets`` or ``labels``. Where it has neither and its first item is ``(image, whole number)``, all items are
read once at the start for their labels, and hashed in the same pass. An item must be the same each time it is
read: random augmentation is refused.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.errors import SourceError, UsageError, nearest
from evalkit.sources.arrays import find_layout, to_rgb
from evalkit.sources.base import Form, ImageSource, Int64Array, UInt8Array, array_digest
from evalkit.sources.decode import broken, is_grey, pil_to_rgb

_READ_TWICE = 8  # a random flip of every second image escapes this once in 256 runs


class Entry(NamedTuple):
    """A data set of torchvision: its class, and the arguments that mean a split."""

    class_name: str
    splits: Mapping[str, Mapping[str, Any]]


def _by_train_flag(**more: Any) -> Mapping[str, Mapping[str, Any]]:  # noqa: ANN401
    return {"train": {"train": True, **more}, "test": {"train": False, **more}}


def _by_split(*names: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: {"split": name} for name in names}


DATASETS: Mapping[str, Entry] = {
    "cifar10": Entry("CIFAR10", _by_train_flag()),
    "cifar100": Entry("CIFAR100", _by_train_flag()),
    "mnist": Entry("MNIST", _by_train_flag()),
    "fashion-mnist": Entry("FashionMNIST", _by_train_flag()),
    "kmnist": Entry("KMNIST", _by_train_flag()),
    "svhn": Entry("SVHN", _by_split("train", "test", "extra")),
    "stl10": Entry("STL10", _by_split("train", "test", "unlabeled", "train+unlabeled")),
    "celeba": Entry("CelebA", _by_split("train", "valid", "test", "all")),
    "food101": Entry("Food101", _by_split("train", "test")),
    "flowers102": Entry("Flowers102", _by_split("train", "val", "test")),
}


class DatasetSource(ImageSource):
    """The images of a torch ``Dataset``."""

    def __init__(self, dataset: Any, spec: str | None = None) -> None:  # noqa: ANN401 - by shape alone
        """Takes the data set; no item is read yet.

        Raises:
            SourceError: It has no length or no images.
        """
        self.spec = f"dataset {type(dataset).__name__}" if spec is None else spec
        try:
            self._num = len(dataset)
        except TypeError as error:
            raise SourceError(
                f"{self.spec} has no length; give a map-style Dataset with __len__ and __getitem__"
            ) from error
        if not self._num:
            raise SourceError(f"{self.spec} holds no image")
        self._dataset = dataset
        self._digests: list[bytes | None] = [None] * self._num
        self.labels = _labels(dataset, self._num)
        if self.labels is None:
            self.labels = self._labels_of_items()

    def __len__(self) -> int:
        return self._num

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """Reads the items one by one."""
        return [self._image(index, self._item(index)) for index in indices]

    def forms(self, indices: Sequence[int]) -> list[Form]:
        """Read item by item."""
        found = []
        for index in indices:
            item = self._item(index)
            height, width = self._image(index, item).shape[1:]
            found.append(Form(height, width, _is_grey(_first(item))))
        return found

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 of the images' shapes and RGB pixels.

        Raises:
            SourceError: An item cannot be read, or one of the first few differs from reading to reading.
        """
        for place, index in enumerate(indices):
            digest = self._digests[index]
            if digest is None:
                digest = self._digests[index] = array_digest(self.load([index])[0])
            if place < _READ_TWICE and array_digest(self.load([index])[0]) != digest:
                raise SourceError(
                    f"{self.item_name(index)} is another image each time it is read; leave random transforms "
                    "out of the data set, since a number must be repeatable"
                )
            yield digest

    def _labels_of_items(self) -> Int64Array | None:
        try:
            first = self._item(0)
        except SourceError:
            return None  # the first use of the images says what is wrong
        if _label(first) is None:
            return None
        labels = np.zeros(self._num, dtype=np.int64)
        for index in range(self._num):
            try:
                item = self._item(index)
                self._digests[index] = array_digest(self._image(index, item))
            except SourceError:
                continue  # named when it is used, or left out by --skip-broken
            label = _label(item)
            if label is None:
                return None
            labels[index] = label
        return labels

    def _item(self, index: int) -> Any:  # noqa: ANN401
        try:
            return self._dataset[int(index)]
        except Exception as error:
            raise broken(self.item_name(index), error) from error

    def _image(self, index: int, item: Any) -> UInt8Array:  # noqa: ANN401
        name = self.item_name(index)
        image = _first(item)
        if hasattr(image, "convert") and hasattr(image, "mode"):
            try:
                return pil_to_rgb(image)
            except Exception as error:
                raise broken(name, error) from error
        if not (isinstance(image, np.ndarray) or hasattr(image, "detach")):
            raise SourceError(
                f"{name} is of type {type(image).__name__}; expected is a Pillow image, a uint8 tensor or "
                "array, or a tuple that begins with one"
            )
        array = np.asarray(image.detach().cpu().numpy() if hasattr(image, "detach") else image)
        if array.ndim == 2:
            array = array[None]
        layout = find_layout((1, *array.shape), array.dtype, name)
        return to_rgb(array, layout)


def open_torchvision(name: str, split: str | None, root: Path, download: bool, spec: str) -> DatasetSource:
    """A data set of torchvision below ``root``.

    Raises:
        UsageError: The split is unknown.
        SourceError: Its files are not there, or could not be downloaded.
    """
    entry = DATASETS[name]
    if split is None or split not in entry.splits:
        given = f"{name} needs a split" if split is None else f"{name} has no split {split!r}"
        close = "" if split is None else f" (nearest: {nearest(split, entry.splits)})"
        raise UsageError(f"{given}{close}: write {' or '.join(f'{name}:{known}' for known in entry.splits)}")
    import torchvision.datasets

    kind = getattr(torchvision.datasets, entry.class_name)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):  # torchvision prints; standard output is for results
            dataset = kind(str(root), download=download, **entry.splits[split])
    except ModuleNotFoundError as error:
        raise SourceError(f"{spec} needs the package {error.name!r}; pip install {error.name}") from error
    except Exception as error:
        if download:
            raise SourceError(
                f"{spec} could not be downloaded to {root} ({type(error).__name__}: {error}); put its files "
                "there by hand and run again"
            ) from error
        raise SourceError(
            f"{spec} is not in {root} ({type(error).__name__}: {error}); name the folder that holds it with "
            "--root, or allow it to be downloaded with --download"
        ) from error
    return DatasetSource(dataset, spec)


def _first(item: Any) -> Any:  # noqa: ANN401
    return item[0] if isinstance(item, (tuple, list)) and item else item


def _is_grey(image: Any) -> bool:  # noqa: ANN401
    # A Pillow image; or an array (h, w), (1, h, w) or (h, w, 1), as `find_layout` reads them.
    if hasattr(image, "mode"):
        return is_grey(image)
    shape = tuple(image.shape)
    return len(shape) == 2 or 1 in (shape[0], shape[2])


def _label(item: Any) -> int | None:  # noqa: ANN401
    """The label in ``(image, label)``: a whole number, or an array or tensor of one."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        return None
    value = np.asarray(item[1])
    return int(value) if value.shape == () and np.issubdtype(value.dtype, np.integer) else None


def _labels(dataset: Any, num: int) -> Int64Array | None:  # noqa: ANN401
    for attribute in ("targets", "labels"):
        found = getattr(dataset, attribute, None)
        if found is None:
            continue
        try:
            values = np.asarray(found)
        except (TypeError, ValueError, RuntimeError):
            continue
        if values.shape == (num,) and np.issubdtype(values.dtype, np.integer):
            return values.astype(np.int64)
    return None
