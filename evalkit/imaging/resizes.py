"""The resizes that protocols name. A name here is part of protocols and of feature keys: it never changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from evalkit.imaging.resize_pil import antialiased_bilinear, clean_bicubic
from evalkit.imaging.resize_tf import half_pixel_bilinear, tf1_bilinear

Resize = Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]

RESIZES: Mapping[str, Resize] = {
    "tf1-bilinear": tf1_bilinear,
    "clean": clean_bicubic,
    "half-pixel-bilinear": half_pixel_bilinear,
    "antialiased-bilinear": antialiased_bilinear,
}
