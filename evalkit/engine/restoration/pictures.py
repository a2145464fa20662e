"""Restorations to look at: low-resolution image, samples, original and how samples differ, in a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evalkit.engine.charts import new_figure, save_png
from evalkit.engine.restoration.samples import Restorations
from evalkit.metrics.restoration.diversity import pixel_std_map
from evalkit.sources.pairs import Pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UInt8Array = npt.NDArray[np.uint8]

MOST_ROWS = 6
MOST_SAMPLES = 4
MOST_SIDE = 256  # pixels of an image that are shown; of larger ones the middle
_INCHES = 2.45  # as many dots, so that large images are shown as they are
_LETTERS = 13  # of the title, to an inch


def draw_side_by_side(pairs: Pairs, restorations: Restorations, path: Path, *, images: int = 4) -> Path:
    """Draws the first images, a row each, into a PNG; returns where.

    From left to right: the low-resolution image, its pixels as squares; up to four samples; the original;
    and, where samples differ, the standard deviation of every pixel over all samples (mean over channels,
    n - 1, in levels of 0 to 255), with its largest value in the title. Of a large image the middle is shown.

    Args:
        pairs: The originals and low-resolution images.
        restorations: What was made of them.
        path: The PNG.
        images: How many, 6 at most.

    Raises:
        StoreError: The place cannot be written.
    """
    rows = min(len(pairs), images, MOST_ROWS)
    shown = min(restorations.distinct, MOST_SAMPLES)
    differ = restorations.distinct > 1
    across = 2 + shown + differ
    figure = new_figure(_INCHES * across, (_INCHES + 0.25) * rows + 0.5)
    title = [restorations.name, f"{pairs.spec} x{pairs.scale}"]
    most = int(_LETTERS * _INCHES * across)
    figure.suptitle("\n".join(_short(line, most) for line in title).replace("$", r"\$"), fontsize=10)
    panels = figure.subplots(rows, across, squeeze=False)
    for image, line in enumerate(panels):
        original = pairs.hr(image)
        part = _middle(original.shape[1:], pairs.scale)
        low = np.repeat(np.repeat(pairs.lr(image), pairs.scale, axis=1), pairs.scale, axis=2)
        samples = [restorations.get(image, k) for k in range(restorations.distinct)]
        names = [f"sample {k}" for k in range(shown)] if differ else ["restoration"]
        pictures = [low, *samples[:shown], original]
        for axes, picture, name in zip(
            line, pictures, [pairs.names[image], *names, "original"], strict=False
        ):
            _show(axes, picture[:, part[0], part[1]].transpose(1, 2, 0), name)
        if differ:
            spread = pixel_std_map(np.stack(samples), 1)[part]
            _show(line[-1], spread, f"σ, at most {spread.max():.1f}")
    save_png(figure, path)
    return path


def _middle(shape: Sequence[int], scale: int) -> tuple[slice, slice]:
    # Whole low-resolution pixels, so that all panels show the same.
    side = MOST_SIDE // scale * scale
    starts = [max(0, (length - side) // 2 // scale * scale) for length in shape]
    rows, columns = (slice(start, start + side) for start in starts)
    return rows, columns


def _short(text: str, most: int) -> str:
    # The end of a path says more than its beginning.
    return text if len(text) <= most else f"…{text[-most + 1 :]}"


def _show(axes: Axes, picture: npt.NDArray[np.generic], title: str) -> None:
    axes.imshow(picture, interpolation="nearest", cmap="magma", vmin=0 if picture.ndim == 2 else None)
    axes.set_title(title.replace("$", r"\$"), fontsize=8)
    axes.set_axis_off()
