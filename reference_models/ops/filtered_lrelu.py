"""Filtered leaky ReLU: the nonlinearity at a higher sampling rate, so that it does not alias.

Karras et al. 2021 ("Alias-free generative adversarial networks", section 3.2): add the bias, upsample with
``fu``, leaky ReLU, gain, clamp, downsample with ``fd``.

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, torch_utils/ops/filtered_lrelu.py.
Differs: no CUDA extension. The fast path keeps the input alone for the backward pass; on a GPU with Triton it
is one kernel (`reference_models.ops.triton_kernels`). Filters that require grad take the reference path.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from evalkit.errors import UsageError
from reference_models.ops.bias_act import bias_act
from reference_models.ops.resampling import Context, Resample
from reference_models.ops.switch import is_fast
from reference_models.ops.upfirdn2d import (
    Pair,
    check,
    learns,
    pads,
    pair,
    reference,
    run_resample,
    triton_for,
)

# Samples of the high rate that the fast path holds at a time on a CPU.
_CHUNK = 1 << 18
_TOGETHER = 16


class Point(NamedTuple):
    """The nonlinearity at one point: ``clamp(gain * lrelu(v))``."""

    gain: float
    slope: float
    clamp: float | None

    def apply_(self, v: torch.Tensor) -> torch.Tensor:
        """The nonlinearity, in place."""
        functional.leaky_relu_(v, self.slope)
        if self.gain != 1:
            v.mul_(self.gain)
        return v if self.clamp is None else v.clamp_(-self.clamp, self.clamp)

    def scale_(self, v: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Multiplies ``v`` by the derivative at ``at``, in place; ``at`` is spent."""
        torch.ops.aten.leaky_relu_backward(v, at, self.slope, False, grad_input=v)
        if self.clamp is not None:
            limit = self.clamp / abs(self.gain) if self.gain else math.inf
            functional.leaky_relu_(at, self.slope)
            torch.ops.aten.hardtanh_backward(v, at, -limit, limit, grad_input=v)
        return v.mul_(self.gain)


def filtered_lrelu(
    x: torch.Tensor,
    fu: torch.Tensor | None = None,
    fd: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Leaky ReLU between an upsampling and a downsampling filter.

    Args:
        x: ``(n, c, h, w)``.
        fu: Upsampling filter, as `upfirdn2d` takes it; None is the identity.
        fd: Downsampling filter.
        b: Bias ``(c,)``, added before upsampling.
        up: Upsampling factor; the gain ``up ** 2`` that keeps the brightness is applied.
        down: Downsampling factor.
        padding: Of the upsampled picture, as `upfirdn2d` takes it.
        gain: Factor after the leaky ReLU.
        slope: Of the leaky ReLU below zero.
        clamp: Limit of the absolute value at the higher rate; None is no limit.
        flip_filter: Correlate with both filters instead of convolving.

    Returns:
        ``(n, c, h', w')`` with ``h' = (h * up + pads - (taps_u - 1) - (taps_d - 1) + down - 1) // down``.

    Raises:
        UsageError: A shape does not fit, or nothing would be left of the picture.
    """
    first = Resample(fu, pair(up, "up"), (1, 1), pads(padding), flip_filter, float(up**2))
    last = Resample(fd, (1, 1), pair(down, "down"), (0, 0, 0, 0), flip_filter, 1.0)
    check(x, first)
    if b is not None and tuple(b.shape) != (x.shape[1],):
        raise UsageError(
            f"the bias of {x.shape[1]} channels has shape ({x.shape[1]},); given {tuple(b.shape)}"
        )
    if clamp is not None and clamp < 0:
        raise UsageError(f"clamp is {clamp}; it limits the absolute value, give 0 or more, or None")
    middle = first.out_size(x.shape[2], x.shape[3])
    if min(last.out_size(*middle)) < 1:
        raise UsageError(
            f"nothing is left of a picture of {x.shape[2]} x {x.shape[3]} after filters of {first.taps} and "
            f"{last.taps} taps; pad more"
        )
    if b is not None:
        x = x + b.to(x.dtype).reshape(1, -1, 1, 1)
    if is_fast() and not learns(fu) and not learns(fd) and not x.is_meta:
        return _fast(x, first, last, gain, slope, clamp)
    return _reference(x, first, last, gain, slope, clamp)


def _reference(
    x: torch.Tensor, first: Resample, last: Resample, gain: float, slope: float, clamp: float | None
) -> torch.Tensor:
    x = functional.leaky_relu(reference(x, first), slope) * gain
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return reference(x, last)


def _fast(
    x: torch.Tensor, first: Resample, last: Resample, gain: float, slope: float, clamp: float | None
) -> torch.Tensor:
    point = Point(gain, slope, clamp)
    if first.is_identity and last.is_identity:
        return bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    result: torch.Tensor = _Sandwich.apply(x, None, first, None, last, point)
    return result


class _Sandwich(torch.autograd.Function):
    """Resample, nonlinearity, resample; with ``at``, its derivative there in place of the nonlinearity.

    The derivative of the nonlinearity is constant between its kinks. So the derivative of the whole is a
    linear operation of the same kind, with the stages transposed and swapped, and so is the derivative of
    that. Only the input is kept; the picture of the high rate is made again when it is needed.
    """

    @staticmethod
    def forward(
        ctx: Context,
        x: torch.Tensor,
        at: torch.Tensor | None,
        first: Resample,
        ref: Resample | None,
        last: Resample,
        point: Point,
    ) -> torch.Tensor:
        ctx.save_for_backward(x if at is None else at)
        ctx.size = x.shape[2:]
        ctx.stages = first, first if ref is None else ref, last, point
        return _sandwich(x, at, first, ref, last, point)

    @staticmethod
    def backward(ctx: Context, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        first, ref, last, point = ctx.stages
        middle = first.out_size(*ctx.size)
        at = ctx.saved_tensors[0].detach()
        back: torch.Tensor = _Sandwich.apply(
            grad, at, last.transposed(*middle), ref, first.transposed(*ctx.size), point
        )
        return back, None, None, None, None, None


def _sandwich(
    x: torch.Tensor,
    at: torch.Tensor | None,
    first: Resample,
    ref: Resample | None,
    last: Resample,
    point: Point,
) -> torch.Tensor:
    kernels = triton_for(x)
    if kernels is not None and kernels.fits(x, first, ref, last):
        made: torch.Tensor = kernels.sandwich(x, at, first, ref, last, *point)
        return made
    # In runs of channels, so that the picture of the high rate stays in the cache.
    n, c, height, width = x.shape
    mid_h, mid_w = first.out_size(height, width)
    out_h, out_w = last.out_size(mid_h, mid_w)
    y = x.new_empty((n * c, 1, out_h, out_w))
    planes = x.reshape(n * c, 1, height, width)
    places = None if at is None else at.reshape(n * c, 1, *at.shape[2:])
    # A filter that does not separate is quicker on several channels at a time.
    least = _TOGETHER if any(part.f is not None and part.f.ndim == 2 for part in (first, last)) else 1
    run = max(least, _CHUNK // (mid_h * mid_w)) if x.device.type == "cpu" else n * c
    for start in range(0, n * c, run):
        value = run_resample(planes[start : start + run], first)
        if places is None or ref is None:
            value = point.apply_(value)
        else:
            value = point.scale_(value, run_resample(places[start : start + run], ref))
        y[start : start + run] = run_resample(value, last)
    return y.reshape(n, c, out_h, out_w)
