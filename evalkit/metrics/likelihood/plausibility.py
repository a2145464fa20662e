"""Numbers that cannot be likelihoods are refused: most often another unit was returned than was declared.

Laws of a probability p of whole images, whatever the model:

- p(x) <= 1, so that -ln p(x) >= 0.
- Over different images the p(x_i) sum to at most 1, so that by Jensen's inequality the mean of -ln p over n
  of them is at least ln n. With repetitions it is at least the entropy of their frequencies (Gibbs), of which
  `smallest_mean` takes the least that fits.
- The uniform model needs as many bits/dim as a level has: what needs more has learned less than nothing, as
  an untrained network may.

The first two hold for bounds and for uniform dequantisation in expectation, so that a number which was drawn
must miss by more than its error. A density without dequantisation need not hold to them; one that breaks them
lies above what levels can have, and is refused too.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from evalkit.errors import MetricError
from evalkit.metrics.likelihood.bits_per_dim import (
    UNITS,
    bits_per_dim,
    convert,
    discretised,
    nats_per_image,
    offset_bits,
)

__all__ = ["check_finite", "check_plausible", "smallest_mean"]

Float64Array = npt.NDArray[np.float64]

_READINGS = ("nats", "bits", "nats/dim", "bits/dim")
_ERRORS = 5.0  # a drawn mean is refused only if it misses by so many standard errors
_ROUNDING = 1e-5  # of float32 networks, relative


def smallest_mean(num: int, num_distinct: int) -> float:
    """The least mean of -ln p over images that any probability allows.

    Args:
        num: Images, repetitions counted.
        num_distinct: How many of them differ.

    Returns:
        ln(num) where all differ; else the entropy of the most uneven frequencies, in nats.
    """
    most = num - num_distinct + 1  # copies of one image, all others being there once
    return math.log(num) - most / num * math.log(most)


def check_finite(nats: Float64Array, name: str) -> None:
    """Refuses NaN and infinity, which a mean would spread or hide.

    Args:
        nats: Of every image, ``(n,)``.
        name: The model's.

    Raises:
        MetricError: A number is not finite; the message names the first image.
    """
    wrong = np.flatnonzero(~np.isfinite(nats))
    if len(wrong):
        more = f" (and for {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise MetricError(
            f"{name} gives {nats[wrong[0]]} nats for image {wrong[0]}{more}; a mean over the others would "
            "hide it: mend the model, or leave the image out of the data"
        )


def check_plausible(
    nats: Float64Array,
    *,
    num_dims: int,
    bits: int,
    num_distinct: int,
    units: str = "nats",
    name: str = "the model",
    kind: str = "elbo",
    dequantisation: str = "discrete",
    scale: str | None = None,
) -> str | None:
    """Refuses what no model's likelihood can be, and returns a doubt about what hardly is.

    Args:
        nats: -ln p of every image or a bound on it, ``(n,)``, n of 1 or more; of a density, after
            `discretised`.
        num_dims: Dimensions of an image.
        bits: Bits of a level.
        num_distinct: How many of the images differ.
        units: In which the model returned them, as declared.
        name: The model's, for messages.
        kind: ``exact``, ``elbo`` or ``iwae``.
        dequantisation: ``discrete``, ``uniform``, ``variational``, or ``none``: a density at the levels
            themselves.
        scale: Of a density, as it was given to `discretised`.

    Returns:
        Why the number is doubtful, where it is above that of the uniform model; None where it is not.

    Raises:
        MetricError: A number is not finite, or no probability of images can have it.
    """
    check_finite(nats, name)
    declared = _Declared(float(nats.mean()), num_dims, bits, units, scale)
    drawn = kind != "exact" or dequantisation != "discrete"
    if not drawn and nats.min() < 0 <= nats.mean():
        at = int(nats.argmin())
        raise MetricError(
            f"{name} gives {nats[at]:.6g} nats for image {at}, a probability above 1, which is none; a "
            "likelihood of levels cannot be negative: if it is a density, declare its dequantisation and "
            "its scale"
        )
    least = smallest_mean(len(nats), num_distinct)
    error = float(nats.std(ddof=1)) / math.sqrt(len(nats)) if drawn and len(nats) > 1 else 0.0
    slack = _ERRORS * error + _ROUNDING * max(abs(declared.nats), least)
    if declared.nats + slack < 0:
        raise MetricError(declared.negative(name, least))
    if declared.nats + slack < least:
        raise MetricError(declared.too_likely(name, num_distinct, least))
    return declared.worse_than_uniform(name)


class _Declared:
    """A mean as it was declared, and what it would be under other declarations."""

    def __init__(self, nats: float, num_dims: int, bits: int, units: str, scale: str | None) -> None:
        self.nats, self.num_dims, self.bits, self.units, self.scale = nats, num_dims, bits, units, scale
        offset = discretised(0.0, num_dims, bits=bits, scale=scale)
        # What the model returned.
        self.raw = convert(nats - offset, "nats", units, num_dims=num_dims)

    def read_as(self, units: str, sign: int = 1) -> float:
        """Bits/dim if the model's numbers were ``units``."""
        nats = nats_per_image(sign * self.raw, units, self.num_dims)
        return bits_per_dim(nats, self.num_dims) + offset_bits(self.bits, self.scale)

    def readings(self, least: float) -> str:
        """The readings under which the mean is possible and better than uniform, in words."""
        floor = bits_per_dim(least, self.num_dims)
        others = [(units, sign) for sign in (1, -1) for units in _READINGS]
        found = [
            f'{"with the other sign, " if sign < 0 else ""}read as {UNITS[units]} (units="{units}") it would '
            f"be {value:.4g} bits/dim"
            for units, sign in others
            if (units, sign) != (self.units, 1) and floor <= (value := self.read_as(units, sign)) <= self.bits
        ]
        return " and ".join(found) or "no other unit makes it a likelihood better than the uniform model's"

    def negative(self, name: str, least: float) -> str:
        return (
            f"{name} gives a mean of {self.nats:.6g} nats an image, a probability above 1, which is none. "
            "Most likely ln p was returned where minus ln p is asked for, or a density was declared with "
            f"another dequantisation, scale or unit: {self.readings(least)}"
        )

    def too_likely(self, name: str, num_distinct: int, least: float) -> str:
        return (
            f"{name} gives a mean of {self.nats:.4g} nats an image over {num_distinct:,} different images, "
            "which cannot be a likelihood: their probabilities sum to at most 1, so that the mean is at "
            f"least {least:.4g}. {self._slip()}: {self.readings(least)}"
        )

    def worse_than_uniform(self, name: str) -> str | None:
        found = bits_per_dim(self.nats, self.num_dims)
        if found <= self.bits * (1 + _ROUNDING):
            return None
        said = f"{name}: {found:.4g} bits/dim is worse than the uniform model, which needs {self.bits}"
        if self.units == "nats" and self.read_as("bits") <= self.bits:
            return f'{said}; if these are bits, declare units="bits"'
        return f"{said}; an untrained model may be, a trained one hardly: check the declared units and scale"

    def _slip(self) -> str:
        if self.units in ("nats", "bits"):
            return f"Most likely bits/dim or nats/dim were returned where {UNITS[self.units]} were declared"
        return f"Most likely the numbers are not {UNITS[self.units]}, as declared"
