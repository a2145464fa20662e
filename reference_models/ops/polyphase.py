"""upfirdn2d without multiplying by inserted zeros, in torch operations: the fast path's arithmetic.

Along an axis, result ``o`` reads the upsampled picture from position ``o * down - lo`` on. Only every
``up``-th position there holds a sample, and which taps meet samples repeats with period ``up / gcd(up,
down)`` in ``o``.

On a CPU a separable filter (of one dimension, or a table of rank one) becomes two products with a banded
matrix: `BLOCK` results at a time are the product of the stretch of samples they read and one small matrix of
taps. That multiplies by zeros of the band, and yet is faster than short convolutions, because matrix products
run near the processor's peak. Runs of channels are worked one after the other, so that what lies between the
two products is small and its memory is used again. A short filter without resampling is a sum of shifted
copies.

Other filters and devices take convolutions, with an output channel for every phase (or several) of the
result.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from reference_models.ops.resampling import Resample

Array = npt.NDArray[np.floating]

BLOCK = 32
# Samples between the two products that are held at a time.
_CHUNK = 1 << 18
# Sides of the result up to which one block is the whole, and taps up to which shifted sums are faster.
_WHOLE = 64
_SHORT = 6
# Results along y and x that a convolution with a filter that does not separate makes at a time.
_TABLE = (2, 8)
# Fewer channels than these do not fill the vectors of a convolution by channel.
_FEW = 4


def run(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """`reference_models.ops.upfirdn2d.reference`, without a graph for autograd."""
    n, c, height, width = x.shape
    out_h, out_w = spec.out_size(height, width)
    planes = x.reshape(n * c, height, width)
    if x.device.type == "cpu" and (taps := _separate(x, spec)) is not None:
        short = spec.up == spec.down == (1, 1) and max(spec.taps) <= _SHORT
        y = (_shifted if short else _banded)(planes, *taps, spec)
    else:
        # Convolutions on a CPU want several output channels, unless there are channels enough to go by.
        several = max(spec.up) > 1 or n * c < _FEW
        y = convolved(planes, spec, in_blocks=x.device.type == "cpu" and several)
    return y.reshape(n, c, out_h, out_w)


class _Axis(NamedTuple):
    """How blocks of results along one axis meet samples.

    Attributes:
        block: Results in a block.
        blocks: How many.
        step: Samples from the start of one block's stretch to the next one's.
        size: Samples of a stretch.
        base: Index of the first sample that result 0 could read; negative in the padding.
    """

    block: int
    blocks: int
    step: int
    size: int
    base: int

    @classmethod
    def plan(cls, taps: int, up: int, down: int, lo: int, out: int, block: int) -> _Axis:
        """Blocks of about ``block`` results that all look alike."""
        phases = up // math.gcd(up, down)
        block = max(block, phases)
        blocks = -(-out // block)
        block = -(-out // (blocks * phases)) * phases
        base = -(lo // up)
        last = ((block - 1) * down - lo + taps - 1) // up
        return cls(block, -(-out // block), block * down // up, max(1, last - base + 1), base)

    @property
    def reach(self) -> int:
        """Samples that all blocks read, from `base` on."""
        return (self.blocks - 1) * self.step + self.size


def _separate(x: torch.Tensor, spec: Resample) -> tuple[Array, Array] | None:
    # Taps along y and x in the order of a correlation, with the gain; None where the filter does not
    # separate.
    if spec.f is None:
        one = np.ones(1)
        return one, one * spec.gain
    f = (spec.f.detach().float() if spec.f.dtype == torch.bfloat16 else spec.f.detach()).numpy()
    if not spec.flip:
        f = np.flip(f)
    if f.ndim == 1:
        f = f * f.dtype.type(spec.gain**0.5)
        return f, f
    if 1 in f.shape:
        return (
            (f[:, 0], np.full(1, spec.gain, f.dtype)) if f.shape[1] == 1 else (np.ones(1), f[0] * spec.gain)
        )
    exact = 1e-15 if x.dtype == torch.float64 else 2**-22
    both = _rank_one(f.tobytes(), f.shape, f.dtype.str, exact)
    return None if both is None else (both[0], both[1] * spec.gain)


@functools.lru_cache(maxsize=256)
def _rank_one(data: bytes, shape: tuple[int, int], dtype: str, exact: float) -> tuple[Array, Array] | None:
    # The two factors of a table that is an outer product up to rounding.
    f = np.frombuffer(data, dtype).reshape(shape).astype(np.float64)
    if not np.isfinite(f).all():
        return None
    row, column = np.unravel_index(np.abs(f).argmax(), shape)
    if f[row, column] == 0:
        return None
    along_y, along_x = f[:, column].copy(), f[row] / f[row, column]
    off = np.abs(np.outer(along_y, along_x) - f).max()
    return (along_y, along_x) if off <= exact * np.abs(f).max() else None


@functools.lru_cache(maxsize=1024)
def _matrix(
    data: bytes, dtype: str, up: int, down: int, lo: int, axis: _Axis, result: torch.dtype
) -> torch.Tensor:
    # (size, block): the tap by which each sample of a stretch counts for each result of its block.
    taps = np.frombuffer(data, dtype)
    sample = axis.base + np.arange(axis.size)[:, None]
    tap = sample * up - (np.arange(axis.block)[None, :] * down - lo)
    inside = (tap >= 0) & (tap < len(taps))
    matrix = np.where(inside, taps[np.clip(tap, 0, len(taps) - 1)], 0)
    with torch.inference_mode(False):
        return torch.from_numpy(matrix).to(result)


def _banded(x: torch.Tensor, along_y: Array, along_x: Array, spec: Resample) -> torch.Tensor:
    planes, height, width = x.shape
    out_h, out_w = spec.out_size(height, width)
    (up_x, up_y), (down_x, down_y), (lo_x, _, lo_y, _) = spec.up, spec.down, spec.pads
    x_axis = _Axis.plan(len(along_x), up_x, down_x, lo_x, out_w, out_w if out_w <= _WHOLE else BLOCK)
    y_axis = _Axis.plan(len(along_y), up_y, down_y, lo_y, out_h, out_h if out_h <= _WHOLE else BLOCK)
    x_matrix = _matrix(along_x.tobytes(), along_x.dtype.str, up_x, down_x, lo_x, x_axis, x.dtype)
    y_matrix = _matrix(along_y.tobytes(), along_y.dtype.str, up_y, down_y, lo_y, y_axis, x.dtype).t()
    wide = x_axis.blocks * x_axis.block
    y = x.new_empty((planes, out_h, out_w))
    run = max(1, _CHUNK // (y_axis.reach * wide))  # channels
    for start in range(0, planes, run):
        part = _window(x[start : start + run], y_axis.base, y_axis.reach, x_axis.base, x_axis.reach)
        rows = part.unfold(2, x_axis.size, x_axis.step).reshape(-1, x_axis.size)
        half = (rows @ x_matrix).reshape(-1, y_axis.reach, wide)[:, :, :out_w]
        _multiply_rows(half, y_matrix, y_axis, y[start : start + run])
    return y


def _shifted(x: torch.Tensor, along_y: Array, along_x: Array, spec: Resample) -> torch.Tensor:
    # Sums of shifted copies. A shift by a row or a column of the padded channel is a shift of its memory, so
    # every sum runs over one straight stretch; what wraps around lands where the result is cut off.
    planes, height, width = x.shape
    out_h, out_w = spec.out_size(height, width)
    rows, columns = out_h + len(along_y) - 1, out_w + len(along_x) - 1
    y = x.new_empty((planes, out_h, out_w))
    run = max(1, _CHUNK // (rows * columns))
    for start in range(0, planes, run):
        part = _window(x[start : start + run], -spec.pads[2], rows, -spec.pads[0], columns)
        flat = part.reshape(-1)
        for taps, stride in ((along_x, 1), (along_y, columns)):
            length = flat.numel() - (len(taps) - 1) * stride
            total = flat[:length] * float(taps[0])
            for place, tap in enumerate(taps[1:], 1):
                total.add_(flat[place * stride : place * stride + length], alpha=float(tap))
            flat = total
        sides = (rows * columns, columns, 1)
        y[start : start + run] = flat.as_strided((len(part), out_h, out_w), sides)
    return y


def _multiply_rows(x: torch.Tensor, matrix: torch.Tensor, axis: _Axis, y: torch.Tensor) -> None:
    # Overlapping stretches of rows are views, so nothing is copied here.
    whole = y.shape[1] // axis.block
    rest = y.shape[1] - whole * axis.block
    planes, _, width = x.shape
    size, step, block = axis.size, axis.step, axis.block
    if planes < whole:
        for plane, result in zip(x, y, strict=True):
            stretches = plane.unfold(0, size, step)[:whole].transpose(1, 2)
            target = result[: whole * block].view(whole, block, width)
            torch.bmm(matrix.expand(whole, block, size), stretches, out=target)
    else:
        for index in range(whole):
            stretch = x[:, index * step : index * step + size]
            target = y[:, index * block : (index + 1) * block]
            torch.bmm(matrix.expand(planes, block, size), stretch, out=target)
    if rest:
        stretch = x[:, whole * step : whole * step + size]
        y[:, whole * block :] = torch.matmul(matrix[:rest], stretch)


def _window(x: torch.Tensor, top: int, rows: int, left: int, columns: int) -> torch.Tensor:
    # The given rows and columns of every channel; zeros where there are none.
    row, height, above = _overlap(x.shape[1], top, rows)
    column, width, before = _overlap(x.shape[2], left, columns)
    x = x[:, row : row + height, column : column + width]
    if (height, width) == (rows, columns):
        return x
    return functional.pad(x, (before, columns - before - width, above, rows - above - height))


def _overlap(size: int, start: int, length: int) -> tuple[int, int, int]:
    # Of samples start ... start + length - 1: the first that exists, how many do, and the zeros before them.
    first = min(max(start, 0), size)
    return first, max(min(start + length, size) - first, 0), min(max(-start, 0), length)


def convolved(x: torch.Tensor, spec: Resample, *, in_blocks: bool) -> torch.Tensor:
    """Resamples ``(channels, h, w)`` by convolutions with the taps of every phase.

    Args:
        x: The channels.
        spec: What to do.
        in_blocks: Treat channels as a batch and make a table of results at a time, as output channels; False
            goes channel by channel, with one output channel a phase.

    Returns:
        ``(channels, h', w')``.
    """
    out_h, out_w = spec.out_size(x.shape[1], x.shape[2])
    f = torch.ones((1, 1), device=x.device) if spec.f is None else spec.f
    f = f.to(x.dtype) if spec.flip else f.to(x.dtype).flip(list(range(f.ndim)))
    x_rule = f.shape[-1], spec.up[0], spec.down[0], spec.pads[0], out_w
    y_rule = f.shape[0], spec.up[1], spec.down[1], spec.pads[2], out_h
    if f.ndim == 2:
        return _convolve(x, f * spec.gain, x_rule, y_rule, in_blocks)
    f = f * spec.gain**0.5
    x = _convolve(x, f[None, :], x_rule, (1, 1, 1, 0, x.shape[1]), in_blocks)
    return _convolve(x, f[:, None], (1, 1, 1, 0, out_w), y_rule, in_blocks)


def _convolve(
    x: torch.Tensor, f: torch.Tensor, x_rule: tuple[int, ...], y_rule: tuple[int, ...], in_blocks: bool
) -> torch.Tensor:
    # A rule is (taps, up, down, lo, out).
    axes = []
    for (taps, up, down, lo, out), least in ((y_rule, _TABLE[0]), (x_rule, _TABLE[1])):
        axes.append(_Axis.plan(taps, up, down, lo, out, min(least, out) if in_blocks else 1))
    y_axis, x_axis = axes
    kernels = f.new_zeros((y_axis.block, x_axis.block, y_axis.size, x_axis.size))
    for row in range(y_axis.block):
        y_taps, y_places = _meet(row, y_axis, *y_rule[:4])
        for column in range(x_axis.block):
            x_taps, x_places = _meet(column, x_axis, *x_rule[:4])
            kernels[row, column, y_places, x_places] = f[y_taps, x_taps]
    x = _window(x, y_axis.base, y_axis.reach, x_axis.base, x_axis.reach)
    planes, stride, weights = len(x), (y_axis.step, x_axis.step), kernels.flatten(0, 1)[:, None]
    if in_blocks:
        y = functional.conv2d(x[:, None], weights, stride=stride)
    else:
        y = functional.conv2d(x[None], weights.repeat(planes, 1, 1, 1), stride=stride, groups=planes)
    blocks = y.reshape(planes, y_axis.block, x_axis.block, *y.shape[2:]).permute(0, 3, 1, 4, 2)
    y = blocks.reshape(planes, y_axis.blocks * y_axis.block, x_axis.blocks * x_axis.block)
    return y[:, : y_rule[4], : x_rule[4]]


def _meet(phase: int, axis: _Axis, taps: int, up: int, down: int, lo: int) -> tuple[slice, slice]:
    # The taps that meet samples for one result of a block, and the samples of the stretch that they meet.
    start = phase * down - lo
    first = -(-start // up)
    met = range(first * up - start, taps, up)
    return slice(met.start, None, up), slice(first - axis.base, first - axis.base + len(met))
