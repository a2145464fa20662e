"""torchvision's data sets by name, and any torch ``Dataset`` object.

``cifar10:train`` is read from a local root and downloaded only when that is allowed. Items are an image or a
tuple that begins with one: a Pillow image, or a uint8 tensor or array. Labels are taken from the data set's
``targets`` or ``labels``, and are absent where it has neither.
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
from evalkit.sources.base import ImageSource, Int64Array, UInt8Array, array_digest
from evalkit.sources.decode import broken, pil_to_rgb


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
        self.labels = _labels(dataset, self._num)

    def __len__(self) -> int:
        return self._num

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """Reads the items one by one."""
        return [self._image(index) for index in indices]

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The sha256 of the images' shapes and RGB pixels."""
        for index in indices:
            yield array_digest(self._image(index))

    def _image(self, index: int) -> UInt8Array:
        name = self.item_name(index)
        try:
            item = self._dataset[int(index)]
        except Exception as error:
            raise broken(name, error) from error
        image = item[0] if isinstance(item, (tuple, list)) else item
        if hasattr(image, "convert") and hasattr(image, "mode"):
            try:
                return pil_to_rgb(image)
            except Exception as error:
                raise broken(name, error) from error
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
                "there by "
                "hand and run again"
            ) from error
        raise SourceError(
            f"{spec} is not in {root} ({type(error).__name__}: {error}); name the folder that holds it with "
            "--root, or "
            "allow it to be downloaded with --download"
        ) from error
    return DatasetSource(dataset, spec)


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
