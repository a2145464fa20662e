"""Which low-resolution image and which restorations belong to an original, told by the names of their files.

An original's name is its path without its ending and without the folders that all paths begin with:
``baby`` of ``set5/baby.png``. At scale 4 its low-resolution image has the same name, or one of ``babyx4``,
``baby_x4``, ``baby_LR``, ``baby_LRx4``, ``baby_LRBI_x4``; a restoration has the same name, ``babyx4``,
``baby_x4``, ``baby_SR`` or ``babyx4_SR``. Several restorations of an original are numbered (``baby_0``,
``babyx4_0``, ``baby_sample0``, ``000801_sample00000``) or lie in a numbered folder each (``0/baby.png``,
``sample1/baby.png``). X and the words count in either case, and an original ``baby_HR`` may be called
``baby``.

Originals' own names may end in numbers (``0801`` beside ``0801_1``). So a name is held against the known
originals, the longest that it begins with first, and all restorations are read in one way: without numbers,
with numbers, or by folders, whichever leaves the fewest files and originals over.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from evalkit.errors import SourceError
from evalkit.sources.base import ImageSource

_SCALE = r"(?:[_-]?x(?P<scale>\d+))?"
_LR = re.compile(rf"(?:[_-]LR(?:BI)?)?{_SCALE}", re.IGNORECASE)
_SR = re.compile(rf"(?:[_-]SR)?{_SCALE}(?:[_-]SR)?(?:[_-](?:samples?[_-]?)?(?P<sample>\d+))?", re.IGNORECASE)
_FOLDER = re.compile(r"(?:samples?[_-]?)?(?P<sample>\d+)/(?P<rest>.+)", re.IGNORECASE)


class _Reading(NamedTuple):
    original: int
    sample: int | None
    scale: int | None


class _Sorted(NamedTuple):
    # Files of each original by number of the sample, and what is left.
    by_original: Mapping[int, list[tuple[int, int]]]
    left: list[int]
    other_scale: list[tuple[int, int]]


def stems(source: ImageSource) -> list[str] | None:
    """Paths of a source's files without endings and the folders that all share; None where it has none."""
    names = [source.file_name(index) for index in range(len(source))]
    paths = [os.path.splitext(name)[0] for name in names if name is not None]
    if len(paths) != len(names):
        return None
    folders = [path.split("/")[:-1] for path in paths]
    columns = list(zip(*folders, strict=False))  # as many as the shortest has
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, columns)
    skip = sum(len(parts[0]) + 1 for parts in shared)
    return [path[skip:] for path in paths]


def originals(source: ImageSource) -> tuple[str, ...]:
    """Names of the originals: those of their files, or ``00000``, ``00001`` … where they have none.

    Raises:
        SourceError: Two have the same.
    """
    names = stems(source)
    if names is None:
        return tuple(f"{index:05d}" for index in range(len(source)))
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in places:
            raise SourceError(
                f"{source.item_name(places[name])} and {source.item_name(index)} have one name, "
                f"{name!r}, by which "
                "their low-resolution images and restorations cannot be told apart; rename one of them"
            )
        places[name] = index
    return tuple(names)


def match_low(names: Sequence[str], source: ImageSource, scale: int, wanted: Sequence[int]) -> dict[int, int]:
    """The low-resolution image of each original.

    Args:
        names: Of all originals.
        source: The low-resolution images; it has files.
        scale: By how much they are smaller.
        wanted: The originals that need one.

    Raises:
        SourceError: An original has none or two; a file belongs to no original, or is named for another
            scale.
    """
    paths, known = stems(source) or [], _known(names)
    found = _sort(paths, lambda path: _read(path, known, _LR), scale)
    _check(found, names, source, scale, wanted, "low-resolution image", (
        "NAME", f"NAMEx{scale}", f"NAME_x{scale}", "NAME_LR", f"NAME_LRx{scale}", f"NAME_LRBI_x{scale}"
    ))  # fmt: skip
    return {original: files[0][1] for original, files in found.by_original.items()}


