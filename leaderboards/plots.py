"""Leaderboards as pictures: a panel a column, a line a model, a dot a value, a bar its 95 % interval.

The interval is the record's own. Where a bias is known it is centred on the value without it, so the dot of a
Fréchet distance may stand to the right of its bar.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import UsageError
from evalkit.files import atomic_write
from leaderboards.board import Board, Cell
from leaderboards.columns import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FORMATS = (".png", ".svg", ".pdf")
_DATES = {"svg": "Date", "pdf": "CreationDate"}
_PANELS_A_LINE = 4
_BEST, _OTHER, _QUIET = "#d1495b", "#30638e", "#888888"
_WIDE = 10.0  # a largest value that is so many times the middle one asks for a logarithmic axis


def plot(boards: Sequence[Board], path: Path | str) -> None:
    """Draws ``boards`` into a PNG, SVG or PDF, by the ending of ``path``.

    Raises:
        UsageError: The ending is another one.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"cannot draw {path.name!r}; a plot ends in {', '.join(_FORMATS)}")
    picture = _drawn(boards, path.suffix[1:].lower())
    with atomic_write(path) as file:
        file.write(picture)


def png(boards: Sequence[Board]) -> bytes:
    """``boards`` as a PNG."""
    return _drawn(boards, "png")


def _drawn(boards: Sequence[Board], form: str) -> bytes:
    # Figure without pyplot: no window system, no global state, nothing to close.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [_height(board) for board in boards]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(len(boards), 1, squeeze=False, height_ratios=heights)[:, 0]
    for board, part in zip(boards, parts, strict=True):
        _board(board, part)
    target = io.BytesIO()
    # Without a date, and with fixed names inside an SVG, equal records give equal files.
    with matplotlib.rc_context({"svg.hashsalt": "evalkit"}):
        figure.savefig(target, format=form, dpi=110, metadata={_DATES[form]: None} if form in _DATES else {})
    return target.getvalue()


def _lines(board: Board) -> int:
    return -(-len(board.columns) // _PANELS_A_LINE)


def _height(board: Board) -> float:
    return _lines(board) * (0.9 + 0.32 * len(board.rows)) + 0.5


def _board(board: Board, figure: Figure) -> None:
    across = min(len(board.columns), _PANELS_A_LINE)
    panels = figure.subplots(_lines(board), across, sharey=True, squeeze=False).flatten()
    figure.suptitle(_literal(board.title), fontweight="bold")
    for i, column in enumerate(board.columns):
        _panel(panels[i], column, [row.cells[i] for row in board.rows])
    for panel in panels[len(board.columns) :]:
        panel.set_axis_off()
    panels[0].set_yticks(range(len(board.rows)), [_literal(row.label) for row in board.rows])
    panels[0].set_ylim(len(board.rows) - 0.5, -0.5)


def _panel(panel: Axes, column: Column, cells: Sequence[Cell | None]) -> None:
    for place, cell in enumerate(cells):
        if cell is None or cell.value is None:
            continue
        colour = _BEST if cell.best else _OTHER
        if cell.ci95 is not None:
            panel.plot(
                list(cell.ci95), [place, place], color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt"
            )
        panel.plot([cell.value], [place], "o", color=colour, markersize=5)
    _scale(panel, column, [cell.value for cell in cells if cell is not None and cell.value is not None])
    panel.set_title(_literal(column.heading), fontsize=10)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=8, colors=_QUIET)
    panel.spines[["top", "right", "left"]].set_visible(False)


def _scale(panel: Axes, column: Column, values: Sequence[float]) -> None:
    """Spreads distances of very different sizes out; about zero, where some are negative, it stays linear."""
    sizes = sorted(abs(value) for value in values if value)
    if column.higher_is_better or not sizes or sizes[-1] < _WIDE * sizes[len(sizes) // 2]:
        return
    if min(values) > 0:
        panel.set_xscale("log")
    else:
        panel.set_xscale("symlog", linthresh=sizes[len(sizes) // 2])


def _literal(text: str) -> str:
    # A dollar sign would open a formula.
    return text.replace("$", r"\$")
