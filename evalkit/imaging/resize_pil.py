"""Antialiased resizes with half-pixel centres: clean-fid's bicubic, and bilinear.

``clean_bicubic`` is GaParmar/clean-fid@e88c4d6, resize.py, mode "clean": Pillow's bicubic (a = -0.5, kernel
stretched when shrinking) on float32 channels, clipped to [0, 255], not quantised. ``antialiased_bilinear`` is
Pillow's bilinear (a triangle, stretched when shrinking) and belongs to evalkit's own `mini` extractor.

Pillow weighs and sums in float64 and stores float32 after each of its two passes, along x first. PyTorch's
antialiased operator does the same when it is called once for each axis in float64: the results then equal
Pillow's to the last bit or the one before (at most 1.6e-5 grey levels), and the operator runs on a GPU too.
One call in float32 would be off by up to 4e-3 grey levels.

All take uint8 or float32 ``(n, c, h, w)`` and return float32 that is not rounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _pillow(images: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    out = images.float().contiguous()
    for target in ((out.shape[2], size[1]), size):
        if out.shape[2:] != target:
            wide = F.interpolate(out.double(), size=target, mode=mode, antialias=True, align_corners=False)
            out = wide.float()
    return out


def clean_bicubic(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Antialiased bicubic, clipped to [0, 255], as clean-fid computes it."""
    return _pillow(images, size, "bicubic").clamp(0, 255)


def antialiased_bilinear(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Antialiased bilinear; an image that has the asked size passes unchanged."""
    return _pillow(images, size, "bilinear")
