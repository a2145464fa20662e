"""Images looked up at other positions: whole pixels exactly, others by band-limited resampling.

Paper: Karras et al. 2020 (arXiv:2006.06676), appendix B: reflect what lies outside, double the resolution
with the orthogonal filter sym6, look up bilinearly, halve the resolution with the same filter mirrored. The
identity is one up to rounding. As in NVlabs/stylegan2-ada-pytorch@6f160b3, training/augment.py, an image is
reflected once and is 0 beyond.

Differs: sym6 is not quite symmetric, and its middle (`wavelets.delay`) lies 0.4 samples beside the middle of
its taps; positions count from the former, so that no rotation shifts an image. Turns, flips and shifts by
whole pixels are exact where nothing else is done to the image.

Everything is linear in the image, and derivatives of any order exist: PyTorch has none of second order for
``grid_sample`` in all the versions that are supported, so its adjoint is an operation of its own here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reference_models.ops import setup_filter, upfirdn2d
from reference_models.training.augmentation.wavelets import SYM6, delay

_TAPS = len(SYM6)
_DELAY = delay(SYM6)
# Sides up to which two products with a full matrix double an image on a CPU sooner than a filter does.
_DENSE_TO = 32


def sym6() -> Tensor:
    """The filter as `warp` wants it: float32 ``(12,)`` of sum 1."""
    return setup_filter(SYM6)


def reflect(index: Tensor, side: int) -> Tensor:
    """Whole positions on an endlessly reflected axis (the edge is not repeated) as indices of its pixels."""
    folded = index.remainder(2 * (side - 1))
    return torch.minimum(folded, 2 * (side - 1) - folded)


def reflected(images: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Copies columns and rows, which may lie outside, where the image is reflected.

    Args:
        images: ``(n, c, r, r)``.
        columns: Whole numbers ``(n or 1, w)``.
        rows: Whole numbers ``(n or 1, h)``.

    Returns:
        ``(n, c, h, w)``.
    """
    n, c, side, _ = images.shape
    # The derivative of ``functional.pad`` is not deterministic on every device; this one can be.
    rows, columns = (reflect(index, side).to(images.device) for index in (rows, columns))
    tall = images.gather(2, rows[:, None, :, None].expand(n, c, -1, side))
    return tall.gather(3, columns[:, None, None, :].expand(n, c, rows.shape[1], -1))


