"""Leaderboards as text: Markdown, CSV, LaTeX, HTML and JSON. Names from records are escaped in each."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.errors import UsageError, nearest

if TYPE_CHECKING:
    from leaderboards.board import Board

# Each module has a `render(boards) -> str`.
FORMATS = {
    "md": "leaderboards.tables.markdown",
    "csv": "leaderboards.tables.csv",
    "latex": "leaderboards.tables.latex",
    "html": "leaderboards.tables.html",
    "json": "leaderboards.tables.json",
}
_ENDINGS = {".md": "md", ".markdown": "md", ".csv": "csv", ".tex": "latex", ".html": "html", ".htm": "html",
            ".json": "json"}  # fmt: skip

LEGEND = "↓ lower is better, ↑ higher is better; ± one standard error"
LEVEL = (
    "cannot be told from the best at 95 % (image by image where records hold every image, else with both "
    "errors taken as independent)"
)
CONFLICT = "another record of the same images disagrees"


def render(boards: Sequence[Board], form: str = "md") -> str:
    """``boards`` as text in the form ``md``, ``csv``, ``latex``, ``html`` or ``json``.

    Raises:
        UsageError: There is no such form, or it needs an extra that is not installed.
    """
    if form not in FORMATS:
        raise UsageError(
            f"unknown format {form!r} (nearest: {nearest(form, list(FORMATS))}); "
            f"known are {', '.join(FORMATS)}"
        )
    text: str = importlib.import_module(FORMATS[form]).render(boards)
    return text


def format_of(path: Path) -> str:
    """The format that a file's ending asks for.

    Raises:
        UsageError: The ending is none of those known.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"cannot tell the format from {path.name!r}; end it in {', '.join(_ENDINGS)}, or say --format"
        )
    return _ENDINGS[path.suffix.lower()]


def marks(boards: Sequence[Board]) -> tuple[bool, bool]:
    """Whether any cell is level with the best, and whether any is contradicted."""
    cells = [cell for board in boards for row in board.rows for cell in row.cells if cell is not None]
    return any(cell.level for cell in cells), any(cell.conflict for cell in cells)
