"""From the facts of a tidy frame to cells, and to names of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leaderboards.board import Cell

if TYPE_CHECKING:
    import pandas as pd


def cell_of(fact: Mapping[Any, Any], conflicts: frozenset[str], num: str = "num_samples") -> Cell:
    """The cell of one row of a frame.

    Args:
        fact: The row.
        conflicts: Record ids of numbers that an older record contradicts.
        num: The column that counts the images behind it.
    """
    low, high = number_of(fact["ci_low"]), number_of(fact["ci_high"])
    count = number_of(float(fact[num]))
    return Cell(
        value=number_of(fact["value"]),
        standard_error=number_of(fact["standard_error"]),
        ci95=None if low is None or high is None else (low, high),
        num=None if count is None else int(count),
        record_id=str(fact["record_id"]),
        per_image=fact["per_image"] if isinstance(fact["per_image"], Mapping) else None,
        reason=fact["reason"] if isinstance(fact["reason"], str) else None,
        conflict=fact["record_id"] in conflicts,
    )


def label_of(name: str, fingerprint: str, trained: Mapping[tuple[str, str], float | None]) -> str:
    """A model's name in a table, where namesakes are told apart.

    Args:
        name: Its name.
        fingerprint: Digest of its images.
        trained: Thousands of images that each model of the table was trained on, by name and digest.
    """
    # Namesakes are told apart by how long they were trained, where that does it, or by their images.
    namesakes = [kimg for (other, _), kimg in trained.items() if other == name]
    kimg = trained[name, fingerprint]
    if len(namesakes) == 1:
        return name
    if kimg is not None and namesakes.count(kimg) == 1:
        return f"{name} [{kimg:g} kimg]"
    return f"{name} [{fingerprint[:8]}]"


def kimg_of(frame: pd.DataFrame, name: str, fingerprint: str) -> float | None:
    """Thousands of images that a model was trained on, where its records say so."""
    # Equal images come from equal weights; where they were saved twice, the longer training made both.
    same = frame[(frame["samples"] == name) & (frame["samples_fingerprint"] == fingerprint)]
    return number_of(same["kimg"].max())


def number_of(value: object) -> float | None:
    """A number of a frame; NaN is how a frame holds a missing one."""
    return value if isinstance(value, float) and not math.isnan(value) else None
