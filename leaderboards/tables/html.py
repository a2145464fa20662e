"""Leaderboards as one HTML page that needs nothing else: style and plot are inside (extra ``site``)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from evalkit.errors import UsageError
from evalkit.uncertainty.format import MISSING
from leaderboards.board import Board, beside, facts
from leaderboards.tables import CONFLICT, LEGEND, LEVEL, marks

_TEMPLATE = Path(__file__).with_name("leaderboard.html.jinja")


def render(boards: Sequence[Board]) -> str:
    """The page.

    Raises:
        UsageError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise UsageError(
            "HTML leaderboards need jinja2: pip install 'evalkit[site]', or take --format md"
        ) from error
    from leaderboards.plots import png

    level, conflict = marks(boards)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        boards=[(board, base64.b64encode(png([board])).decode("ascii")) for board in boards],
        facts=facts,
        beside=beside,
        missing=MISSING,
        legend=[LEGEND, "bold is best"] + [f"≈ {LEVEL}"] * level + [f"‡ {CONFLICT}"] * conflict,
    )
