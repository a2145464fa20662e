"""Columns as data: which numbers share one, what it is called, and where it stands.

A column is a metric under one protocol digest with one set of extractor weights. Two columns of one name
carry in brackets what tells them apart, and are never ranked together.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from evalkit.errors import UsageError, nearest
from evalkit.protocols.catalog import PROTOCOLS

if TYPE_CHECKING:
    import pandas as pd

KEY = ["metric", "protocol_digest", "weights_sha256"]
FRECHET = ("Frechet", "FrechetInfinity")
LIKELIHOOD = "Likelihood"
CHOSEN = ("_best", "_worst")  # of an image's restorations; such names follow a rule and are not listed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a leaderboard.

    Attributes:
        metric: Name of the value.
        protocol: Name of the protocol that reports it.
        version: The protocol's version.
        digest: The protocol's digest.
        weights: Digest of the extractor's weights.
        kind: Family of the metric.
        higher_is_better: Direction of improvement.
        tag: What tells it from columns of the same name; empty where there is none.
    """

    metric: str
    protocol: str
    version: int
    digest: str
    weights: str
    kind: str
    higher_is_better: bool
    tag: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a number must equal to stand in this column."""
        return self.metric, self.digest, self.weights

    @property
    def label(self) -> str:
        """Name in machine-readable tables."""
        return f"{self.metric} [{self.tag}]" if self.tag else self.metric

    @property
    def arrow(self) -> str:
        """Up where more is better, else down."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def heading(self) -> str:
        """Name with the arrow."""
        return f"{self.label} {self.arrow}"


def columns_of(frame: pd.DataFrame) -> list[Column]:
    """All columns of a tidy frame: in the catalogue's order, then those it does not know, by name."""
    found = []
    for row in frame.drop_duplicates(KEY).to_dict("records"):
        found.append(
            Column(
                metric=row["metric"], protocol=row["protocol"], version=row["protocol_version"],
                digest=row["protocol_digest"], weights=row["weights_sha256"], kind=row["kind"],
                higher_is_better=bool(row["higher_is_better"]),
            )
        )  # fmt: skip
    return sorted((_tagged(column, found) for column in found), key=_place)


def select_columns(columns: list[Column], metrics: list[str]) -> list[Column]:
    """The columns that ``metrics`` name, by value or by protocol, in the order they are named.

    Raises:
        UsageError: A name fits no column; the nearest are offered.
    """
    chosen: dict[Column, None] = {}
    for name in metrics:
        fitting = [column for column in columns if name in (column.metric, column.protocol)]
        if not fitting:
            raise UsageError(unknown("column", name, [column.metric for column in columns]))
        chosen.update(dict.fromkeys(fitting))
    return list(chosen)


def sort_column(columns: list[Column], metric: str | None) -> Column:
    """The column that ranks: the one named, else the first Fréchet-type one, else the first.

    A name that several columns carry means the first of them; each column says in its label which it is.
    """
    if metric is not None:
        named = [column for column in columns if metric in (column.metric, column.label)]
        if named:
            return named[0]
    return next((column for column in columns if column.kind in FRECHET), columns[0])


def check_sort(columns: list[Column], metric: str | None) -> None:
    """Refuses to sort by what no column shows.

    Raises:
        UsageError: ``metric`` is no column's name; the nearest are offered.
    """
    if metric is not None and all(metric not in (column.metric, column.label) for column in columns):
        raise UsageError(unknown("sort column", metric, [column.metric for column in columns]))


def unknown(kind: str, name: str, known: list[str]) -> str:
    """The message for a name that the records do not hold."""
    names = list(dict.fromkeys(known))
    return f"unknown {kind} {name!r} (nearest: {nearest(name, names)}); these records hold {', '.join(names)}"


def _tagged(column: Column, all_columns: list[Column]) -> Column:
    namesakes = [other for other in all_columns if other.metric == column.metric]
    tags = []
    if len({other.digest for other in namesakes}) > 1:
        tags.append(f"v{column.version} {column.digest[:8]}")
    if len({(other.weights) for other in namesakes if other.digest == column.digest}) > 1:
        tags.append(f"weights {column.weights[:8]}")
    return dataclasses.replace(column, tag=", ".join(tags))


def _place(column: Column) -> tuple[int, str, int, str, str]:
    base = column.protocol.split("@")[0]
    if base not in PROTOCOLS:
        # Beside the mean over an image's restorations.
        base = next((base.removesuffix(end) for end in CHOSEN if base.endswith(end)), base)
    names = list(PROTOCOLS)
    protocol = names.index(base) if base in PROTOCOLS else len(names)
    # Values of one protocol stand in the order in which it reports them.
    parts = [value.removeprefix(base) for value in PROTOCOLS[base].values] if base in PROTOCOLS else []
    part = column.metric.removeprefix(column.protocol)
    within = parts.index(part) if part in parts else len(parts)
    return protocol, column.protocol, within, column.metric, column.digest + column.weights
