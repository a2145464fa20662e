"""What a picture looks like after it moved: shifts and rotations with masks of the pixels that can be known.

Karras et al. 2021, appendix E; official file NVlabs/stylegan3@c233a91 metrics/equivariance.py. Images are
float tensors ``(n, c, h, w)``; masks ``(1, 1, h, w)`` of the same type hold 1 where a pixel counts. Shifts
are shares of the width (to the right) and of the height (down); angles are in radians. All of a batch moves
alike.

A shift by fractions is a windowed sinc of `LANCZOS` lobes. A rotation needs a filter whose pass band is the
intersection of the two pixel grids' own, the old one's and the turned one's: `bandlimit_filter`. Deviation:
filters are designed in float64 and rounded once.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

LANCZOS = 3  # a, half width of the window in pixels
FILTER_REACH = 6  # amax, half width of the filter of rotations
UPSAMPLING = 4  # pixels of a rotation are taken from an image so many times larger
_SUPPORT = 64  # half width of the grid that filters are designed on


def integer_shift(x: Tensor, tx: float, ty: float) -> tuple[Tensor, Tensor]:
    """Shifts by whole pixels: ``tx`` of the width and ``ty`` of the height, rounded half to even in float32.

    Args:
        x: Images.
        tx: Share of the width, to the right.
        ty: Share of the height, down.

    Returns:
        The shifted images, 0 where nothing is known, and the mask; all 0 where a shift leaves the image.
    """
    height, width = x.shape[-2:]
    ix, iy = _whole_pixels(tx, width), _whole_pixels(ty, height)
    moved, mask = torch.zeros_like(x), _zeros(x)
    if abs(ix) < width and abs(iy) < height:
        to = (_span(iy, height), _span(ix, width))
        moved[..., to[0], to[1]] = x[..., _span(-iy, height), _span(-ix, width)]
        mask[..., to[0], to[1]] = 1
    return moved, mask


def snap(tx: float, ty: float, height: int, width: int) -> tuple[float, float]:
    """The shifts that `integer_shift` makes of ``tx`` and ``ty``, as shares again."""
    return _whole_pixels(tx, width) / width, _whole_pixels(ty, height) / height


def fractional_shift(x: Tensor, tx: float, ty: float) -> tuple[Tensor, Tensor]:
    """Shifts by any share of the image, by a Lanczos window of the sinc.

    Args:
        x: Images.
        tx: Share of the width, to the right.
        ty: Share of the height, down.

    Returns:
        The shifted images, and the mask of those pixels whose filter lies inside the image.
    """
    height, width = x.shape[-2:]
    moved = _shift_last(x, tx * width)
    moved = _shift_last(moved.transpose(-1, -2), ty * height).transpose(-1, -2)
    mask = _zeros(x)
    mask[..., _known(ty * height, height), _known(tx * width, width)] = 1
    return moved, mask


def rotation(angle: float) -> FloatArray:
    """The 3x3 matrix of a rotation in image coordinates, where y points down."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def fractional_rotation(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Rotates about the centre, band-limited for both grids, and resamples.

    Args:
        x: Images.
        angle: Radians.

    Returns:
        The rotated images and the mask.
    """
    kernel = bandlimit_filter(rotation(angle), up=UPSAMPLING)
    pad = kernel.shape[0] // 2
    large = _upsample(x, torch.from_numpy(kernel).to(x), pad)
    inside = torch.zeros_like(large[:1, :1])
    border = 2 * pad + 1
    inside[..., border:-border, border:-border] = 1
    height, width = x.shape[-2:]
    # Where each pixel comes from, in units of half an image: `rotation` of minus the angle, and the half
    # pixel by which the first pixel of the large image lies outside that of the small one.
    back = np.linalg.inv(rotation(angle))
    ys, xs = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    from_x = back[0, 0] * xs + back[0, 1] * ys + 1 / (UPSAMPLING * width)
    from_y = back[1, 0] * xs + back[1, 1] * ys + 1 / (UPSAMPLING * height)
    from_x *= width / (width + 2 * pad / UPSAMPLING)
    from_y *= height / (height + 2 * pad / UPSAMPLING)
    grid = torch.from_numpy(np.stack([from_x, from_y], axis=-1)[None]).to(x)
    turned = functional.grid_sample(
        large, grid.expand(len(x), -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    mask = functional.grid_sample(inside, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned, mask


def fractional_pseudo_rotation(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Filters as `fractional_rotation` would, and leaves the pixels where they are.

    What a network made under a rotated input is compared with a rotated image, which has lost the
    frequencies that only one of the grids can hold; this takes the same ones.

    Args:
        x: Images.
        angle: Radians, of the rotation of the other image.

    Returns:
        The filtered images and the mask.
    """
    kernel = bandlimit_filter(rotation(-angle), up=1)
    pad = kernel.shape[0] // 2
    flat = x.reshape(-1, 1, *x.shape[-2:])
    kept = functional.conv2d(flat, torch.from_numpy(kernel.copy()).to(x)[None, None], padding=pad)
    mask = _zeros(x)
    mask[..., pad:-pad, pad:-pad] = 1
    return kept.reshape(x.shape), mask


