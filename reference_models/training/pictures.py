"""Pictures that a training leaves: images in a grid, and curves over the images seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from evalkit.errors import UsageError
from evalkit.files import atomic_write


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Writes images side by side as one PNG, row by row; places that stay free are black.

    Args:
        path: The PNG.
        images: uint8 ``(n, 3, h, w)``.
        columns: Images in a row.

    Raises:
        UsageError: They are no such images, or there is no column.
        StoreError: The disk is full, or the place cannot be written.
    """
    from PIL import Image

    shape = tuple(images.shape)
    if str(images.dtype) != "torch.uint8" or len(shape) != 4 or shape[1] != 3 or 0 in shape or columns < 1:
        raise UsageError(
            f"a grid of {columns} columns was asked of {images.dtype} {shape}; give uint8 images "
            "(n, 3, h, w) and one column or more"
        )
    count, _, height, width = shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, 3), np.uint8)
    cells[:count] = images.cpu().numpy().transpose(0, 2, 3, 1)
    cells = cells.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    with atomic_write(path) as file:
        Image.fromarray(cells.reshape(rows * height, columns * width, 3)).save(file, format="PNG")


class Curve(NamedTuple):
    """One line of a plot.

    Attributes:
        kimg: Where, in thousands of images.
        values: The numbers, as many.
        low: Lower ends of their 95 % intervals, or None.
        high: Upper ends, or None.
    """

    kimg: list[float]
    values: list[float]
    low: list[float] | None
    high: list[float] | None


def panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Which plots the lines of a log give, and which curves are in each.

    The losses of both networks share a plot, penalties another, scores of the discriminator a third; every
    metric has one of its own, since metrics have no unit in common; so has any other value. Times and memory
    have none.

    Returns:
        Curves by name, by the title of their plot; a plot without numbers is left out.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    found: dict[str, dict[str, Curve]] = {}
    for name in names:
        title = _title(name)
        if title is None or not (curve := _curve(rows, name)).values:
            continue
        found.setdefault(title, {})[name] = curve
    # Losses and scores first, metrics next: what one looks for first stands first.
    order = {"losses": 0, "scores": 1}
    return dict(
        sorted(found.items(), key=lambda item: order.get(item[0], 2 if item[0].startswith("metrics/") else 3))
    )


def _title(name: str) -> str | None:
    head, slash, _ = name.partition("/")
    if name in ("images", "kimg", "iteration") or head in ("time", "memory"):
        return None
    if head == "metrics" and name.endswith(("/low", "/high")):
        return None
    if head == "loss":
        return "losses" if name in ("loss/G", "loss/D") else "penalties"
    return head if slash and head in ("scores", "signs") else name


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    having = [row for row in rows if _is_number(row.get(name)) and _is_number(row.get("kimg"))]
    kimg = [float(row["kimg"]) for row in having]
    values = [float(row[name]) for row in having]
    bands = all(_is_number(row.get(f"{name}/{end}")) for row in having for end in ("low", "high"))
    if not having or not bands:
        return Curve(kimg, values, None, None)
    low, high = ([float(row[f"{name}/{end}"]) for row in having] for end in ("low", "high"))
    return Curve(kimg, values, low, high)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the lines of a log: losses, scores, metrics with their 95 % intervals, strength of augmentation …

    Args:
        path: The PNG.
        rows: Lines of the log, each with ``kimg``.

    Raises:
        UsageError: No line holds a number to draw.
        StoreError: The disk is full, or the place cannot be written.
    """
    from matplotlib.figure import Figure

    plots = panels(rows)
    if not plots:
        raise UsageError(
            "there are no curves to draw: the log holds no losses, scores or metrics; train first"
        )
    columns = min(len(plots), 3)
    down = -(-len(plots) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * down), layout="constrained")
    grid = figure.subplots(down, columns, squeeze=False)
    for axes in grid.flat[len(plots) :]:
        axes.set_axis_off()
    for axes, (title, curves) in zip(grid.flat, plots.items(), strict=False):
        for name, curve in curves.items():
            # A single point is invisible as a line.
            marker = "." if len(curve.kimg) < 30 else ""
            axes.plot(curve.kimg, curve.values, label=name, linewidth=1, marker=marker)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.kimg, curve.low, curve.high, alpha=0.25, linewidth=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("kimg")
        axes.grid(alpha=0.3)
        if list(curves) != [title]:
            axes.legend(fontsize=7)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)
