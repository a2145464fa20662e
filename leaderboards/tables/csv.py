"""Leaderboards as CSV with every digit of every number: for pandas and spreadsheets.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, and names come from
whoever wrote the records: such words get an apostrophe in front, which spreadsheets take as "this is text".
"""

from __future__ import annotations

from collections.abc import Sequence

from leaderboards.board import Board
from leaderboards.build import to_frame

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(boards: Sequence[Board]) -> str:
    """All boards in one table; missing numbers are empty cells."""
    frame = to_frame(boards)
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = [harmless(text) if isinstance(text, str) else text for text in frame[name]]
    frame.columns = [harmless(str(name)) for name in frame.columns]
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def harmless(text: str) -> str:
    """``text`` as a cell that no spreadsheet runs."""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text