def match_restored(
    names: Sequence[str], source: ImageSource, scale: int, wanted: Sequence[int]
) -> dict[int, list[int]]:
    """The restorations of each original, in the order of their numbers.

    Args:
        names: Of all originals.
        source: The restorations; it has files.
        scale: By how much they are larger than what they were made from.
        wanted: The originals that need some.

    Raises:
        SourceError: An original has none, two of one number, or another number of them than the others; a
            file belongs to no original, or is named for another scale.
    """
    paths, known = stems(source) or [], _known(names)

    def plain(path: str) -> _Reading | None:
        return _read(path, known, _SR, numbered=False)

    def numbered(path: str) -> _Reading | None:
        return _read(path, known, _SR, numbered=True)

    def by_folder(path: str) -> _Reading | None:
        if (split := _FOLDER.fullmatch(path)) is None or (rest := plain(split["rest"])) is None:
            return None
        return rest._replace(sample=int(split["sample"]))

    ways: list[Callable[[str], _Reading | None]] = [plain, numbered, by_folder]
    readings = [_sort(paths, way, scale) for way in ways]
    found = min(readings, key=lambda each: _unsettled(each, wanted))
    _check(found, names, source, scale, wanted, "restoration", (
        "NAME", f"NAMEx{scale}", "NAME_SR", "NAME_0, NAME_1 …", "NAME_sample0 …", "0/NAME …"
    ))  # fmt: skip
    by_count: dict[int, list[int]] = defaultdict(list)
    for original in wanted:
        by_count[len(found.by_original[original])].append(original)
    if len(by_count) > 1:
        counts = sorted(by_count.items(), key=lambda item: len(item[1]))
        said = "; ".join(f"{count} of {_some([names[i] for i in which])}" for count, which in counts)
        raise SourceError(
            f"{source.spec} holds different numbers of restorations of different originals: {said}; give "
            "as many "
            "of each"
        )
    return {original: [file for _, file in files] for original, files in found.by_original.items()}


def _known(names: Sequence[str]) -> dict[str, int]:
    known = {name: index for index, name in enumerate(names)}
    for index, name in enumerate(names):
        if name[-3:].upper() in ("_HR", "-HR"):
            known.setdefault(name[:-3], index)
    return known


def _read(
    path: str, known: Mapping[str, int], rule: re.Pattern[str], *, numbered: bool = False
) -> _Reading | None:
    for end in range(len(path), 0, -1):
        original = known.get(path[:end])
        if original is None or (rest := rule.fullmatch(path[end:])) is None:
            continue
        groups = rest.groupdict()
        if (groups.get("sample") is not None) == numbered:
            sample, scale = groups.get("sample"), groups["scale"]
            return _Reading(
                original, None if sample is None else int(sample), None if scale is None else int(scale)
            )
    return None


def _sort(paths: Sequence[str], way: Callable[[str], _Reading | None], scale: int) -> _Sorted:
    by_original: dict[int, list[tuple[int, int]]] = defaultdict(list)
    left, other_scale = [], []
    for file, path in enumerate(paths):
        reading = way(path)
        if reading is None:
            left.append(file)
        elif reading.scale not in (None, scale):
            other_scale.append((file, reading.scale))
        else:
            by_original[reading.original].append((reading.sample or 0, file))
    return _Sorted({key: sorted(files) for key, files in by_original.items()}, left, other_scale)


def _unsettled(found: _Sorted, wanted: Sequence[int]) -> tuple[int, int]:
    twice = sum(len(files) - len({number for number, _ in files}) for files in found.by_original.values())
    missing = sum(original not in found.by_original for original in wanted)
    # Of equal ones that in which more files are known, so that the message says what is wrong with them.
    return len(found.left) + len(found.other_scale) + missing + twice, len(found.left)


def _check(
    found: _Sorted,
    names: Sequence[str],
    source: ImageSource,
    scale: int,
    wanted: Sequence[int],
    kind: str,
    forms: Sequence[str],
) -> None:
    for file, other in found.other_scale:
        raise SourceError(
            f"{source.item_name(file)} is named for scale {other}, and the scale is {scale}; give "
            f"--scale {other}, "
            f"or a folder that holds {kind}s of scale {scale} alone"
        )
    tried = f"looked for is {', '.join(forms)}, where NAME is the original's without its ending"
    missing = [names[original] for original in wanted if original not in found.by_original]
    left = [source.item_name(file) for file in found.left]
    if missing:
        beside = f" ({len(left)} of its files belong to no original: {_some(left)})" if left else ""
        raise SourceError(
            f"{source.spec} has no {kind} of {len(missing)} of {len(wanted)} originals, "
            f"{_some(missing)}{beside}; "
            f"{tried}"
        )
    if left:
        raise SourceError(
            f"{source.spec}: {len(left)} of {len(source)} files belong to no original: {_some(left)}; "
            "take them "
            f"out, or name them by their originals: {tried}"
        )
    for original, files in found.by_original.items():
        numbers = [number for number, _ in files]
        for place, (number, file) in enumerate(files[1:], 1):
            if number == numbers[place - 1] or (kind != "restoration"):
                one, other_file = source.item_name(files[place - 1][1]), source.item_name(file)
                raise SourceError(
                    f"{one} and {other_file} are both the {kind} of {names[original]}"
                    + (" with the same number" if kind == "restoration" else "")
                    + "; take one of them out"
                )


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
