"""A number with its error bar: value, standard error, interval, and the method that gave them."""

from __future__ import annotations

import dataclasses
import math

Z95 = 1.959963984540054  # the 97.5th percentile of the standard normal


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A metric's value and how far it can be trusted.

    Attributes:
        value: The number the protocol defines, never corrected.
        standard_error: One standard error of ``value``, or None where none is defined (the reason is in
            ``method``).
        interval: The 95 % interval, or None where none is defined.
        method: How the error and the interval were obtained.
        bias: First-order estimate of ``value`` minus its infinite-sample limit, where a formula exists. The
            interval is then centred on ``value - bias``, and ``method`` says so.
        seed: Seed of the draws behind the error, or None where nothing was drawn.
        notes: What a reader must know before trusting the interval.
    """

    value: float
    standard_error: float | None
    interval: tuple[float, float] | None
    method: str
    bias: float | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = [self.value, self.standard_error, self.bias, *(self.interval or ())]
        if any(x is not None and not math.isfinite(x) for x in numbers):
            raise ValueError(f"an estimate holds finite numbers only, got {numbers}")


def normal_interval(centre: float, standard_error: float) -> tuple[float, float]:
    """``centre`` ± 1.96 standard errors."""
    return centre - Z95 * standard_error, centre + Z95 * standard_error
