"""What pictures of results share: a figure without a window system, and a PNG that is whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evalkit.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = "#30638e", "#d1495b", "#888888"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches; matplotlib is imported here and not before."""
    from matplotlib.figure import Figure

    # Without pyplot there is no global state and nothing to close.
    return Figure(figsize=(width, height), layout="constrained")


def dress(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Names of a panel and of its axes, and a quiet grid. Names are text: a dollar opens no formula."""
    axes.set_title(title.replace("$", r"\$"), fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG.

    Raises:
        StoreError: The disk is full, or the place cannot be written.
    """
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def write_png(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Writes an image, uint8 RGB ``(3, h, w)``, as a PNG.

    Raises:
        StoreError: The disk is full, or the place cannot be written.
    """
    from PIL import Image

    with atomic_write(path) as file:
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, format="png")
