"""Hugging Face data sets: ``hf:NAME:SPLIT[:COLUMN]``, and folders written by ``save_to_disk``.

Files are decoded by evalkit's own decoder, so that the same image gives the same pixels from every kind of
source. The image column is the one of type ``Image`` (or the one that is named); labels are the first column
of type ``ClassLabel``. Unless downloads are allowed the package is switched to its offline mode, in which it
finds what is in its cache and asks no server. Needs the extra ``hf``.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import SourceError, UsageError, nearest
from evalkit.sources.decode import broken
from evalkit.sources.encoded import EncodedSource


class HuggingFaceSource(EncodedSource):
    """One split of a data set, one image column of it."""

    def __init__(self, dataset: Any, column: str | None, spec: str) -> None:  # noqa: ANN401
        """Finds the image column and the labels.

        Raises:
            SourceError: There is no image column, several, or none of the name.
        """
        import datasets

        images = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
        if column is not None and column not in images:
            raise SourceError(
                f"{spec}: no image column {column!r} (nearest: {nearest(column, images)}); it has "
                f"{', '.join(images) or 'none'}"
            )
        if column is None and len(images) != 1:
            choices = " or ".join(f"{spec}:{name}" for name in images)
            raise SourceError(
                f"{spec}: "
                + (f"several image columns; write {choices}" if images else "no column of type Image")
            )
        self._column = column or images[0]
        self._dataset = dataset.cast_column(self._column, datasets.Image(decode=False))
        classes = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.ClassLabel)]
        labels = np.asarray(dataset[classes[0]][:], dtype=np.int64) if classes else None
        super().__init__(spec, len(dataset), labels)

    def read(self, index: int) -> bytes:
        """The bytes of one image's file."""
        item = self._dataset[int(index)][self._column]
        try:
            if item is None:
                raise SourceError("the row holds no image")
            data: bytes = item["bytes"] if item["bytes"] is not None else Path(item["path"]).read_bytes()
            return data
        except (OSError, SourceError) as error:
            raise broken(self.item_name(index), error) from error


def open_huggingface(words: str, download: bool, spec: str) -> HuggingFaceSource:
    """The source for what stands behind ``hf:``.

    Raises:
        UsageError: No split was named.
        SourceError: The package is not installed, or the data set is not there.
    """
    name, _, rest = words.partition(":")
    split, _, column = rest.partition(":")
    if not name or not split:
        raise UsageError(
            f"{spec}: write hf:NAME:SPLIT, such as hf:uoft-cs/cifar10:test, or hf:NAME:SPLIT:COLUMN"
        )
    datasets = _package(spec)
    if has_splits(Path(name)):
        return HuggingFaceSource(_saved_split(datasets, Path(name), split, spec), column or None, spec)
    try:
        with contextlib.nullcontext() if download else _offline():
            dataset = datasets.load_dataset(name, split=split)
    except Exception as error:
        step = "check the name and the split" if download else "allow it to be downloaded with --download"
        raise SourceError(
            f"{spec} could not be opened ({type(error).__name__}: {str(error)[:300]}); {step}, or give a "
            "folder written by save_to_disk"
        ) from error
    return HuggingFaceSource(dataset, column or None, spec)


def _saved_split(datasets: Any, folder: Path, split: str, spec: str) -> Any:  # noqa: ANN401
    splits = _load_saved(datasets, folder, spec)
    if split not in splits:
        raise SourceError(
            f"{spec}: no split {split!r} (nearest: {nearest(split, list(splits))}); it has "
            f"{', '.join(splits)}"
        )
    return splits[split]


def _load_saved(datasets: Any, folder: Path, spec: str) -> Any:  # noqa: ANN401
    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:
        raise SourceError(
            f"{spec} cannot be read as a saved data set ({type(error).__name__}: {error}); save it again"
        ) from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    # `DownloadConfig(local_files_only=True)` does not keep `load_dataset` from asking the hub; these do.
    switches = [
        (module, name)
        for module in map(importlib.import_module, ("datasets.config", "huggingface_hub.constants"))
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
        if hasattr(module, name)
    ]
    before = [getattr(module, name) for module, name in switches]
    try:
        for module, name in switches:
            setattr(module, name, True)
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)


def has_splits(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder, as several splits."""
    return (folder / "dataset_dict.json").is_file()


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder, as one split."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def open_saved(folder: Path, spec: str) -> HuggingFaceSource:
    """The source for a folder that ``save_to_disk`` wrote.

    Raises:
        SourceError: The package is not installed, the folder is damaged, or it holds several splits.
    """
    datasets = _package(spec)
    found = _load_saved(datasets, folder, spec)
    if has_splits(folder):
        choices = " or ".join(f"hf:{folder}:{split}" for split in found)
        raise SourceError(f"{spec} holds several splits; write {choices}")
    return HuggingFaceSource(found, None, spec)


def _package(spec: str) -> Any:  # noqa: ANN401
    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            f"{spec} needs the package datasets, which is not installed; pip install 'evalkit[hf]'"
        ) from error
    return datasets
