"""Hugging Face data sets: ``hf:NAME:SPLIT[:COLUMN]``, and folders written by ``save_to_disk``.

Files are decoded by evalkit's own decoder, so that the same image gives the same pixels from every kind of
source. The image column is the one of type ``Image`` (or the one that is named); labels are the first column
of type ``ClassLabel``. Nothing is downloaded unless that is allowed. Needs the extra ``hf``.
"""

from __future__ import annotations

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
    try:
        if Path(name).is_dir() and (Path(name) / "dataset_dict.json").exists():
            dataset = datasets.load_from_disk(name)[split]
        else:
            config = datasets.DownloadConfig(local_files_only=not download)
            dataset = datasets.load_dataset(name, split=split, download_config=config)
    except Exception as error:
        step = "check the name and the split" if download else "allow it to be downloaded with --download"
        raise SourceError(
            f"{spec} could not be opened ({type(error).__name__}: {str(error)[:300]}); {step}, or give a "
            "folder written "
            "by save_to_disk"
        ) from error
    return HuggingFaceSource(dataset, column or None, spec)


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder, as one split."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def open_saved(folder: Path, spec: str) -> HuggingFaceSource:
    """The source for a folder that ``save_to_disk`` wrote.

    Raises:
        SourceError: The package is not installed, or the folder is damaged.
    """
    datasets = _package(spec)
    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise SourceError(
            f"{spec} cannot be read as a saved data set ({type(error).__name__}: {error}); save it again"
        ) from error
    return HuggingFaceSource(dataset, None, spec)


def _package(spec: str) -> Any:  # noqa: ANN401
    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            f"{spec} needs the package datasets, which is not installed; pip install 'evalkit[hf]'"
        ) from error
    return datasets
