"""Upsample, filter, downsample: zero insertion, padding, an FIR filter and subsampling as one operation.

Karras et al. 2020 and 2021; the resampling primitive of StyleGAN2 and StyleGAN3. Per channel: insert ``up -
1`` zeros after every sample (also after the last), pad or crop, convolve ("valid" extent, the filter mirrored
as a convolution does; ``flip_filter`` correlates instead), keep every ``down``-th sample, multiply by
``gain``.

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, torch_utils/ops/upfirdn2d.py. Differs: no
CUDA extension; the fast path never multiplies by an inserted zero (`reference_models.ops.polyphase`), and on
a GPU with Triton it is one kernel (`reference_models.ops.triton_kernels`). The fast path gives derivatives of
any order with respect to ``x``; a filter that requires grad takes the reference path. On a CPU a value that
is not finite makes not only its window but its block of the channel not finite.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType

import torch
from torch.nn import functional

from evalkit.errors import UsageError
from reference_models.ops import polyphase
from reference_models.ops.resampling import Context, Pads, Resample
from reference_models.ops.switch import is_fast

Pair = int | Sequence[int]


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    up: Pair = 1,
    down: Pair = 1,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Upsamples, filters and downsamples every channel.

    Args:
        x: Floats ``(n, c, h, w)``.
        f: Filter of `reference_models.ops.setup_filter`: ``(taps,)``, used along both axes (each pass carries
            the root of the gain), or ``(taps_y, taps_x)``; None is the identity.
        up: Zeros are inserted to this factor; one number or (x, y).
        down: One sample of so many is kept; one number or (x, y).
        padding: One number, (x, y) or (x_lo, x_hi, y_lo, y_hi), counted after upsampling; negative crops.
        flip_filter: Correlate instead of convolve.
        gain: Factor of the result.

    Returns:
        ``(n, c, h', w')`` with ``h' = (h * up + y_lo + y_hi - taps_y + down) // down``, ``w'`` likewise.

    Raises:
        UsageError: An argument has another shape, or nothing would be left of the picture.
    """
    spec = Resample(f, pair(up, "up"), pair(down, "down"), pads(padding), flip_filter, float(gain))
    check(x, spec)
    return resample(x, spec)


def filter2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """`upfirdn2d` that keeps the size (``padding`` comes on top)."""
    return _sized(x, f, (1, 1), (1, 1), padding, flip_filter, gain)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    up: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """`upfirdn2d` that multiplies the size by ``up`` and keeps the brightness (``padding`` comes on top)."""
    return _sized(x, f, pair(up, "up"), (1, 1), padding, flip_filter, gain)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    *,
    down: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """`upfirdn2d` that divides the size by ``down`` (``padding`` comes on top)."""
    return _sized(x, f, (1, 1), pair(down, "down"), padding, flip_filter, gain)


