"""Leaderboards: one for every set of real images, models ranked by one column; as data and as a pandas frame.

A value's error bar is one standard error. The best of a column is marked, and so is every value that cannot
be told from it: their difference is within 1.96 times the root of the summed squares of both errors. That
takes the errors as independent although both hold the part that the shared real images bring, so it usually
calls more values level than a paired comparison would.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError
from evalkit.uncertainty.estimate import Z95
from leaderboards.columns import Column, check_sort, columns_of, select_columns, sort_column, unknown
from leaderboards.comparability import MODEL, Held, column_notes, in_column, split_by_data
from leaderboards.load import read_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a leaderboard.

    Attributes:
        value: The number, or None with a ``reason``.
        standard_error: One standard error.
        ci95: The record's 95 % interval.
        num: Samples behind it.
        record_id: The record it comes from.
        reason: Why there is no value.
        best: Whether it is the best of its column.
        level: Whether it cannot be told from the best.
        conflict: Whether an older record of the same images disagrees.
    """

    value: float | None
    standard_error: float | None
    ci95: tuple[float, float] | None
    num: int
    record_id: str
    reason: str | None = None
    best: bool = False
    level: bool = False
    conflict: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model.

    Attributes:
        rank: None where the ranking column has no value of it.
        model: Its name.
        fingerprint: Digest of its images.
        cells: Its numbers.
        kimg: Thousands of images it was trained on, where its records say so.
    """

    rank: int | None
    model: str
    fingerprint: str
    cells: tuple[Cell | None, ...]
    kimg: float | None = None

    @property
    def num(self) -> str:
        """Number of samples, or the range of it over the columns."""
        counts = sorted({cell.num for cell in self.cells if cell is not None})
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """All models that were held against one set of real images.

    Attributes:
        data: Name of the real images; empty for metrics that need none.
        fingerprint: Digest of their content.
        num_data: How many there are.
        columns: What is shown, in order.
        sort: The column that ranks.
        rows: Models, best first.
        notes: What a reader must know before comparing.
    """

    data: str
    fingerprint: str
    num_data: int | None
    columns: tuple[Column, ...]
    sort: Column
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The data set, with the number of real images where it is known."""
        if not self.data:
            return "without real images"
        return self.data if self.num_data is None else f"{self.data} ({self.num_data:,} real images)"


def leaderboard_tables(
    paths: Sequence[Path | str] | Path | str,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
) -> list[Board]:
    """Leaderboards of all records below ``paths``, one for every set of real images.

    Args:
        paths: Results folders or single records.
        data: Show this data set alone.
        metrics: Show these columns, by the name of the value or of the protocol, in this order.
        sort: The column that ranks; the first Fréchet-type one where None. A table without it is ranked by
            its own first.

    Raises:
        StoreError: There are no records, or a file is not a whole record.
        UsageError: A name fits nothing; the nearest are offered.
    """
    return boards_of(read_frame(paths), data=data, metrics=metrics, sort=sort)


