"""Which numbers may stand together, and what to do where they may not.

Numbers share a column only under one protocol digest with one set of extractor weights (`columns`), and
columns share a table only against one set of real images. What was measured twice is shown once: the newest
record stands, and where an older one shows other digits the cell says so. Nothing is left out without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.uncertainty.format import number
from leaderboards.columns import CHOSEN, KEY, Column

if TYPE_CHECKING:
    import pandas as pd

# One model on one set of images. Two sets of one name (another seed, another limit) are two rows.
MODEL = ["samples", "samples_fingerprint"]
# Means, more or less: their expectation does not move with the number of samples. A standard deviation of few
# samples is small, with n - 1 too.
_UNBIASED = (
    "Kernel", "PathLength", "Equivariance", "Fidelity", "Perceptual", "Consistency", "ConditionalLikelihood",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """All numbers that were held against one set of real images.

    Attributes:
        name: Names under which the images were used; empty for metrics that need none.
        fingerprint: Digest of their content.
        num: How many there are, where that is known.
        frame: The numbers, one a model and column.
        conflicts: Record ids of numbers that an older record contradicts.
        notes: What had to be decided.
    """

    name: str
    fingerprint: str
    num: int | None
    frame: pd.DataFrame
    conflicts: frozenset[str]
    notes: tuple[str, ...]


def split_by_data(frame: pd.DataFrame) -> list[Held]:
    """One table's numbers for every set of real images, ordered by name, those without real images last."""
    names = {
        str(fingerprint): " / ".join(sorted(set(part["data"])))
        for fingerprint, part in frame.groupby("data_fingerprint")
    }
    found = []
    for fingerprint in sorted(names, key=lambda key: (not key, names[key], key)):
        part = frame[frame["data_fingerprint"] == fingerprint]
        kept, conflicts, notes = settle(part)
        if sum(name == names[fingerprint] for name in names.values()) > 1:
            notes.insert(
                0,
                f"Other tables for {names[fingerprint]!r} were held against other images "
                f"(these are {fingerprint[:12]}): they are not comparable with this one.",
            )
        counts = part["num_data"].dropna()
        found.append(
            Held(
                name=names[fingerprint],
                fingerprint=fingerprint,
                num=None if counts.empty else int(counts.max()),
                frame=kept,
                conflicts=conflicts,
                notes=tuple(notes),
            )
        )
    return found


def settle(frame: pd.DataFrame) -> tuple[pd.DataFrame, frozenset[str], list[str]]:
    """The newest number of every model in every column, the ids of contradicted ones, and a word on each."""
    kept, conflicts, notes = [], set(), []
    ordered = frame.sort_values(["created", "record_id"], kind="stable")
    for _, same in ordered.groupby([*MODEL, *KEY], sort=False):
        newest = same.iloc[-1].to_dict()
        kept.append(str(newest["record_id"]))
        shown = {_shown(value, newest) for value in same["value"]}
        if len(shown) > 1:
            conflicts.add(kept[-1])
            values = ", ".join(_shown(value, newest) for value in same["value"])
            notes.append(
                f"{newest['samples']}, {newest['metric']}: {len(same)} records of the same images disagree "
                f"({values}, oldest first); the newest is shown."
            )
    return frame[frame["record_id"].isin(kept)], frozenset(conflicts), notes


def column_notes(columns: list[Column], frame: pd.DataFrame) -> list[str]:
    """Why columns of one name were kept apart, and in which columns counts or bias must be read with care."""
    notes = []
    for metric in dict.fromkeys(column.metric for column in columns if column.tag):
        namesakes = [column for column in columns if column.metric == metric]
        if len(namesakes) > 1:
            digests = {column.digest for column in namesakes}
            causes = ["protocols of different digests"] if len(digests) > 1 else []
            if len(namesakes) > len(digests):
                causes.append("different extractor weights")
            notes.append(
                f"{metric} stands in {len(namesakes)} columns because of {' and '.join(causes)}: "
                "such numbers are never ranked together."
            )
    for column in columns:
        part = frame[in_column(frame, column)]
        counts = sorted({int(num) for num in part["num_samples"]})
        # The best of more samples is better.
        unbiased = column.kind in _UNBIASED and not column.metric.endswith(CHOSEN)
        if len(counts) > 1 and not unbiased:
            notes.append(
                f"{column.label}: the numbers of samples differ ({', '.join(f'{num:,}' for num in counts)}), "
                "and its value moves with that number: compare equal ones."
            )
        bias = part["bias"].dropna()
        if not bias.empty:
            sizes, largest = bias.abs(), float(bias.abs().max())
            low, high = (number(value, 0.1 * largest) for value in (sizes.min(), sizes.max()))
            by = low if low == high else f"{low} to {high}"
            moves = "raises" if bias.mean() > 0 else "lowers"
            notes.append(
                f"{column.label}: a finite number of images {moves} it by about {by} here; "
                "± is its spread without that, and the 95 % intervals are centred after taking it off."
            )
    return notes


def in_column(frame: pd.DataFrame, column: Column) -> pd.Series[bool]:
    """Which rows of a tidy frame belong to ``column``."""
    metric, digest, weights = column.key
    return (
        (frame["metric"] == metric)
        & (frame["protocol_digest"] == digest)
        & (frame["weights_sha256"] == weights)
    )


def _shown(value: float, newest: Mapping[Any, Any]) -> str:
    # NaN is how a frame holds "no value" and "no error"; neither equals itself.
    if value != value:
        return "no value"
    spread, paired = newest["standard_error"], isinstance(newest["per_image"], Mapping)
    return number(value, None if spread != spread else spread, paired=paired)
