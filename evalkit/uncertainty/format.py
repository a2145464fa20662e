"""Numbers as people read them: as many digits as the standard error supports. Standard library only.

Two significant digits of the standard error are kept (the usual rule of physics, GUM 7.2.6), and the value is
rounded at the same place, so that no digit is shown that a repetition would change at random. Where models
are judged on the same images, one by one, most of the error is what the images share, and differences are
known better than it says: such numbers are shown with a digit more (``paired``).
"""

from __future__ import annotations

import math

MISSING = "–"
_MOST_DECIMALS = 10


def decimals(spread: float) -> int:
    """Decimal places that show ``spread`` with two significant digits; never fewer than none."""
    return min(max(1 - math.floor(math.log10(abs(spread))), 0), _MOST_DECIMALS)


def number(value: float, spread: float | None, *, paired: bool = False) -> str:
    """``value`` with the digits its standard error supports; six significant digits where there is none."""
    if not spread:
        return _unsigned_zero(f"{value:.6g}")
    return _unsigned_zero(f"{value:.{decimals(spread) + paired}f}")


def with_error(value: float | None, spread: float | None, *, paired: bool = False) -> str:
    """``value ± standard error``, both rounded at the same place; the value alone where there is no error."""
    if value is None:
        return MISSING
    if not spread:
        return number(value, spread)
    return f"{number(value, spread, paired=paired)} ± {spread:.{decimals(spread) + paired}f}"


def _unsigned_zero(text: str) -> str:
    # A small negative number (KID can be one) must not be printed as "-0.00".
    return text.lstrip("-") if float(text) == 0 else text
