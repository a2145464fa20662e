"""Leaderboards as GitHub Markdown, padded so that they read well in a terminal too."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.uncertainty.format import MISSING
from leaderboards.board import Board, Cell, Row, beside, facts
from leaderboards.tables import CONFLICT, LEGEND, LEVEL, marks


def render(boards: Sequence[Board]) -> str:
    """One section a board: a table and its notes; the legend once at the end."""
    return "\n".join([*map(section, boards), _legend(boards)])


def section(board: Board) -> str:
    """Heading, table and notes of one board."""
    headings = ["", *map(escape, (*board.headings, *board.number_headings))]
    lines = [headings, *(_line(board, row) for row in board.rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(headings))]
    rule = ["-" * width if i == 1 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    table = "\n".join(_padded(line, widths) for line in (headings, rule, *lines[1:]))
    notes = "".join(f"- {escape(note)}\n" for note in board.notes)
    title = f"## {escape(board.title)}\n\nRanked by {escape(board.ranked_by)}.\n\n"
    return f"{title}{table}\n" + (f"\n{notes}" if notes else "")


def escape(text: str) -> str:
    """``text`` as Markdown shows it letter by letter, on one line."""
    one_line = " ".join(text.split())
    escaped = re.sub(r"([\\`*{}\[\]<>|#~&!])", r"\\\1", one_line)
    # An underscore within a word is not emphasis; elsewhere it would be.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def _line(board: Board, row: Row) -> list[str]:
    rank = MISSING if row.rank is None else str(row.rank)
    numbers = [text for cell in row.cells for text in (_cell(cell), *beside(board, cell))]
    return [rank, *map(escape, facts(row)), *numbers]


def _cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return MISSING
    text = f"**{cell.text}**" if cell.best else cell.text
    return text + (" ≈" if cell.level else "") + (" ‡" if cell.conflict else "")


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.ljust(width) if i == 1 else text.rjust(width)
        for i, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"


def _legend(boards: Sequence[Board]) -> str:
    level, conflict = marks(boards)
    parts = [LEGEND, "**bold** is best"]
    parts += [f"≈ {LEVEL}"] if level else []
    parts += [f"‡ {CONFLICT}"] if conflict else []
    return "; ".join(parts) + ".\n"
