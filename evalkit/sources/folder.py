"""A folder of images, its sub-folders included, in the order of their relative paths.

Names are compared code point by code point with ``/`` between folders, so that the order is the same on every
file system. Extensions count in any case; hidden files and folders and ``__MACOSX`` are passed over. Links
are followed, but not into a folder that is being listed already.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator
from pathlib import Path

from evalkit.errors import SourceError
from evalkit.sources.decode import ACCEPTED, broken, is_image_name
from evalkit.sources.encoded import EncodedSource
from evalkit.sources.labels import DATASET_JSON, labels_of


class FolderSource(EncodedSource):
    """The images under one folder."""

    def __init__(self, root: Path, spec: str | None = None) -> None:
        """Lists the folder; no image is opened.

        Raises:
            SourceError: A folder cannot be listed, or there is no image in it.
        """
        self._root = root
        spec = str(root) if spec is None else spec
        listed = sorted(_walk(root, "", ()))
        self._names = tuple(name for name in listed if is_image_name(name))
        if not self._names:
            raise SourceError(f"{spec} holds no image{_what_there_is(listed)}; accepted are {ACCEPTED}")
        table = (root / DATASET_JSON).read_bytes() if DATASET_JSON in listed else None
        super().__init__(spec, len(self._names), labels_of(self._names, table, spec))

    def read(self, index: int) -> bytes:
        """The bytes of one file."""
        path = self._root / self._names[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise broken(str(path), error) from error

    def file_name(self, index: int) -> str:
        """The path of the file within the folder."""
        return self._names[index]

    def item_name(self, index: int) -> str:
        """The path of the file."""
        return str(self._root / self._names[index])


def _walk(root: Path, inside: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    folder = root / inside
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            return  # a link back to a folder that is being listed
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed ({error.strerror}); make it readable") from error
    for entry in entries:
        name = f"{inside}{entry.name}"
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if _is_folder(entry):
            yield from _walk(root, f"{name}/", (*above, here))
        else:
            yield name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself; if it is named like an image, reading it says what is wrong


def _what_there_is(listed: list[str]) -> str:
    if not listed:
        return " (it is empty)"
    kinds = collections.Counter(os.path.splitext(name)[1] or "no extension" for name in listed)
    return " (it holds " + ", ".join(f"{count:,} x {kind}" for kind, count in kinds.most_common(4)) + ")"
