r"""Leaderboards as LaTeX: one `table` a board, for a document that loads `booktabs`."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.uncertainty.format import number
from leaderboards.board import Board, Cell, Row, beside, facts
from leaderboards.tables import CONFLICT, LEGEND, LEVEL, marks

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$",
    "≈": r"$\approx$", "‡": r"$\ddagger$", "–": "--", "∞": r"$\infty$",
}  # fmt: skip


def render(boards: Sequence[Board]) -> str:
    """All boards, each a float of its own with its notes in the caption."""
    return "\n".join(_table(board) for board in boards)


def escape(text: str) -> str:
    """``text`` as LaTeX prints it letter by letter, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _table(board: Board) -> str:
    level, conflict = marks([board])
    legend = "; ".join([LEGEND, "bold is best", *([f"≈ {LEVEL}"] * level), *([f"‡ {CONFLICT}"] * conflict)])
    caption = " ".join([f"{board.title}, ranked by {board.ranked_by}.", f"{legend}.", *board.notes])
    headings = ["", *board.headings, *board.number_headings]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \begin{{tabular}}{{rl{'r' * (len(headings) - 2)}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, headings))} \\\\",
        r"    \midrule",
        *(f"    {_line(board, row)} \\\\" for row in board.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(board: Board, row: Row) -> str:
    rank = "--" if row.rank is None else str(row.rank)
    numbers = [text for cell in row.cells for text in (_cell(cell), *map(escape, beside(board, cell)))]
    return " & ".join([rank, *map(escape, facts(row)), *numbers])


def _cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "--"
    text = cell.text
    if cell.best:
        # Math symbols do not follow \textbf, so the value alone is bold.
        value = number(cell.value, cell.standard_error, paired=cell.is_paired)
        error = text.removeprefix(value)
        found = rf"\textbf{{{escape(value)}}}" + (f" {escape(error)}" if error else "")
    else:
        found = escape(text)
    return found + (r" $\approx$" if cell.level else "") + (r" $\ddagger$" if cell.conflict else "")
