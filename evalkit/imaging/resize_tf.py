"""Bilinear resizes without antialiasing: TensorFlow 1's, inside the FID Inception network, and half-pixel.

Output pixel ``i`` samples the input at ``i * in / out``: no half-pixel shift, no antialiasing, neighbours
clamped at the border. Convention: SPEC-metrics section 2; toshas/torch-fidelity@5e211a9,
interpolate_compat_tensorflow.py. Interpolation runs along x first, then along y, in float32, each as
``a + (b - a) * t`` with one rounding per operation. That makes the result equal to torch-fidelity's bit for
bit, and it is why fused operations (``torch.lerp``, ``addcmul``) are not used.

``half_pixel_bilinear`` is what mseitzer/pytorch-fid@b9c1811 feeds its network: output pixel ``i`` samples at
``(i + 0.5) * in / out - 0.5``. ``torch.interpolate`` computes that position with or without a fused
multiply-add, by the processor, which moves results by up to 1e-4 grey levels; here it is never fused.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch


class _Taps(NamedTuple):
    low: torch.Tensor  # (out,) int64
    high: torch.Tensor  # (out,) int64
    fraction: torch.Tensor  # (out,) float32, weight of `high`


def _taps(size_in: int, size_out: int, half_pixel: bool) -> _Taps:
    step = torch.tensor(size_in / size_out, dtype=torch.float32)
    position = torch.arange(size_out, dtype=torch.float32)
    position = ((position + 0.5) * step - 0.5).clamp(min=0) if half_pixel else position * step
    low = position.long().clamp(max=size_in - 1)
    return _Taps(low, (low + 1).clamp(max=size_in - 1), position - low)


class _Plan(NamedTuple):
    rows: torch.Tensor  # input rows that any output row needs
    top: torch.Tensor  # index into `rows`
    bottom: torch.Tensor
    weight_y: torch.Tensor  # (out, 1)
    left: torch.Tensor  # index into a row of interleaved colours
    right: torch.Tensor
    weight_x: torch.Tensor  # (out * channels,)


@functools.lru_cache(maxsize=32)
def _plan(
    height: int, width: int, size: tuple[int, int], channels: int, device: torch.device, half_pixel: bool
) -> _Plan:
    y, x = _taps(height, size[0], half_pixel), _taps(width, size[1], half_pixel)
    rows = torch.unique(torch.cat([y.low, y.high]))
    colour = torch.arange(channels)
    parts = (
        rows,
        torch.searchsorted(rows, y.low),
        torch.searchsorted(rows, y.high),
        y.fraction[:, None],
        (x.low[:, None] * channels + colour).flatten(),
        (x.high[:, None] * channels + colour).flatten(),
        x.fraction.repeat_interleave(channels),
    )
    return _Plan(*(part.to(device) for part in parts))


def tf1_bilinear(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes ``(n, c, h, w)`` images to ``(n, c, *size)`` as TensorFlow 1 does.

    Args:
        images: uint8 or float32 images; uint8 is widened to float32, values are not rescaled.
        size: Height and width of the result.

    Returns:
        float32 images in channels-last memory format, not rounded.
    """
    return _bilinear(images, size, half_pixel=False)


def half_pixel_bilinear(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes with half-pixel centres and no antialiasing; as `tf1_bilinear` else."""
    return _bilinear(images, size, half_pixel=True)


def _bilinear(images: torch.Tensor, size: tuple[int, int], *, half_pixel: bool) -> torch.Tensor:
    n, channels, height, width = images.shape
    plan = _plan(height, width, size, channels, images.device, half_pixel)
    out = torch.empty((n, size[0], size[1], channels), dtype=torch.float32, device=images.device)
    # On a CPU one image at a time keeps the intermediate rows in cache; a GPU wants few large launches.
    block = 1 if images.device.type == "cpu" else max(n, 1)
    for start in range(0, n, block):
        part = images[start : start + block].index_select(2, plan.rows).permute(0, 2, 3, 1)
        rows = part.float().reshape(len(part), len(plan.rows), width * channels)
        left, across = rows.index_select(2, plan.left), rows.index_select(2, plan.right)
        across.sub_(left).mul_(plan.weight_x).add_(left)
        top, bottom = across.index_select(1, plan.top), across.index_select(1, plan.bottom)
        target = out[start : start + block].view(len(part), size[0], size[1] * channels)
        torch.sub(bottom, top, out=target)
        target.mul_(plan.weight_y).add_(top)
    return out.permute(0, 3, 1, 2)