def blit(images: Tensor, inverse: Tensor) -> Tensor:
    """Looks images up at whole pixels: nothing is computed, pixels are copied.

    Args:
        images: ``(n, c, r, r)``.
        inverse: ``(n, 3, 3)`` on the CPU: flips, quarter turns and whole shifts.

    Returns:
        Images of the same shape.
    """
    n, c, side, _ = images.shape
    place = torch.arange(side, dtype=inverse.dtype) - (side - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    at = inverse @ torch.stack([x.flatten(), y.flatten(), torch.ones(side * side, dtype=inverse.dtype)])
    column, row = (reflect((at[:, axis] + (side - 1) / 2).round().long(), side) for axis in (0, 1))
    index = (row * side + column).to(images.device)
    return images.flatten(2).gather(2, index[:, None].expand(-1, c, -1)).view(n, c, side, side)


def warp(images: Tensor, inverse: Tensor, taps: Tensor) -> Tensor:
    """Looks images up between pixels.

    Args:
        images: ``(n, c, r, r)``.
        inverse: ``(n, 3, 3)`` on the CPU, affine.
        taps: `sym6` on the device of the images.

    Returns:
        Images of the same shape.
    """
    side = images.shape[-1]
    middle = (side - 1) / 2
    # Sample i of an axis lies at 2 i + _DELAY when doubled; `fine` has all that the last filter reads.
    fine = 2 * (side - 1) + _TAPS
    to_place = _similar(0.5, -_DELAY / 2 - middle)
    to_fine = _similar(2.0, 2 * middle + _DELAY)
    theta = to_fine @ inverse.double() @ to_place
    starts, sizes = windows(theta, side, fine)
    doubled = double(images, starts, sizes, taps)
    shift = torch.eye(3, dtype=torch.float64).repeat(len(images), 1, 1)
    shift[:, :2, 2] = -2 * starts
    # From pixels to the coordinates of grid_sample, where -1 and 1 are the outer edges of the image.
    to_grid = _unit(doubled.shape[3], doubled.shape[2]).inverse() @ shift @ theta
    return upfirdn2d(lookup(doubled, _grid(to_grid, fine, images)), taps, down=2, flip_filter=True)


def windows(theta: Tensor, side: int, fine: int) -> tuple[Tensor, tuple[int, int]]:
    """The part of each reflected image that is looked at; all parts have the size of the largest.

    Args:
        theta: ``(n, 3, 3)`` from doubled positions of the result to those of the image.
        side: Of the images.
        fine: Of the doubled result.

    Returns:
        First column and row of each part, whole numbers ``(n, 2)``; columns and rows.
    """
    ends = torch.tensor([0.0, fine - 1.0], dtype=theta.dtype)
    corners = torch.cartesian_prod(ends, ends)
    at = (theta @ torch.cat([corners, torch.ones(4, 1, dtype=theta.dtype)], dim=1).T)[:, :2]
    # Doubled sample m reads the samples from (m - taps + 1) / 2 to m / 2; bilinear lookup reads two.
    lowest, highest = 1 - side, 2 * (side - 1)
    first = ((at.amin(dim=2) - _TAPS) / 2).floor().clamp(lowest, highest).long()
    last = ((at.amax(dim=2) + 1) / 2).ceil().clamp(lowest, highest).long()
    size = (last - first + 1).amax(dim=0)
    width, height = size.tolist()
    return torch.minimum(first, highest + 1 - size), (width, height)


def double(images: Tensor, starts: Tensor, sizes: tuple[int, int], taps: Tensor) -> Tensor:
    """Doubles the resolution of parts of reflected images.

    The outermost ten pixels can lack what lies outside the part; `windows` leaves that much around.

    Args:
        images: ``(n, c, r, r)``.
        starts: First column and row of each part, ``(n, 2)`` on the CPU.
        sizes: Columns and rows of the parts.
        taps: `sym6` on the device of the images.

    Returns:
        ``(n, c, h, w)``; a part of s pixels has ``2 (s - 1) + 12`` when doubled.
    """
    side = images.shape[-1]
    if images.device.type == "cpu" and side <= _DENSE_TO:
        whole = _doubling(side, taps).to(images.dtype)
        across, down = (
            whole[2 * (starts[:, axis, None] + side - 1) + torch.arange(2 * (sizes[axis] - 1) + _TAPS)]
            for axis in (0, 1)
        )
        wide = images.flatten(1, 2) @ across.mT
        n, c = images.shape[:2]
        return down[:, None] @ wide.view(n, c, side, -1)
    columns, rows = (starts[:, axis, None] + torch.arange(sizes[axis]) for axis in (0, 1))
    return upfirdn2d(reflected(images, columns, rows), taps, up=2, padding=(_TAPS - 1, _TAPS - 2) * 2, gain=4)


def _doubling(side: int, taps: Tensor) -> Tensor:
    # Reflection and doubling along one axis as a matrix (doubled, side): pixel i adds the taps at 2 i.
    source = reflect(torch.arange(1 - side, 2 * side - 1), side)
    rows = 2 * torch.arange(len(source))[:, None] + torch.arange(_TAPS)
    matrix = taps.new_zeros(2 * (len(source) - 1) + _TAPS, side)
    columns = source[:, None].expand_as(rows)
    return matrix.index_put((rows, columns), 2 * taps.expand_as(rows), accumulate=True)


def _grid(to_grid: Tensor, fine: int, like: Tensor) -> Tensor:
    # Where each doubled pixel is looked up: the sum of what its column and its row contribute.
    at = torch.arange(fine, dtype=to_grid.dtype)
    across = to_grid[:, :2, 0, None] * at
    down = to_grid[:, :2, 1, None] * at + to_grid[:, :2, 2, None]
    across, down = across.to(like), down.to(like)
    return (across[:, :, None] + down[:, :, :, None]).permute(0, 2, 3, 1)


def lookup(images: Tensor, grid: Tensor) -> Tensor:
    """Bilinear ``grid_sample`` with zeros outside, with derivatives of any order in ``images`` alone.

    Args:
        images: ``(n, c, h, w)``.
        grid: ``(n, h', w', 2)``, as ``grid_sample`` takes it without aligned corners.

    Returns:
        ``(n, c, h', w')``.
    """
    found: Tensor = _Lookup.apply(images, grid)
    return found


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:  # noqa: ANN401 - autograd's own
        ctx.save_for_backward(grid)
        ctx.size = images.shape
        return functional.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (grid,) = ctx.saved_tensors
        back: Tensor = _Scatter.apply(grad, grid, ctx.size)
        return back, None


class _Scatter(torch.autograd.Function):
    """The adjoint of `_Lookup`."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, grid: Tensor, size: torch.Size) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(grid)
        if grad.is_cuda and torch.are_deterministic_algorithms_enabled():
            return scatter(grad, grid, size)
        # The images themselves matter to the derivative in the grid only, which is not asked for.
        nothing = grad.new_zeros(1).expand(size)
        back: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            grad.contiguous(), nothing, grid, 0, 0, False, [True, False]
        )[0]
        return back

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (grid,) = ctx.saved_tensors
        back: Tensor = _Lookup.apply(grad, grid)
        return back, None, None


def scatter(grad: Tensor, grid: Tensor, size: Sequence[int]) -> Tensor:
    """The adjoint of `lookup` as a sum of four parts, deterministic where PyTorch is asked to be.

    Args:
        grad: ``(n, c, h', w')``.
        grid: ``(n, h', w', 2)``.
        size: ``(n, c, h, w)`` of the result.

    Returns:
        ``(n, c, h, w)``.
    """
    n, c, height, width = size
    x, y = (((grid[..., axis] + 1) * extent - 1) / 2 for axis, extent in ((0, width), (1, height)))
    values = grad.permute(0, 2, 3, 1)
    first = torch.arange(n, device=grad.device)[:, None, None] * (height * width)
    back = grad.new_zeros(n * height * width, c)
    for column in (x.floor(), x.floor() + 1):
        for row in (y.floor(), y.floor() + 1):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
            place = (first + row.long() * width + column.long()) * inside
            back.index_add_(0, place.flatten(), (values * weight[..., None]).reshape(-1, c))
    return back.view(n, height, width, c).permute(0, 3, 1, 2).contiguous()


def _similar(factor: float, offset: float) -> Tensor:
    return torch.tensor([[factor, 0, offset], [0, factor, offset], [0, 0, 1]], dtype=torch.float64)


def _unit(width: int, height: int) -> Tensor:
    # From [-1, 1] to pixels, whose middles are whole numbers.
    return torch.tensor(
        [[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )
