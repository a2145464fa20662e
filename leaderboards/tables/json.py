"""Leaderboards as JSON: every number with its error, interval and record id, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from leaderboards.board import Board, Cell


def render(boards: Sequence[Board]) -> str:
    """A list of boards; missing numbers are null."""
    return (
        json.dumps([_board(board) for board in boards], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


def _board(board: Board) -> dict[str, Any]:
    return {
        "data": board.data,
        "data_fingerprint": board.fingerprint,
        "num_data": board.num_data,
        **({"likelihood": True} if board.likelihood else {}),
        "sort": board.sort.label,
        "columns": [
            {
                "label": column.label,
                "metric": column.metric,
                "protocol": column.protocol,
                "protocol_version": column.version,
                "protocol_digest": column.digest,
                "weights_sha256": column.weights,
                "higher_is_better": column.higher_is_better,
            }
            for column in board.columns
        ],
        "rows": [
            {
                "rank": row.rank,
                "model": row.model,
                "samples_fingerprint": row.fingerprint,
                **({} if row.kimg is None else {"kimg": row.kimg}),
                **({} if row.terms is None else {"terms": row.terms.to_dict()}),
                "cells": {
                    column.label: None if cell is None else _cell(cell)
                    for column, cell in zip(board.columns, row.cells, strict=True)
                },
            }
            for row in board.rows
        ],
        "notes": list(board.notes),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "value": cell.value,
        "standard_error": cell.standard_error,
        "ci95": None if cell.ci95 is None else list(cell.ci95),
        "n": cell.num,
        "reason": cell.reason,
        "best": cell.best,
        "level_with_best": cell.level,
        "conflict": cell.conflict,
        "record_id": cell.record_id,
    }
