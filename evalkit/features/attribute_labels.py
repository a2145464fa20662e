"""Which image has which attribute: a source's own classes, a CSV, or CelebA's ``list_attr_celeba.txt``.

A CSV has a header line; its first column names the image, the others are attributes. Images are named by file
(the path below the source, or as much of its end as is unique) or, if the whole column is whole numbers, by
place, counted from 0. CelebA's listing has the number of its lines in the first line, the attributes in the
second, and one image a line, all separated by blanks. Values are 0 and 1, or -1 and 1, for all of a file.

Every image needs a line. A line of a CSV whose image is not there is an error, since it is mostly a misspelt
name; CelebA's listing is of the whole data set, and its further lines are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.errors import SourceError, UsageError, nearest
from evalkit.sources.base import ImageSource

OWN = "own"
_SEVERAL = -1


class AttributeLabels(NamedTuple):
    """Who has what.

    Attributes:
        names: Of the attributes.
        values: bool ``(images, attributes)``.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.bool_]


class _Table(NamedTuple):
    names: tuple[str, ...]
    rows: list[tuple[int, list[str]]]  # number of the line in the file, and its cells
    whole_set: bool  # whether it lists a whole data set, of which the source may be a part


def read_attribute_labels(given: str, source: ImageSource) -> AttributeLabels:
    """The attributes of every image of ``source``.

    Args:
        given: ``own``, for one attribute a class of the source's labels ("is 3": one against the rest), or
            the path of a CSV or of CelebA's listing.
        source: The images.

    Raises:
        UsageError: There is no such file.
        SourceError: The source has no labels, or the file has no line for an image, an image that is not
            there, a value that is not binary, or another form.
    """
    if given == OWN:
        return _own(source)
    path = Path(given)
    if not path.is_file():
        raise UsageError(
            f"--labels {given}: there is no such file; give `own` for the labels of the images' source, a "
            "CSV (first column file names or numbers, further columns attributes), or list_attr_celeba.txt"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise SourceError(f"{path} cannot be read as a table of labels ({error}); give a CSV") from error
    table = _parse(text, path)
    values = np.zeros((len(source), len(table.names)), np.bool_)
    line_of = np.zeros(len(source), np.int64)
    images = _Images(source, table, path)
    for (line, cells), row in zip(table.rows, _binary(table, path), strict=True):
        index = images.place(cells[0], line)
        if index is None:
            continue
        if line_of[index]:
            raise SourceError(
                f"{path}, lines {line_of[index]} and {line} are both of {source.item_name(index)}; leave one "
                "of them out"
            )
        values[index], line_of[index] = row, line
    if (bare := np.flatnonzero(line_of == 0)).size:
        raise SourceError(
            f"{path} has no labels for {len(bare):,} of the {len(source):,} images of {source.spec}, such as "
            f"{source.item_name(int(bare[0]))}; add their lines, or train on images that have them"
        )
    return AttributeLabels(table.names, values)


def _own(source: ImageSource) -> AttributeLabels:
    if source.labels is None:
        raise SourceError(
            f"{source.spec} has no labels of its own; name a CSV of attributes with --labels FILE, or give "
            "images with labels (dataset.json, or a folder for each class)"
        )
    classes = np.unique(source.labels)
    return AttributeLabels(
        tuple(f"is {int(each)}" for each in classes), source.labels[:, None] == classes[None, :]
    )


def _parse(text: str, path: Path) -> _Table:
    lines = text.splitlines()
    if len(lines) > 1 and lines[0].strip().isdigit() and "," not in lines[1]:
        names = lines[1].split()
        rows = [(place, line.split()) for place, line in enumerate(lines[2:], 3) if line.strip()]
        if len(rows) != int(lines[0]):
            raise SourceError(
                f"{path} says that it lists {int(lines[0]):,} images and has {len(rows):,} lines of them; it "
                "is cut off or damaged: get it again"
            )
        whole_set = True
    else:
        cells = [(place, [cell.strip() for cell in row]) for place, row in _csv(text, path) if any(row)]
        if not cells:
            raise SourceError(f"{path} is empty; its first line should name the attributes")
        names, rows, whole_set = cells[0][1][1:], cells[1:], False
    if not names or not all(names) or len(set(names)) < len(names):
        raise SourceError(
            f"{path} names the attributes {', '.join(names) or '(none)'} in its header; give each column "
            "after the first a name of its own"
        )
    for place, row in rows:
        if len(row) != len(names) + 1:
            raise SourceError(
                f"{path}, line {place} has {len(row)} columns, and an image and {len(names)} attributes make "
                f"{len(names) + 1}"
            )
    return _Table(tuple(names), rows, whole_set)


def _csv(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num} is no line of a CSV ({error})") from error


def _binary(table: _Table, path: Path) -> npt.NDArray[np.bool_]:
    values = np.empty((len(table.rows), len(table.names)), np.int8)
    seen: dict[int, tuple[int, str]] = {}
    for place, (line, cells) in enumerate(table.rows):
        for column, cell in enumerate(cells[1:]):
            try:
                number = float(cell)
            except ValueError:
                number = np.nan
            if number not in (-1, 0, 1):
                raise SourceError(
                    f"{path}, line {line}: {table.names[column]} is {cell!r}; attributes are 0 and 1, or -1 "
                    "and 1"
                )
            values[place, column] = int(number)
            seen.setdefault(int(number), (line, table.names[column]))
    if -1 in seen and 0 in seen:
        (first, one), (second, other) = seen[-1], seen[0]
        raise SourceError(
            f"{path} has -1 (line {first}, {one}) and 0 (line {second}, {other}); attributes are 0 and 1, or "
            "-1 and 1, not both"
        )
    present: npt.NDArray[np.bool_] = values == 1
    return present


class _Images:
    """The images of a source, by what a table calls them."""

    def __init__(self, source: ImageSource, table: _Table, path: Path) -> None:
        self._source, self._table, self._path = source, table, path
        numbered = all(cells[0].isascii() and cells[0].isdigit() for _, cells in table.rows)
        self._places = None if numbered else _ends_of_names(source)

    def place(self, name: str, line: int) -> int | None:
        """Place of the image called ``name``; None for one that a complete listing has and the source not."""
        source, where = self._source, f"{self._path}, line {line}"
        if self._places is None:
            if int(name) < len(source):
                return int(name)
            known = f"it has images 0 to {len(source) - 1}"
        else:
            found = self._places.get(name)
            if found is not None and found != _SEVERAL:
                return found
            if found is not None:
                raise SourceError(
                    f"{where}: several images of {source.spec} are called {name!r}; write more of their paths"
                )
            known = f"nearest: {nearest(name, self._places)}"
        if self._table.whole_set:
            return None
        raise SourceError(
            f"{where}: {source.spec} has no image {name!r} ({known}); correct the name, or leave the line out"
        )


def _ends_of_names(source: ImageSource) -> dict[str, int]:
    # a/b/c.png can be called so, or b/c.png, or c.png, as long as no other image ends alike.
    places: dict[str, int] = {}
    for index in range(len(source)):
        parts = source.item_name(index).rsplit(": ", 1)[-1].split("/")
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            places[end] = _SEVERAL if end in places else index
    return places
