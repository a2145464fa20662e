"""What sweeps share: their points as a user writes them, their files, and the panels of their pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.engine.charts import BLUE, RED, dress
from evalkit.errors import UsageError
from evalkit.files import write_text
from evalkit.records.schema import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 100
Points = Sequence[tuple[float, Record]]


def parse_points(words: str, *, option: str, what: str, example: str, listed: str) -> tuple[float, ...]:
    """Reads ``0.3:1.0:8`` (start, stop and count, both ends included) or ``0.3,0.5,0.7``; ascending.

    Args:
        words: What was typed.
        option: After which option.
        what: What the points are, in words.
        example: A range that could be typed.
        listed: A list that could be typed.

    Raises:
        UsageError: The words are neither, or what they name cannot be swept over (`check_points`).
    """
    how = f"write start:stop:count, such as {example}, or a list, such as {listed}"
    parts = [part.strip() for part in words.split(":")]
    try:
        if len(parts) == 3:
            start, stop = float(parts[0]), float(parts[1])
            count = int(parts[2])
        elif len(parts) == 1:
            return check_points([float(part) for part in words.split(",")], what, how)
        else:
            raise ValueError
    except ValueError as error:
        raise UsageError(f"{option} {words!r}: {how}") from error
    if count < 2:
        raise UsageError(f"{option} {words}: {count} is no number of points; a sweep has 2 or more")
    if count > MOST_POINTS:
        raise UsageError(f"{option} {words}: more than {MOST_POINTS} points; ask for fewer")
    check_points([start, stop], what, how)
    # Rounded, so that 0.4 of a range and a typed 0.4 are the same samples with the same stored features.
    return check_points([round(float(point), 12) for point in np.linspace(start, stop, count)], what, how)


def check_points(points: Sequence[float], what: str, how: str) -> tuple[float, ...]:
    """The points of a sweep, ascending.

    Args:
        points: Finite, 0 or more, no two equal, 2 to 100 of them.
        what: What they are, in words.
        how: How they are to be written.

    Raises:
        UsageError: They are not.
    """
    for point in points:
        number = isinstance(point, (int, float)) and not isinstance(point, bool)
        if not number or not math.isfinite(point) or point < 0:
            raise UsageError(f"{what} is {point!r}; a sweep takes finite numbers from 0 on: {how}")
    chosen = tuple(sorted(float(point) for point in points))
    short = what.split()[-1]
    if not 2 <= len(chosen) <= MOST_POINTS:
        given = f"{len(chosen)} {'was' if len(chosen) == 1 else 'were'} given"
        raise UsageError(f"a sweep has 2 to {MOST_POINTS} points, and {given}: {how}")
    if len(set(chosen)) < len(chosen):
        twice = next(point for point in chosen if chosen.count(point) > 1)
        raise UsageError(f"{short} {twice!r} was given twice; every point of a sweep is another {short}")
    return chosen


def write_numbers(
    folder: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]
) -> list[Path]:
    """Writes ``sweep.csv`` of the rows and ``sweep.json`` of the whole; returns where.

    Raises:
        StoreError: The folder cannot be written.
    """
    paths = [folder / f"sweep.{ending}" for ending in ("csv", "json")]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(paths[0], text.getvalue())
    write_text(paths[1], json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return paths


def how_measured(record: Record) -> dict[str, Any]:
    """What the numbers of a curve have in common with ``record``, one of them."""
    return {
        "protocol": record.protocol["name"],
        "version": record.protocol["version"],
        "digest": record.protocol["digest"],
        "higher_is_better": record.higher_is_better,
        "ci_method": record.ci_method,
    }


def draw_curve(axes: Axes, metric: str, points: Points, against: str) -> None:
    """A metric with the 95 % interval of its records against what was swept over."""
    axes.plot([at for at, _ in points], values(points), ".-", color=BLUE, linewidth=1.2)
    bands = [(at, record.ci95) for at, record in points if record.ci95 is not None]
    axes.fill_between(
        [at for at, _ in bands], [band[0] for _, band in bands], [band[1] for _, band in bands],
        color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip
    dress(axes, directed(metric, points), against)


def directed(metric: str, points: Points) -> str:
    """A metric's name and which way is better."""
    return f"{metric} ({'higher' if points[0][1].higher_is_better else 'lower'} is better)"


def draw_trade(axes: Axes, title: str, across: Points, up: Points, x: str, y: str) -> None:
    """One metric on another, at the points that both have a value at, which stand beside them."""
    shared = [at for at, _ in up if any(other == at for other, _ in across)]
    xs = values([point for point in across if point[0] in shared])
    ys = values([point for point in up if point[0] in shared])
    axes.plot(xs, ys, ".-", color=RED, linewidth=1.2)
    axes.margins(0.12)  # room for what is written at the outermost points
    for at, place in zip(shared, zip(xs, ys, strict=True), strict=True):
        axes.annotate(f"{at:g}", place, textcoords="offset points", xytext=(4, 4), fontsize=7)
    dress(axes, title, x, y)


def values(points: Points) -> list[float]:
    """The numbers of points."""
    return [record.value for _, record in points if record.value is not None]
