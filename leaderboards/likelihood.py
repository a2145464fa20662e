"""Tables of likelihoods: a row a number, its terms beside it, published numbers beside measured ones.

A likelihood is ranked only among numbers of one protocol (which names bound, K and bits), with one
dequantisation and one number of dimensions. Published numbers are quoted: never ranked, and never the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError, nearest
from leaderboards.board import Board, Cell, Row, Terms, marked, merit
from leaderboards.cells import cell_of, kimg_of, label_of, number_of
from leaderboards.columns import LIKELIHOOD, Column
from leaderboards.comparability import Held, split_by_data
from leaderboards.published import UNITS, Published, published

if TYPE_CHECKING:
    import pandas as pd

SCOPES = ("beside", "none", "all")

_BOUNDS = ("exact", "iwae", "elbo")
_DEQUANTISATIONS = ("discrete", "variational", "uniform", "none")
_QUOTED = "Published numbers are quoted, not measured here, and not ranked."
_MEASURED = "bits/dim"


def likelihood_boards(frame: pd.DataFrame, quoted: Sequence[Published], *, alone: bool) -> list[Board]:
    """A board of likelihoods for every set of real images.

    Args:
        frame: Rows of kind ``Likelihood`` of a tidy frame.
        quoted: Published numbers that may stand beside them, where images and unit are the same.
        alone: Whether the others get boards of their own.
    """
    boards, left = [], list(quoted)
    for held in split_by_data(frame):
        sizes = {int(dims) for dims in held.frame["num_dims"].dropna()}
        beside = [
            each
            for each in quoted
            if each.unit == _MEASURED and any(each.of(name, sizes) for name in held.name.split(" / "))
        ]
        left = [each for each in left if each not in beside]
        boards.append(_measured(held, beside))
    if alone:
        others: dict[tuple[str, str], list[Published]] = {}
        for each in left:
            others.setdefault((f"{each.data}, {each.resolution}x{each.resolution}", each.unit), []).append(
                each
            )
        boards += [
            _board(name, UNITS[unit], [_quotation(each) for each in rows], notes=[])
            for (name, unit), rows in others.items()
        ]
    return boards


def quotations(scope: str, frame: pd.DataFrame, *, chosen: bool) -> tuple[Published, ...]:
    """The published numbers that ``scope`` allows.

    Args:
        scope: One of `SCOPES`.
        frame: Rows of kind ``Likelihood``.
        chosen: Whether metrics were chosen: then only published numbers of a bound and bits among them.

    Raises:
        UsageError: There is no such scope.
    """
    if scope not in SCOPES:
        raise UsageError(
            f"published numbers are to be shown {scope!r} (nearest: {nearest(scope, list(SCOPES))}); give "
            "beside (those of the data sets that were measured), none, or all"
        )
    if scope == "none":
        return ()
    kept = {(row["bound"], _whole(row["bits"])) for row in frame.to_dict("records")}
    return tuple(each for each in published() if not chosen or (each.bound, each.bits) in kept)


def _measured(held: Held, quoted: Sequence[Published]) -> Board:
    facts = held.frame.to_dict("records")
    models = [(str(fact["samples"]), str(fact["samples_fingerprint"])) for fact in facts]
    trained = {model: kimg_of(held.frame, *model) for model in models}
    groups: dict[Terms, list[tuple[tuple[str, str], Cell]]] = {}
    reasons = []
    for model, fact in zip(models, facts, strict=True):
        cell = cell_of(fact, held.conflicts, "num_data")
        groups.setdefault(_terms(fact), []).append((model, cell))
        if cell.reason is not None:
            reasons.append(f"{label_of(*model, trained)}, {fact['metric']}: {cell.reason}")
    rows = []
    for terms, members in groups.items():
        leader = min((cell for _, cell in members), key=lambda cell: merit(cell, _column(_MEASURED)))
        values = sorted(cell.value for _, cell in members if cell.value is not None)
        for model, cell in members:
            rows.append(
                Row(
                    rank=None if cell.value is None else values.index(cell.value) + 1,
                    model=label_of(*model, trained),
                    fingerprint=model[1],
                    cells=(marked(cell, leader),),
                    kimg=trained[model],
                    terms=terms,
                )
            )
    rows += [_quotation(each) for each in quoted]
    found = _board(held.name, _MEASURED, rows, notes=[*held.notes, *reasons])
    return dataclasses.replace(found, fingerprint=held.fingerprint, num_data=held.num)


def _board(name: str, unit: str, rows: list[Row], *, notes: list[str]) -> Board:
    rows = sorted(rows, key=_place)
    said = [f"{row.model}: {row.terms.citation}." for row in rows if row.terms and row.terms.citation]
    column = _column(unit)
    return Board(
        data=name,
        fingerprint="",
        num_data=None,
        columns=(column,),
        sort=column,
        rows=tuple(rows),
        notes=(*notes, *([_QUOTED] if said else []), *said),
        likelihood=True,
    )


def _column(unit: str) -> Column:
    # Protocols stand in the rows, since one column holds numbers of several.
    return Column(
        metric=unit, protocol="", version=0, digest="", weights="", kind=LIKELIHOOD, higher_is_better=False
    )


def _terms(fact: Mapping[Any, Any]) -> Terms:
    dequantisation = fact["dequantisation"]
    return Terms(
        bits=_whole(fact["bits"]),
        bound=fact["bound"] if isinstance(fact["bound"], str) else None,
        num_importance=_whole(fact["num_importance"]),
        dequantisation=dequantisation if isinstance(dequantisation, str) else None,
        num_dims=_whole(fact["num_dims"]),
        protocol=f"{fact['protocol']}/v{fact['protocol_version']}/{str(fact['protocol_digest'])[:12]}",
    )


def _quotation(given: Published) -> Row:
    cell = Cell(
        value=float(given.value), standard_error=None, ci95=None, num=None, record_id="", quoted=given.value
    )
    terms = Terms(
        bits=given.bits,
        bound=given.bound,
        num_importance=given.num_importance,
        dequantisation=given.dequantisation,
        num_dims=given.num_dims,
        source=f"published ({given.tier})",
        citation=given.citation,
    )
    return Row(rank=None, model=given.name, fingerprint="", cells=(cell,), terms=terms)


def _place(row: Row) -> tuple[Any, ...]:
    # Equal terms stand together, the strictest first; in them the best first, and what has no value last.
    terms, cell = row.terms, row.cells[0]
    assert terms is not None
    assert cell is not None
    return (
        -(terms.bits or 0),
        _index(_BOUNDS, terms.bound),
        -(terms.num_importance or 0),
        _index(_DEQUANTISATIONS, terms.dequantisation),
        terms.num_dims or 0,
        cell.value is None,
        cell.value or 0.0,
        row.model,
    )


def _index(known: Sequence[str], name: str | None) -> int:
    return known.index(name) if name in known else len(known)


def _whole(value: Any) -> int | None:  # noqa: ANN401 - a cell of a frame, which may be missing in several ways
    if value is None or value != value:
        return None
    found = number_of(float(value))
    return None if found is None else int(found)