def resample(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """`upfirdn2d` for arguments that were checked before."""
    if not is_fast() or learns(spec.f) or x.is_meta:
        return reference(x, spec)
    if spec.is_identity:
        return x if spec.gain == 1 else x * spec.gain
    result: torch.Tensor = _Resample.apply(x, spec)
    return result


def reference(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """The definition, step by step."""
    n, c, height, width = x.shape
    (up_x, up_y), (down_x, down_y) = spec.up, spec.down
    x_lo, x_hi, y_lo, y_hi = spec.pads
    x = x.reshape(n, c, height, 1, width, 1)
    x = functional.pad(x, (0, up_x - 1, 0, 0, 0, up_y - 1))
    x = x.reshape(n, c, height * up_y, width * up_x)
    x = functional.pad(x, (max(x_lo, 0), max(x_hi, 0), max(y_lo, 0), max(y_hi, 0)))
    x = x[:, :, max(-y_lo, 0) : x.shape[2] - max(-y_hi, 0), max(-x_lo, 0) : x.shape[3] - max(-x_hi, 0)]
    if spec.f is None:
        x = x * spec.gain
    else:
        f = (spec.f * spec.gain ** (spec.f.ndim / 2)).to(x.dtype)
        if not spec.flip:
            f = f.flip(list(range(f.ndim)))
        for kernel in [f] if f.ndim == 2 else [f[None, :], f[:, None]]:
            x = functional.conv2d(x, kernel.expand(c, 1, -1, -1), groups=c)
    return x[:, :, ::down_y, ::down_x]


class _Resample(torch.autograd.Function):
    """The fast path. Its derivative is the adjoint, an operation of the same kind: any order follows."""

    @staticmethod
    def forward(ctx: Context, x: torch.Tensor, spec: Resample) -> torch.Tensor:
        ctx.spec = spec
        ctx.size = x.shape[2:]
        return run_resample(x, spec)

    @staticmethod
    def backward(ctx: Context, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        back: torch.Tensor = _Resample.apply(grad, ctx.spec.transposed(*ctx.size))
        return back, None


def run_resample(x: torch.Tensor, spec: Resample) -> torch.Tensor:
    """The fast path without a graph for autograd."""
    kernels = triton_for(x)
    made: torch.Tensor = polyphase.run(x, spec) if kernels is None else kernels.upfirdn2d(x, spec)
    return made


def triton_for(x: torch.Tensor) -> ModuleType | None:
    """The module of Triton kernels where it can serve ``x``, else None."""
    if x.device.type != "cuda" and not (x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET")):
        return None
    kernels = _kernels()
    return kernels if kernels is not None and kernels.usable(x.device) else None


@functools.cache
def _kernels() -> ModuleType | None:
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("reference_models.ops.triton_kernels")


def learns(f: torch.Tensor | None) -> bool:
    """Whether somebody asks for derivatives with respect to a filter."""
    return f is not None and f.requires_grad and torch.is_grad_enabled()


def pair(value: Pair, name: str) -> tuple[int, int]:
    """A factor as (x, y)."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(part, int) and part >= 1 for part in both):
        raise UsageError(f"{name} is {value!r}; give one whole number of at least 1, or two: (x, y)")
    return both[0], both[1]


def pads(value: Pair) -> Pads:
    """Padding as (x_lo, x_hi, y_lo, y_hi)."""
    parts = (value, value) if isinstance(value, int) else tuple(value)
    if len(parts) not in (2, 4) or not all(isinstance(part, int) for part in parts):
        raise UsageError(
            f"padding is {value!r}; give one whole number, two (x, y), or four (x_lo, x_hi, y_lo, y_hi)"
        )
    if len(parts) == 2:
        return parts[0], parts[0], parts[1], parts[1]
    return parts[0], parts[1], parts[2], parts[3]


def check(x: torch.Tensor, spec: Resample) -> None:
    """Raises a `UsageError` where ``spec`` cannot be applied to ``x``."""
    if x.ndim != 4 or not x.is_floating_point():
        raise UsageError(
            f"pictures are floats of shape (n, c, h, w); given are {x.dtype} of shape {tuple(x.shape)}"
        )
    if spec.f is not None and (spec.f.ndim not in (1, 2) or spec.f.numel() == 0):
        raise UsageError(
            f"a filter has shape (taps,) or (taps_y, taps_x); given is {tuple(spec.f.shape)}: prepare it "
            "with setup_filter"
        )
    height, width = spec.out_size(x.shape[2], x.shape[3])
    if height < 1 or width < 1:
        taps_x, taps_y = spec.taps
        raise UsageError(
            f"nothing is left of a picture of {x.shape[2]} x {x.shape[3]} (h x w) under up={spec.up}, "
            f"padding={spec.pads} and a filter of {taps_y} x {taps_x} taps; pad more or filter less"
        )


def filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """Taps of a prepared filter along x and y."""
    return Resample(f).taps


def _sized(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: Pair,
    flip: bool,
    gain: float,
) -> torch.Tensor:
    extra = pads(padding)
    sides = []
    for axis, taps in enumerate(filter_size(f)):
        if max(up) > 1:
            lo, hi = (taps + up[axis] - 1) // 2, (taps - up[axis]) // 2
        else:
            lo, hi = (taps - down[axis] + 1) // 2, (taps - down[axis]) // 2
        sides += [lo, hi]
    total = tuple(side + more for side, more in zip(sides, extra, strict=True))
    return upfirdn2d(x, f, up=up, down=down, padding=total, flip_filter=flip, gain=gain * up[0] * up[1])