def bandlimit_filter(
    matrix: FloatArray, *, up: int, a: int = LANCZOS, reach: int = FILTER_REACH
) -> FloatArray:
    """The low-pass filter whose pass band both pixel grids can hold: the unit one, and its image.

    Args:
        matrix: 3x3; its upper left 2x2 maps the first grid to the second.
        up: Taps per pixel.
        a: Half width of the window, in pixels.
        reach: Half width of the filter, in pixels.

    Returns:
        float64 ``(2 reach up - 1, 2 reach up - 1)``. Each of its ``up²`` phases sums to ``1 / up²``.
    """
    xs, ys, band_of_first, window_of_first = _first_grid(up, a)
    turned = (matrix[0, 0] * xs + matrix[0, 1] * ys, matrix[1, 0] * xs + matrix[1, 1] * ys)
    band = band_of_first * _spectrum(np.sinc(turned[0]) * np.sinc(turned[1]))
    window = window_of_first * _spectrum(lanczos_window(turned[0], a) * lanczos_window(turned[1], a))
    # Circular convolutions, with the origin at index 0.
    full = np.fft.fftshift(np.fft.irfft2(band, s=xs.shape) * np.fft.irfft2(window, s=xs.shape))
    cut = (_SUPPORT - reach) * up
    kernel = np.zeros((2 * reach * up, 2 * reach * up))
    kernel[:-1, :-1] = full[cut : len(full) - cut, cut : len(full) - cut]
    phases = kernel.reshape(2 * reach, up, 2 * reach, up)
    phases /= phases.sum(axis=(0, 2), keepdims=True) * up**2
    return kernel[:-1, :-1]


def lanczos_window(x: FloatArray, a: int) -> FloatArray:
    """``sinc(x / a)`` within ``a`` pixels of 0, else 0."""
    window: FloatArray = np.where(np.abs(x) < a, np.sinc(x / a), 0.0)
    return window


@functools.lru_cache(maxsize=4)
def _first_grid(up: int, a: int) -> tuple[FloatArray, FloatArray, ComplexArray, ComplexArray]:
    # Places of the taps, and the spectra of the unit grid's band and window: the same for every matrix.
    places = np.arange(-_SUPPORT * up + 1, _SUPPORT * up) / up
    ys, xs = np.meshgrid(places, places, indexing="ij")
    return (
        xs, ys, _spectrum(np.sinc(xs) * np.sinc(ys)), _spectrum(lanczos_window(xs, a) * lanczos_window(ys, a))
    )  # fmt: skip


def _spectrum(values: FloatArray) -> ComplexArray:
    found: ComplexArray = np.fft.rfft2(np.fft.ifftshift(values))
    return found


def _upsample(x: Tensor, kernel: Tensor, pad: int) -> Tensor:
    # UPSAMPLING times larger, plus ``pad`` pixels on every side; the transposed convolution multiplies none
    # of the zeros between the pixels.
    height, width = x.shape[-2:]
    side = kernel.shape[0]
    flat = x.reshape(-1, 1, height, width)
    large = functional.conv_transpose2d(flat, kernel[None, None] * UPSAMPLING**2, stride=UPSAMPLING)
    before = pad + (side + UPSAMPLING - 1) // 2 - (side - 1)
    after = [
        UPSAMPLING * size + 2 * pad - before - large.shape[axis] for axis, size in ((-1, width), (-2, height))
    ]
    large = functional.pad(large, (before, after[0], before, after[1]))
    return large.reshape(*x.shape[:-2], *large.shape[-2:])


def _shift_last(x: Tensor, shift: float) -> Tensor:
    # By ``shift`` pixels to higher indices along the last axis.
    whole = math.floor(shift)
    taps = np.arange(-LANCZOS + 1, LANCZOS + 1) - (shift - whole)
    weights = np.sinc(taps) * np.sinc(taps / LANCZOS)
    weights /= weights.sum()
    size = x.shape[-1]
    kernel = torch.from_numpy(weights[::-1].copy()).to(x)[None, None]
    full = functional.conv1d(x.reshape(-1, 1, size), kernel, padding=2 * LANCZOS - 1).reshape(
        *x.shape[:-1], -1
    )
    moved = torch.zeros_like(x)
    start = whole - LANCZOS + 1  # where the first value of ``full`` falls
    low, high = max(start, 0), min(start + full.shape[-1], size)
    if low < high:
        moved[..., low:high] = full[..., low - start : high - start]
    return moved


def _known(shift: float, size: int) -> slice:
    # Places whose filter lies inside.
    whole = math.floor(shift)
    low, high = max(whole + LANCZOS, 0), min(whole - LANCZOS + 1, 0) + size
    return slice(low, max(low, high))


def _span(shift: int, size: int) -> slice:
    # Where the pixels that stay inside fall.
    return slice(max(shift, 0), size + min(shift, 0))


def _whole_pixels(share: float, size: int) -> int:
    return int(np.rint(np.float32(share) * np.float32(size)))


def _centres(size: int) -> FloatArray:
    # Centres of pixels, in units of half an image.
    return (2 * np.arange(size) + 1) / size - 1


def _zeros(x: Tensor) -> Tensor:
    return x.new_zeros(1, 1, *x.shape[-2:])
