"""Leaderboards from filed records: which numbers may stand together, and how they are shown.

Every form of ``evalkit table`` has a twin here::

    import leaderboards
    frame = leaderboards.leaderboard(["results"], metrics=["fid", "kid"])

Knows records and pandas; knows no model and no torch. Importing it imports no pandas: a name brings what it
needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leaderboards.build import leaderboard as leaderboard
    from leaderboards.build import leaderboard_tables as leaderboard_tables
    from leaderboards.load import read_frame as read_frame
    from leaderboards.plots import plot as plot
    from leaderboards.sql import file_records as file_records
    from leaderboards.tables import render as render

_HOMES = {
    "file_records": "leaderboards.sql",
    "leaderboard": "leaderboards.build",
    "leaderboard_tables": "leaderboards.build",
    "plot": "leaderboards.plots",
    "read_frame": "leaderboards.load",
    "render": "leaderboards.tables",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'leaderboards' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
