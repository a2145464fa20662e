"""What a leaderboard is: boards of rows of cells, as every form of it takes them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from evalkit.uncertainty.estimate import Z95
from evalkit.uncertainty.format import MISSING, number, with_error
from leaderboards.columns import Column


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a leaderboard.

    Attributes:
        value: The number, or None with a ``reason``.
        standard_error: One standard error.
        ci95: The record's 95 % interval.
        num: Images behind it: samples, or of a likelihood the real ones; None where a paper does not say.
        record_id: The record it comes from; empty where it is published.
        per_image: The value of every image, by name, where the record holds them.
        reason: Why there is no value.
        best: Whether it is the best of its column.
        level: Whether it cannot be told from the best.
        conflict: Whether an older record of the same images disagrees.
        quoted: The number as its source prints it, where it is published.
    """

    value: float | None
    standard_error: float | None
    ci95: tuple[float, float] | None
    num: int | None
    record_id: str
    per_image: Mapping[str, float] | None = None
    reason: str | None = None
    best: bool = False
    level: bool = False
    conflict: bool = False
    quoted: str = ""

    @property
    def text(self) -> str:
        """The number with its standard error; as it was printed where it is published."""
        return self.quoted or with_error(self.value, self.standard_error, paired=self.is_paired)

    @property
    def is_paired(self) -> bool:
        """Whether models were judged on the same images one by one, and are compared so."""
        return self.per_image is not None

    @property
    def interval(self) -> str:
        """The 95 % interval, with the digits that the standard error supports."""
        if self.ci95 is None:
            return MISSING
        low, high = (number(end, self.standard_error, paired=self.is_paired) for end in self.ci95)
        return f"{low} to {high}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a likelihood is one of; numbers are ranked only among equal terms.

    Attributes:
        bits: Bits of a level; None where it is not known, as of the others.
        bound: ``exact``, ``elbo`` or ``iwae``.
        num_importance: K of an importance-weighted bound.
        dequantisation: ``discrete``, ``uniform``, ``variational`` or ``none``.
        num_dims: Dimensions of an image.
        protocol: Id of the protocol; empty of a published number.
        source: ``measured``, or ``published`` with how far the quotation is to be trusted.
        citation: Where a published number stands.
    """

    bits: int | None
    bound: str | None
    num_importance: int | None
    dequantisation: str | None
    num_dims: int | None
    protocol: str = ""
    source: str = "measured"
    citation: str = ""

    HEADINGS = ("bound", "K", "bits", "dequantisation", "dims", "source")

    @property
    def texts(self) -> tuple[str, ...]:
        """The terms in words, in the order of `HEADINGS`."""
        counts = (self.num_importance, self.bits, self.num_dims)
        k, bits, dims = (MISSING if count is None else f"{count:,}" for count in counts)
        return self.bound or MISSING, k, bits, self.dequantisation or MISSING, dims, self.source

    def to_dict(self) -> dict[str, Any]:
        """The terms by name, for programs."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model.

    Attributes:
        rank: None where the ranking column has no value of it, and of what is quoted.
        model: Its name.
        fingerprint: Digest of its images; empty of what is quoted.
        cells: Its numbers.
        kimg: Thousands of images it was trained on, where its records say so.
        terms: Of a likelihood, what it is one of.
    """

    rank: int | None
    model: str
    fingerprint: str
    cells: tuple[Cell | None, ...]
    kimg: float | None = None
    terms: Terms | None = None

    @property
    def num(self) -> str:
        """Number of images, or the range of it over the columns."""
        counts = sorted({cell.num for cell in self.cells if cell is not None and cell.num is not None})
        if not counts:
            return MISSING
        return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"

    @property
    def label(self) -> str:
        """The model, with what tells apart its likelihoods."""
        if self.terms is None:
            return self.model
        bound, k, bits, *_ = self.terms.texts
        return f"{self.model} ({bound}{'' if k == MISSING else f' {k}'}, {bits} bits)"


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
        likelihood: Whether its numbers are likelihoods, whose rows have `Terms`.
    """

    data: str
    fingerprint: str
    num_data: int | None
    columns: tuple[Column, ...]
    sort: Column
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    likelihood: bool = False

    @property
    def title(self) -> str:
        """The data set, with the number of real images where it is known."""
        if not self.data:
            return "without real images"
        name = f"{self.data}: likelihood" if self.likelihood else self.data
        return name if self.num_data is None else f"{name} ({self.num_data:,} real images)"

    @property
    def ranked_by(self) -> str:
        """The column that ranks, and among whom."""
        among = " among equal bound, K, bits, dequantisation and dims" if self.likelihood else ""
        return self.sort.heading + among

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of what stands before the numbers, after the rank."""
        return ("model", "images", *Terms.HEADINGS) if self.likelihood else ("model", "n")

    @property
    def number_headings(self) -> tuple[str, ...]:
        """Headings of the numbers; a likelihood's interval stands beside it."""
        beside = ("95 % interval",) if self.likelihood else ()
        return tuple(text for column in self.columns for text in (column.heading, *beside))


def beside(board: Board, cell: Cell | None) -> tuple[str, ...]:
    """What stands after each number, as `Board.number_headings` names it."""
    return (MISSING if cell is None else cell.interval,) if board.likelihood else ()


def facts(row: Row) -> tuple[str, ...]:
    """What stands before a row's numbers, after the rank, as `Board.headings` names it."""
    return (row.model, row.num, *(row.terms.texts if row.terms is not None else ()))


def merit(cell: Cell | None, column: Column) -> tuple[bool, float]:
    """A key that sorts the best first and what has no value last."""
    if cell is None or cell.value is None:
        return True, 0.0
    return False, -cell.value if column.higher_is_better else cell.value


def marked(cell: Cell, leader: Cell) -> Cell:
    """The cell, marked as the best where it equals ``leader``, or as level with it.

    Where both were judged on the same images one by one, level is what Student's interval of the mean
    difference over the images cannot tell from 0; of other numbers, a difference within 1.96 times the root
    of their summed squared errors.
    """
    if cell.value is None or leader.value is None:
        return cell
    if cell.value == leader.value:
        return dataclasses.replace(cell, best=True)
    if cell.per_image and leader.per_image and cell.per_image.keys() == leader.per_image.keys():
        return dataclasses.replace(cell, level=_level(cell.per_image, leader.per_image))
    if cell.standard_error is None or leader.standard_error is None:
        return cell
    margin = Z95 * math.hypot(cell.standard_error, leader.standard_error)
    return dataclasses.replace(cell, level=abs(cell.value - leader.value) <= margin)


def _level(per_image: Mapping[str, float], leading: Mapping[str, float]) -> bool:
    if len(per_image) < 2:
        return False
    import numpy as np

    from evalkit.uncertainty.mean import mean_estimate

    differences = np.array([value - leading[name] for name, value in per_image.items()], dtype=np.float64)
    interval = mean_estimate(differences, few=True).interval
    return interval is not None and interval[0] <= 0 <= interval[1]
