"""upfirdn2d without multiplying by inserted zeros, in torch operations: the fast path's arithmetic.

Along an axis, result ``o`` reads the upsampled picture from position ``o * down - lo`` on. Only every ``up``-th
position there holds a sample, and which taps meet samples repeats with period ``up / gcd(up, down)`` in ``o``.
So each phase of the result is a plain, short, strided correlation of the picture with every ``up``-th tap.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from reference_models.ops.resampling import Resample


def run(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """`reference_models.ops.upfirdn2d.reference`, without a graph for autograd."""
    n, c, height, width = x.shape
    out_h, out_w = spec.out_size(height, width)
    f = torch.ones(1, dtype=x.dtype, device=x.device) if spec.f is None else spec.f.to(x.dtype)
    if not spec.flip:
        f = f.flip(list(range(f.ndim)))
    y = x.reshape(n * c, 1, height, width)
    x_axis = _Axis(spec.taps[0], spec.up[0], spec.down[0], spec.pads[0], width, out_w)
    y_axis = _Axis(spec.taps[1], spec.up[1], spec.down[1], spec.pads[2], height, out_h)
    if f.ndim == 1:
        f = f * spec.gain**0.5
        y = _correlate(y, f[None, :], x_axis, _Axis(1, 1, 1, 0, height, height))
        y = _correlate(y, f[:, None], _Axis(1, 1, 1, 0, out_w, out_w), y_axis)
    else:
        y = _correlate(y, f * spec.gain, x_axis, y_axis)
    return y.reshape(n, c, out_h, out_w)


class _Axis:
    """How results along one axis meet samples."""

    def __init__(self, taps: int, up: int, down: int, lo: int, size: int, out: int) -> None:
        self.phases = up // math.gcd(up, down)
        self.stride = down // math.gcd(up, down)
        starts = [phase * down - lo for phase in range(self.phases)]
        firsts = [-(-start // up) for start in starts]
        self.base = min(firsts)
        # For every phase: offset of its first sample, and the taps (a slice) that meet it and its successors.
        self.rules = [
            (first - self.base, slice(first * up - start, None, up), len(range(first * up - start, taps, up)))
            for start, first in zip(starts, firsts, strict=True)
        ]
        self.length = max(1, max(offset + count for offset, _, count in self.rules))
        self.runs = -(-out // self.phases)
        self.out = out
        self.pads = -self.base, self.base + (self.runs - 1) * self.stride + self.length - size


def _correlate(x: torch.Tensor, f: torch.Tensor, x_axis: _Axis, y_axis: _Axis) -> torch.Tensor:
    kernels = f.new_zeros((y_axis.phases, x_axis.phases, y_axis.length, x_axis.length))
    for row, (y_offset, y_taps, y_count) in enumerate(y_axis.rules):
        for column, (x_offset, x_taps, x_count) in enumerate(x_axis.rules):
            kernels[row, column, y_offset : y_offset + y_count, x_offset : x_offset + x_count] = f[
                y_taps, x_taps
            ]
    # Padding and cropping; a crop may go beyond the picture, where the padding of the other side begins.
    lo_hi = (*x_axis.pads, *y_axis.pads)
    x = functional.pad(x, [max(side, 0) for side in lo_hi])
    x = x[:, :, max(-lo_hi[2], 0) : x.shape[2] - max(-lo_hi[3], 0), max(-lo_hi[0], 0) : x.shape[3] - max(-lo_hi[1], 0)]
    y = functional.conv2d(x, kernels.flatten(0, 1)[:, None], stride=(y_axis.stride, x_axis.stride))
    if len(kernels) > 1 or x_axis.phases > 1:
        y = y.unflatten(1, (y_axis.phases, x_axis.phases)).permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)[:, None]
    return y[:, :, : y_axis.out, : x_axis.out]
