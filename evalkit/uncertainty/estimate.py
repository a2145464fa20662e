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


def student95(freedom: int) -> float:
    """The 97.5th percentile of Student's t: what replaces 1.96 where a spread was estimated from few values.

    Exact for 1 and 2 degrees of freedom, else Fisher's expansion in 1 / freedom (Abramowitz and Stegun 1964,
    26.7.5), good to 0.2 % from 3 on.
    """
    if freedom < 1:
        raise ValueError(f"Student's t needs 1 degree of freedom or more, got {freedom}")
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = Z95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))