def boards_of(
    frame: pd.DataFrame,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
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
    boards = [_board(held, columns, sort) for held in split_by_data(frame)]
    return [board for board in boards if board.rows]


def leaderboard(
    paths: Sequence[Path | str] | Path | str,
    *,
    data: str | None = None,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
) -> pd.DataFrame:
    """`leaderboard_tables` as one frame: a row a model; for every column its value, error and interval."""
    return to_frame(leaderboard_tables(paths, data=data, metrics=metrics, sort=sort))


def to_frame(boards: Sequence[Board]) -> pd.DataFrame:
    """Boards as one frame with the columns ``data, data_fingerprint, rank, model, n`` and four a metric.

    Where any record says how long its model was trained, ``kimg`` stands after ``n``.
    """
    import pandas as pd

    labels = dict.fromkeys(column.label for board in boards for column in board.columns)
    parts = [part for label in labels for part in (label, *(f"{label}_{end}" for end in _ENDS))]
    rows = [_flat(board, row) for board in boards for row in board.rows]
    trained = ["kimg"] if any(row.kimg is not None for board in boards for row in board.rows) else []
    names = ["data", "data_fingerprint", "rank", "model", "n", *trained, *parts]
    frame = pd.DataFrame(rows, columns=names)
    types: dict[Any, Any] = {"rank": "Int64", **dict.fromkeys([*trained, *parts], "float64")}
    typed: pd.DataFrame = frame.astype(types)
    return typed


_ENDS = ("se", "ci_low", "ci_high")


def _flat(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": board.data,
        "data_fingerprint": board.fingerprint[:12],
        "rank": row.rank,
        "model": row.model,
        "n": row.num.replace(",", ""),
        "kimg": row.kimg,
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
    models.sort(key=lambda model: (*_merit(leading.get(model), ranking), model))
    values = [cell.value if (cell := leading.get(model)) is not None else None for model in models]
    trained = {model: _kimg(held.frame, *model) for model in models}
    rows = tuple(
        Row(
            rank=None if value is None else values.index(value) + 1,
            model=_label(name, fingerprint, trained),
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


def _label(name: str, fingerprint: str, trained: dict[tuple[str, str], float | None]) -> str:
    # Namesakes are told apart by how long they were trained, where that does it, or by their images.
    namesakes = [kimg for (other, _), kimg in trained.items() if other == name]
    kimg = trained[name, fingerprint]
    if len(namesakes) == 1:
        return name
    if kimg is not None and namesakes.count(kimg) == 1:
        return f"{name} [{kimg:g} kimg]"
    return f"{name} [{fingerprint[:8]}]"


def _kimg(frame: pd.DataFrame, name: str, fingerprint: str) -> float | None:
    # Equal images come from equal weights; where they were saved twice, the longer training made both.
    same = frame[(frame["samples"] == name) & (frame["samples_fingerprint"] == fingerprint)]
    return _number(same["kimg"].max())


def _cells(held: Held, column: Column) -> dict[tuple[str, str], Cell]:
    part = held.frame[in_column(held.frame, column)]
    cells = {}
    for fact in part.to_dict("records"):
        low, high = _number(fact["ci_low"]), _number(fact["ci_high"])
        name, fingerprint = (str(fact[key]) for key in MODEL)
        cells[name, fingerprint] = Cell(
            value=_number(fact["value"]),
            standard_error=_number(fact["standard_error"]),
            ci95=None if low is None or high is None else (low, high),
            num=int(fact["num_samples"]),
            record_id=str(fact["record_id"]),
            reason=fact["reason"] if isinstance(fact["reason"], str) else None,
            conflict=fact["record_id"] in held.conflicts,
        )
    leader = min(cells.values(), key=lambda cell: _merit(cell, column))
    return {model: _marked(cell, leader) for model, cell in cells.items()}


def _marked(cell: Cell, leader: Cell) -> Cell:
    if cell.value is None or leader.value is None:
        return cell
    if cell.value == leader.value:
        return dataclasses.replace(cell, best=True)
    if cell.standard_error is None or leader.standard_error is None:
        return cell
    margin = Z95 * math.hypot(cell.standard_error, leader.standard_error)
    return dataclasses.replace(cell, level=abs(cell.value - leader.value) <= margin)


def _merit(cell: Cell | None, column: Column) -> tuple[bool, float]:
    # Sorts the best first and what has no value last.
    if cell is None or cell.value is None:
        return True, 0.0
    return False, -cell.value if column.higher_is_better else cell.value


def _reasons(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.model}, {column.label}: {cell.reason}"
        for row in rows
        for column, cell in zip(columns, row.cells, strict=True)
        if cell is not None and cell.reason is not None
    ]


def _number(value: object) -> float | None:
    # NaN is how a frame holds a missing number.
    return value if isinstance(value, float) and not math.isnan(value) else None
