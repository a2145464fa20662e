"""Convolution with up- or downsampling in one step.

Karras et al. 2020. By definition: `upfirdn2d` up with the filter, a correlation with the weights, `upfirdn2d`
down with the filter; all padding happens once, at the start.

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, torch_utils/ops/conv2d_resample.py.
Differs: nothing in value. Convolutions commute, so the fast path runs the weights where the picture is small.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from evalkit.errors import UsageError
from reference_models.ops.resampling import Pads, Resample
from reference_models.ops.switch import is_fast
from reference_models.ops.upfirdn2d import Pair, filter_size, pads, pair, upfirdn2d


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Convolves, upsampling before or downsampling after.

    Args:
        x: ``(n, c_in, h, w)``.
        w: Weights ``(c_out, c_in / groups, k_y, k_x)``.
        f: Filter of `reference_models.ops.setup_filter` for the resampling.
        up: Factor of the size before the weights.
        down: Divisor of the size after them.
        padding: Of the upsampled picture, as `upfirdn2d` takes it; the sizes above hold with ``k // 2``.
        groups: Groups of channels that do not see each other.
        flip_weight: True correlates, as deep-learning libraries do; False mirrors the weights first.
        flip_filter: Correlate with ``f`` instead of convolving.

    Returns:
        ``(n, c_out, h', w')``.

    Raises:
        UsageError: The weights do not fit the picture, or nothing would be left of it.
    """
    if w.ndim != 4 or x.ndim != 4 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise UsageError(
            f"weights have shape (c_out, c_in / groups, k, k); given are {tuple(w.shape)} in {groups} groups "
            f"for pictures of shape {tuple(x.shape)}"
        )
    up, down = pair(up, "up")[0], pair(down, "down")[0]
    taps = filter_size(f)
    sides = list(pads(padding))
    for axis in range(2):
        if up > 1:
            sides[2 * axis] += (taps[axis] + up - 1) // 2
            sides[2 * axis + 1] += (taps[axis] - up) // 2
        if down > 1:
            sides[2 * axis] += (taps[axis] - down + 1) // 2
            sides[2 * axis + 1] += (taps[axis] - down) // 2
    all_pads = (sides[0], sides[1], sides[2], sides[3])
    _check_size(x, w, f, up, down, all_pads)
    if not flip_weight:
        w = w.flip([2, 3])
    route = _fast if is_fast() else _reference
    return route(x, w, f, up, down, all_pads, groups, flip_filter)


def _check_size(
    x: torch.Tensor, w: torch.Tensor, f: torch.Tensor | None, up: int, down: int, sides: Pads
) -> None:
    size = Resample(f if up > 1 else None, (up, up), (1, 1), sides).out_size(x.shape[2], x.shape[3])
    size = size[0] - w.shape[2] + 1, size[1] - w.shape[3] + 1
    if down > 1:
        size = Resample(f, (1, 1), (down, down)).out_size(*size) if min(size) > 0 else size
    if min(size) < 1:
        raise UsageError(
            f"nothing is left of a picture of {x.shape[2]} x {x.shape[3]} (h x w) under weights of "
            f"{w.shape[2]} x {w.shape[3]}, up={up}, down={down}; pad more"
        )


def _reference(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None,
    up: int,
    down: int,
    sides: Pads,
    groups: int,
    flip_filter: bool,
) -> torch.Tensor:
    first = f if up > 1 else None
    x = upfirdn2d(x, first, up=up, padding=sides, flip_filter=flip_filter, gain=up**2)
    x = functional.conv2d(x, w, groups=groups)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)


def _fast(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None,
    up: int,
    down: int,
    sides: Pads,
    groups: int,
    flip_filter: bool,
) -> torch.Tensor:
    k_y, k_x = w.shape[2:]
    pointwise = k_y == 1 and k_x == 1
    if up == 1 and down == 1:
        x_lo, x_hi, y_lo, y_hi = sides
        if x_lo == x_hi >= 0 and y_lo == y_hi >= 0:
            return functional.conv2d(x, w, padding=(y_lo, x_lo), groups=groups)
        return functional.conv2d(functional.pad(x, sides), w, groups=groups)
    if up == 1:
        if pointwise:
            x = upfirdn2d(x, f, down=down, padding=sides, flip_filter=flip_filter)
            return functional.conv2d(x, w, groups=groups)
        x = upfirdn2d(x, f, padding=sides, flip_filter=flip_filter)
        return functional.conv2d(x, w, stride=down, groups=groups)
    # The weights first, at the low rate: zeros between samples are what a transposed convolution skips. It
    # gives the whole support, so the k - 1 samples a "valid" correlation would lose come off the padding
    # instead.
    if pointwise:
        x = functional.conv2d(x, w, groups=groups)
    else:
        per_group = w.reshape(groups, -1, *w.shape[1:]).transpose(1, 2).flip([3, 4])
        x = functional.conv_transpose2d(x, per_group.flatten(0, 1), stride=up, groups=groups)
        x_lo, x_hi, y_lo, y_hi = sides
        sides = (x_lo - k_x + 1, x_hi + up - k_x, y_lo - k_y + 1, y_hi + up - k_y)
    first = up if pointwise else 1
    x = upfirdn2d(x, f, up=first, padding=sides, flip_filter=flip_filter, gain=up**2)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip_filter=flip_filter)
