"""The one rule that turns a generator's float images into uint8, with its two published input ranges.

``signed``: values in [-1, 1] become ``trunc(clip(x * 127.5 + 128, 0, 255))`` (NVlabs/stylegan3@c233a91,
metrics/metric_utils.py). ``unit``: values in [0, 1] become ``trunc(clip(x * 255, 0, 255))``
(Lightning-AI/torchmetrics@dab0333, ``normalize=True``). Both truncate. The arithmetic runs in the input's own
float type, half precision excepted, which is widened to float32 first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from evalkit.errors import SourceError, UsageError, nearest

if TYPE_CHECKING:
    import torch


class Affine(NamedTuple):
    """``x * scale + offset``, the part of a rounding rule that depends on the input range."""

    scale: float
    offset: float


RANGES: Mapping[str, Affine] = {"signed": Affine(127.5, 128.0), "unit": Affine(255.0, 0.0)}


@overload
def to_uint8(images: npt.NDArray[np.floating[Any]], value_range: str = "signed") -> npt.NDArray[np.uint8]: ...
@overload
def to_uint8(images: torch.Tensor, value_range: str = "signed") -> torch.Tensor: ...
def to_uint8(
    images: npt.NDArray[np.floating[Any]] | torch.Tensor, value_range: str = "signed"
) -> npt.NDArray[np.uint8] | torch.Tensor:
    """Rounds float images to uint8; values outside the range are clipped.

    Args:
        images: NumPy array or torch tensor of floats, any shape; a tensor stays on its device.
        value_range: ``signed`` for [-1, 1] or ``unit`` for [0, 1].

    Raises:
        UsageError: The range is unknown, or the images are not floats.
        SourceError: A value is NaN or infinite.
    """
    if value_range not in RANGES:
        raise UsageError(
            f"unknown value range {value_range!r} (nearest: {nearest(value_range, RANGES)}); "
            "give 'signed' for images in [-1, 1] or 'unit' for images in [0, 1]"
        )
    scale, offset = RANGES[value_range]
    if isinstance(images, np.ndarray):
        if not np.issubdtype(images.dtype, np.floating):
            raise UsageError(_not_float(images.dtype))
        if not np.isfinite(images).all():
            raise SourceError(_NOT_FINITE)
        wide = images.astype(np.float32) if images.dtype == np.float16 else images
        return (wide * scale + offset).clip(0, 255).astype(np.uint8)
    import torch

    if not images.is_floating_point():
        raise UsageError(_not_float(images.dtype))
    if not bool(torch.isfinite(images).all()):
        raise SourceError(_NOT_FINITE)
    values = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    return (values * scale + offset).clamp(0, 255).to(torch.uint8)


_NOT_FINITE = (
    "images hold NaN or infinite values, which have no grey level; the generator that made them has failed: "
    "check its weights, its inputs and its precision"
)


def _not_float(dtype: object) -> str:
    return (
        f"images of type {dtype} cannot be rounded to uint8; give floats in [-1, 1] or [0, 1], "
        "or uint8 images, which need no rounding"
    )
