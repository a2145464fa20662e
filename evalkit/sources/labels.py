"""Where a folder's or an archive's labels come from: StyleGAN's ``dataset.json``, else its class folders.

``dataset.json`` (NVlabs/stylegan3@c233a91, dataset_tool.py) holds ``{"labels": [[name, class], ...]}`` with
names relative to itself; ``"labels": null`` says that there are none. Without the file, first-level folders
are classes, numbered in the order of their names, if every image is in one and there are two or more. Folders
whose names are all numbers of five or more digits are parts of one long listing (``00000/img00000000.png``),
and give no labels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from evalkit.errors import SourceError
from evalkit.sources.base import Int64Array

DATASET_JSON = "dataset.json"


def labels_of(names: Sequence[str], table: bytes | None, spec: str, inside: str = "") -> Int64Array | None:
    """The labels of the images ``names``.

    Args:
        names: POSIX paths relative to the source, in its order.
        table: The content of ``dataset.json``, or None where there is none.
        spec: How messages name the source.
        inside: Folder that names count from, with a slash at its end; empty at the top.

    Raises:
        SourceError: ``dataset.json`` cannot be read, or leaves an image without a label.
    """
    relative = [name.removeprefix(inside) for name in names]
    return (
        _from_folders(relative) if table is None else _from_json(relative, table, f"{spec}: {DATASET_JSON}")
    )


def _from_folders(names: Sequence[str]) -> Int64Array | None:
    if not all("/" in name for name in names):
        return None
    folders = [name.split("/", 1)[0] for name in names]
    classes = sorted(set(folders))
    if len(classes) < 2 or all(re.fullmatch(r"\d{5,}", name) for name in classes):
        return None
    number = {name: place for place, name in enumerate(classes)}
    return np.array([number[folder] for folder in folders], dtype=np.int64)


def _from_json(names: Sequence[str], table: bytes, where: str) -> Int64Array | None:
    form = 'expected is {"labels": [["name.png", 0], ...]} with a whole number for every image, or null'
    try:
        found = json.loads(table)
        pairs = found["labels"]
        known = None if pairs is None else dict(pairs)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SourceError(f"{where} cannot be read ({type(error).__name__}: {error}); {form}") from error
    if known is None:
        return None
    labels = np.empty(len(names), dtype=np.int64)
    for place, name in enumerate(names):
        label = known.get(name)
        if isinstance(label, bool) or not isinstance(label, int) or abs(label) >= 2**63:
            what = "no label" if label is None else f"the label {label!r}"
            raise SourceError(f"{where} has {what} for {name}; {form}")
        labels[place] = label
    return labels
