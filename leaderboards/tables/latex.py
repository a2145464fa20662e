r"""Leaderboards as LaTeX: one `table` a board, for a document that loads `booktabs`."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.uncertainty.format import number, with_error
from leaderboards.build import Board, Cell, Row
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
    caption = " ".join([f"{board.title}, ranked by {board.sort.heading}.", f"{legend}.", *board.notes])
    headings = ["", "model", "n", *(column.heading for column in board.columns)]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \begin{{tabular}}{{rl{'r' * (1 + len(board.columns))}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, headings))} \\\\",
        r"    \midrule",
        *(f"    {_line(row)} \\\\" for row in board.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    rank = "--" if row.rank is None else str(row.rank)
    return " & ".join([rank, escape(row.model), escape(row.num), *(_cell(cell) for cell in row.cells)])


def _cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "--"
    text = with_error(cell.value, cell.standard_error)
    if cell.best:
        # Math symbols do not follow \textbf, so the value alone is bold.
        value = number(cell.value, cell.standard_error)
        error = text.removeprefix(value)
        found = rf"\textbf{{{escape(value)}}}" + (f" {escape(error)}" if error else "")
    else:
        found = escape(text)
    return found + (r" $\approx$" if cell.level else "") + (r" $\ddagger$" if cell.conflict else "")
