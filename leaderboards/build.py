"""Leaderboards: one for every set of real images, models ranked by one column; as data and as a pandas frame.

A value's error bar is one standard error. The best of a column is marked, and so is every value that cannot
be told from it: their difference is within 1.96 times the root of the summed squares of both errors. That
takes the errors as independent although both hold the part that the shared real images bring, so it usually
calls more values level than a paired comparison would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError
from evalkit.uncertainty.format import MISSING
from leaderboards.board import Board, Cell, Row, Terms, marked, merit
from leaderboards.cells import cell_of, kimg_of, label_of
from leaderboards.columns import (
    LIKELIHOOD,
    Column,
    check_sort,
    columns_of,
    select_columns,
    sort_column,
    unknown,
)
from leaderboards.comparability import MODEL, Held, column_notes, in_column, split_by_data
from leaderboards.likelihood import likelihood_boards, quotations
from leaderboards.load import read_frame

if TYPE_CHECKING:
    import pandas as pd


def leaderboard_tables(
    paths: Sequence[Path | str] | Path | str,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    published: str = "beside",
) -> list[Board]:
    """Leaderboards of all records below ``paths``, one for every set of real images.

    Args:
        paths: Results folders or single records.
        data: Show this data set alone.
        metrics: Show these columns, by the name of the value or of the protocol, in this order.
        sort: The column that ranks; the first Fréchet-type one where None. A table without it is ranked by
            its own first. Likelihoods have tables of their own, ranked among equal terms.
        published: Published likelihoods: ``beside`` measured ones of the same images, ``none``, or ``all``,
            those of data sets that were not measured too.

    Raises:
        StoreError: There are no records, or a file is not a whole record.
        UsageError: A name fits nothing; the nearest are offered.
    """
    return boards_of(read_frame(paths), data=data, metrics=metrics, sort=sort, published=published)


def boards_of(
    frame: pd.DataFrame,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    published: str = "beside",
) -> list[Board]:
    """`leaderboard_tables` of a tidy frame."""
    if data is not None:
        # By content: the same real images may have been used under two names.
        named = frame.loc[frame["data"] == data, "data_fingerprint"]
        if named.empty:
            raise UsageError(unknown("data set", data, [name for name in frame["data"] if name]))
        frame = frame[frame["data_fingerprint"].isin(named)]
    columns = columns_of(frame)
    if metrics is not None:
        columns = select_columns(columns, list(metrics))
    check_sort(columns, sort)
    likelihoods = frame[frame["kind"] == LIKELIHOOD]
    if metrics is not None:
        likelihoods = likelihoods[likelihoods["protocol"].isin([column.protocol for column in columns])]
    quoted = quotations(published, likelihoods, chosen=metrics is not None)
    columns = [column for column in columns if column.kind != LIKELIHOOD]
    others = frame[frame["kind"] != LIKELIHOOD]
    boards = [_board(held, columns, sort) for held in split_by_data(others)] if columns else []
    boards += likelihood_boards(likelihoods, quoted, alone=published == "all" and data is None)
    return [board for board in boards if board.rows]


def leaderboard(
    paths: Sequence[Path | str] | Path | str,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    published: str = "beside",
) -> pd.DataFrame:
    """`leaderboard_tables` as one frame: a row a model; for every column its value, error and interval."""
    tables = leaderboard_tables(paths, data=data, metrics=metrics, sort=sort, published=published)
    return to_frame(tables)


def to_frame(boards: Sequence[Board]) -> pd.DataFrame:
    """Boards as one frame with the columns ``data, data_fingerprint, rank, model, n`` and four a metric.

    Where any record says how long its model was trained, ``kimg`` stands after ``n``; where any board is of
    likelihoods, so do their terms.
    """
    import pandas as pd

    labels = dict.fromkeys(column.label for board in boards for column in board.columns)
    parts = [part for label in labels for part in (label, *(f"{label}_{end}" for end in _ENDS))]
    rows = [_flat(board, row) for board in boards for row in board.rows]
    trained = ["kimg"] if any(row.kimg is not None for board in boards for row in board.rows) else []
    terms = _TERMS if any(board.likelihood for board in boards) else []
    names = ["data", "data_fingerprint", "rank", "model", "n", *trained, *terms, *parts]
    frame = pd.DataFrame(rows, columns=names)
    counts = ["rank", *(name for name in terms if name in ("bits", "num_importance", "num_dims"))]
    types: dict[Any, Any] = dict.fromkeys(counts, "Int64") | dict.fromkeys([*trained, *parts], "float64")
    typed: pd.DataFrame = frame.astype(types)
    return typed


_ENDS = ("se", "ci_low", "ci_high")
_TERMS = [field.name for field in dataclasses.fields(Terms)]


def _flat(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": board.data,
        "data_fingerprint": board.fingerprint[:12],
        "rank": row.rank,
        "model": row.model,
        "n": None if row.num == MISSING else row.num.replace(",", ""),
        "kimg": row.kimg,
        **({} if row.terms is None else row.terms.to_dict()),
    }
    for column, cell in zip(board.columns, row.cells, strict=True):
        if cell is None:
            continue
        low, high = cell.ci95 if cell.ci95 is not None else (None, None)
        found[column.label] = cell.value
        found.update(
            zip((f"{column.label}_{end}" for end in _ENDS), (cell.standard_error, low, high), strict=True)
        )
    return found


def _board(held: Held, wanted: list[Column], sort: str | None) -> Board:
    shown = [column for column in wanted if in_column(held.frame, column).any()]
    if not shown:
        return Board(
            data=held.name, fingerprint=held.fingerprint, num_data=held.num, columns=(), sort=wanted[0],
            rows=(), notes=(),
        )  # fmt: skip
    by_column = [_cells(held, column) for column in shown]
    ranking = sort_column(shown, sort)
    leading = by_column[shown.index(ranking)]
    models = list(dict.fromkeys(model for cells in by_column for model in cells))
    models.sort(key=lambda model: (*merit(leading.get(model), ranking), model))
    values = [cell.value if (cell := leading.get(model)) is not None else None for model in models]
    trained = {model: kimg_of(held.frame, *model) for model in models}
    rows = tuple(
        Row(
            rank=None if value is None else values.index(value) + 1,
            model=label_of(name, fingerprint, trained),
            fingerprint=fingerprint,
            cells=tuple(cells.get((name, fingerprint)) for cells in by_column),
            kimg=trained[name, fingerprint],
        )
        for (name, fingerprint), value in zip(models, values, strict=True)
    )
    return Board(
        data=held.name,
        fingerprint=held.fingerprint,
        num_data=held.num,
        columns=tuple(shown),
        sort=ranking,
        rows=rows,
        notes=(*held.notes, *column_notes(shown, held.frame), *_reasons(shown, rows)),
    )


def _cells(held: Held, column: Column) -> dict[tuple[str, str], Cell]:
    part = held.frame[in_column(held.frame, column)]
    cells = {}
    for fact in part.to_dict("records"):
        name, fingerprint = (str(fact[key]) for key in MODEL)
        cells[name, fingerprint] = cell_of(fact, held.conflicts)
    leader = min(cells.values(), key=lambda cell: merit(cell, column))
    return {model: marked(cell, leader) for model, cell in cells.items()}


def _reasons(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.model}, {column.label}: {cell.reason}"
        for row in rows
        for column, cell in zip(columns, row.cells, strict=True)
        if cell is not None and cell.reason is not None
    ]
