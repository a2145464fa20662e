"""The same evaluation under several seeds: what one more draw of everything would change.

An interval says how far a number may be from its limit, judged from one run; several runs show it. Each
repeat has seeds of its own, so that no image is measured twice, and files records as any run does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.engine.run import evaluate
from evalkit.errors import UsageError
from evalkit.records.schema import Record

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Unpack

    from evalkit.engine.request import Arguments

STRIDE = 1_000_000  # between the first seeds of two repeats: more than any protocol draws


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """One metric over the repeats.

    Attributes:
        metric: Its name.
        values: One a repeat, in order.
        mean: Their mean.
        standard_deviation: Over the repeats, with n - 1; None of one value.
        standard_error: Mean of the standard errors that single runs gave; None where a run gave none.
    """

    metric: str
    values: tuple[float, ...]
    mean: float
    standard_deviation: float | None
    standard_error: float | None


def repeat(
    repeats: int, *, output: Path | str | None = "results", **arguments: Unpack[Arguments]
) -> list[list[Record]]:
    """Runs `evaluate` ``repeats`` times, each time with other seeds.

    Args:
        repeats: How many times, 1 or more. Repeat r begins at ``seed + r * STRIDE``.
        output: Results folder; None files nothing.
        **arguments: Those of `evaluate`; ``model`` is required, and at most `STRIDE` samples.

    Returns:
        The records of every repeat.

    Raises:
        UsageError: There is no model, or the count cannot be.
        EvalkitError: As `evaluate`; finished repeats stay filed.
    """
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats}; give 1 or more")
    if repeats > 1 and arguments.get("model") is None:
        raise UsageError(
            f"--repeats {repeats} draws other samples every time, and a set of images has no others; name a "
            "model with --model"
        )
    if repeats > 1 and (arguments.get("num") or 0) > STRIDE:
        raise UsageError(f"--repeats keeps {STRIDE:,} seeds for each run; give --num {STRIDE} or fewer")
    first = arguments.get("seed", 0)
    found = []
    for place in range(repeats):
        again: Any = {**arguments, "seed": first + place * STRIDE}
        found.append(evaluate(output=output, **again))
    return found


def spreads(runs: Sequence[Sequence[Record]]) -> list[Spread]:
    """How much every metric moved from repeat to repeat; metrics without a value are left out."""
    by_metric: dict[str, list[Record]] = {}
    for records in runs:
        for record in records:
            if record.value is not None:
                by_metric.setdefault(record.metric, []).append(record)
    return [_spread(metric, records) for metric, records in by_metric.items()]


def _spread(metric: str, records: Sequence[Record]) -> Spread:
    values = np.array([record.value for record in records], dtype=np.float64)
    errors = [record.standard_error for record in records if record.standard_error is not None]
    return Spread(
        metric=metric,
        values=tuple(values.tolist()),
        mean=float(values.mean()),
        standard_deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
        standard_error=float(np.mean(errors)) if len(errors) == len(values) else None,
    )
