"""Units of a likelihood, the offset of a density, and dequantisation: all conversions, in one place.

Quantity: -ln p(x), or a bound on it, of images with D = channels · pixels dimensions of B = 2^bits levels.
Theis et al. 2016 (arXiv 1511.01844, section 3.1): for a density p of y = (v + u) / B, with u uniform in
[0, 1), bits/dim = -ln p(y) / (D ln 2) + log2 B, whose mean over u is at least that of the probability of v.
On [-1, 1] the offset is log2(B / 2), on [0, B] there is none, and a probability of levels has none either.

Official programs print several of these units (`evalkit.metrics.likelihood.conversions`): nats/dim
(openai/vdvae@ea35b49), nats (NVlabs/NVAE@9fc1a28), bits/pixel (andreas128/SRFlow@5a007ad).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError, nearest

__all__ = [
    "SCALES",
    "UNITS",
    "Scale",
    "Units",
    "bits_per_dim",
    "convert",
    "dequantise",
    "discretised",
    "nats_per_image",
    "offset_bits",
]

Units = Literal["nats", "bits", "nats/dim", "bits/dim", "bits/pixel"]
Scale = Literal["unit", "signed", "levels"]
Float64Array = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Float64Array)

UNITS: Mapping[str, str] = {
    "nats": "nats an image",
    "bits": "bits an image",
    "nats/dim": "nats a dimension",
    "bits/dim": "bits a dimension",
    "bits/pixel": "bits a pixel, all channels together",
}
SCALES: Mapping[str, str] = {
    "unit": "[0, 1]",
    "signed": "[-1, 1]",
    "levels": "[0, 2^bits]",
}


def convert(
    values: Number, source: str, target: str, *, num_dims: int | None = None, channels: int | None = None
) -> Number:
    """Values in another unit.

    Args:
        values: One number, or an array of any shape.
        source: One of `UNITS`.
        target: One of `UNITS`.
        num_dims: Dimensions of an image, channels times pixels; needed between an image and a dimension.
        channels: Channels of an image; needed between a pixel and a dimension.

    Raises:
        UsageError: A unit is unknown, or a number that the conversion needs is missing or less than 1.
    """
    if source == target:
        _factor(source, 1, 1)  # an unknown unit is no unit, even of itself
        return values
    # Two units of an image, or two of a dimension, differ by ln 2 whatever the image.
    if {source, target} in ({"nats", "bits"}, {"nats/dim", "bits/dim"}):
        num_dims = 1
    divided, multiplied = _factor(source, num_dims, channels), _factor(target, num_dims, channels)
    return values * multiplied / divided


def bits_per_dim(nats: Number, num_dims: int) -> Number:
    """Nats an image as bits a dimension: ``nats / (D ln 2)``.

    Args:
        nats: -ln p of one image, or an array of them; of a density, after `discretised`.
        num_dims: D.

    Raises:
        UsageError: D is less than 1.
    """
    return convert(nats, "nats", "bits/dim", num_dims=num_dims)


def nats_per_image(
    values: Number, units: str, num_dims: int | None = None, channels: int | None = None
) -> Number:
    """Values in ``units`` as nats an image.

    Args:
        values: One number, or an array.
        units: One of `UNITS`.
        num_dims: As in `convert`.
        channels: As in `convert`.

    Raises:
        UsageError: As `convert`.
    """
    return convert(values, units, "nats", num_dims=num_dims, channels=channels)


def offset_bits(bits: int, scale: str | None) -> float:
    """What a density's bits/dim lack: log2 of the levels that one unit of its scale holds.

    Args:
        bits: Bits of a level.
        scale: One of `SCALES`; None for a probability, which lacks nothing.

    Raises:
        UsageError: The scale is unknown, or bits are less than 1.
    """
    if bits < 1:
        raise UsageError(f"bits = {bits}: a level has 1 bit or more")
    if scale is None:
        return 0.0
    if scale not in SCALES:
        known = ", ".join(f"{name} for {what}" for name, what in SCALES.items())
        raise UsageError(
            f"unknown scale of a density {scale!r} (nearest: {nearest(scale, list(SCALES))}); give {known}"
        )
    return {"unit": float(bits), "signed": float(bits - 1), "levels": 0.0}[scale]


def discretised(nats: Number, num_dims: int, *, bits: int, scale: str | None) -> Number:
    """-ln of a density as that of levels: ``nats + D ln(levels that one unit of its scale holds)``.

    Args:
        nats: -ln p(y) of one image, or an array of them.
        num_dims: D.
        bits: Bits of a level.
        scale: Scale of y, one of `SCALES`; None for a probability, which stays what it is.

    Raises:
        UsageError: As `offset_bits`.
    """
    return nats + num_dims * math.log(2) * offset_bits(bits, scale)


def dequantise(
    images: npt.NDArray[np.uint8], noise: npt.NDArray[np.floating[Any]], *, bits: int, scale: str
) -> Float64Array:
    """Levels with uniform noise of one level's width: ``(v + u) / B``, on the scale of a density.

    Args:
        images: uint8, any shape. With fewer than 8 bits the level of a value is its upper bits, as of images
            that were floored to multiples of 2^(8 - bits).
        noise: u, uniform in [0, 1), of the same shape.
        bits: Bits of a level, from 1 to 8.
        scale: One of `SCALES`.

    Returns:
        float64 of the same shape, in [0, 1), [-1, 1) or [0, B).

    Raises:
        UsageError: The scale is unknown, or bits are not from 1 to 8.
    """
    if not 1 <= bits <= 8:
        raise UsageError(f"bits = {bits}: levels of uint8 images have 1 to 8 bits")
    unit = 2.0 ** offset_bits(bits, scale)  # levels that one unit of the scale holds
    values: Float64Array = ((images >> (8 - bits)).astype(np.float64) + noise) / unit
    return values - 1.0 if scale == "signed" else values


def _factor(units: str, num_dims: int | None, channels: int | None) -> float:
    """How many of ``units`` one bit a dimension is."""
    if units not in UNITS:
        known = ", ".join(f"{name} ({what})" for name, what in UNITS.items())
        raise UsageError(f"unknown units {units!r} (nearest: {nearest(units, list(UNITS))}); give {known}")
    if units == "bits/pixel":
        return float(_count(channels, "channels", units))
    nats = math.log(2) if units.startswith("nats") else 1.0
    return nats if units.endswith("/dim") else nats * _count(num_dims, "dimensions", units)


def _count(given: int | None, what: str, units: str) -> int:
    if given is None:
        raise UsageError(
            f"{UNITS[units]} cannot be converted without the {what} of an image; give the shape of the images"
        )
    if given < 1:
        raise UsageError(f"{given} {what}: an image has 1 or more")
    return given
