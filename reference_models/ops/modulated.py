"""Modulated convolutions: one set of weights, scaled per sample and input channel by a style.

StyleGAN2 (Karras et al. 2020, section 2.2 and equations 1 and 3) and StyleGAN3 (Karras et al. 2021, where weights
and styles are normalised first and an input gain follows the demodulation).

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, training/networks_stylegan2.py and
networks_stylegan3.py. Differs: the fast path computes the demodulation factors from sums over the kernel, without
laying out one set of weights a sample.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from evalkit.errors import UsageError
from reference_models.ops.conv2d_resample import conv2d_resample
from reference_models.ops.upfirdn2d import Pair

_EPS = 1e-8
_HALF = (torch.float16, torch.bfloat16)


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    noise: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    resample_filter: torch.Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused: bool = True,
) -> torch.Tensor:
    """Modulated convolution of StyleGAN2.

    Args:
        x: ``(n, c_in, h, w)``.
        weight: ``(c_out, c_in, k, k)``.
        styles: Scales ``(n, c_in)``.
        noise: Added to the result; of a shape that broadcasts to it.
        up: Upsampling factor.
        down: Downsampling factor.
        padding: As `conv2d_resample` takes it.
        resample_filter: Filter for ``up`` and ``down``.
        demodulate: Scale every sample's output channels to unit weight norm.
        flip_weight: True correlates, False mirrors the weights.
        fused: Scale the weights (one set a sample); False scales the activations instead.

    Returns:
        ``(n, c_out, h', w')``.

    Raises:
        UsageError: Shapes do not fit.
    """
    _check(x, weight, styles)
    if demodulate and x.dtype in _HALF:
        # Without this, products of large weights and styles overflow; demodulation takes the factors out again.
        fan_in = weight[0].numel()
        weight = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) * fan_in**0.5)
        styles = styles / styles.abs().amax(dim=1, keepdim=True)

    def convolve(pictures: torch.Tensor, kernels: torch.Tensor, groups: int) -> torch.Tensor:
        return conv2d_resample(
            pictures,
            kernels.to(pictures.dtype),
            resample_filter,
            up=up,
            down=down,
            padding=padding,
            groups=groups,
            flip_weight=flip_weight,
        )

    if fused:
        kernels = weight[None] * styles[:, None, :, None, None]
        if demodulate:
            kernels = kernels * _demodulation(kernels)[:, :, None, None, None]
        y = _grouped(x, kernels, convolve)
    else:
        y = convolve(x * styles.to(x.dtype)[:, :, None, None], weight, 1)
        if demodulate:
            factors = _demodulation(weight[None] * styles[:, None, :, None, None])
            y = y * factors.to(x.dtype)[:, :, None, None]
    return y if noise is None else y + noise.to(x.dtype)


def modulated_conv2d_equivariant(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool = True,
    padding: Pair = 0,
    input_gain: torch.Tensor | None = None,
) -> torch.Tensor:
    """Modulated convolution of StyleGAN3.

    Args:
        x: ``(n, c_in, h, w)``.
        weight: ``(c_out, c_in, k, k)``.
        styles: Scales ``(n, c_in)``.
        demodulate: Normalise weights and styles (over the whole batch) first, then scale every sample's output
            channels to unit weight norm.
        padding: One number or (x, y).
        input_gain: Factor of the input after demodulation: ``()``, ``(c_in,)`` or ``(n, c_in)``.

    Returns:
        ``(n, c_out, h', w')``.

    Raises:
        UsageError: Shapes do not fit.
    """
    _check(x, weight, styles)
    if demodulate:
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        styles = styles * styles.square().mean().rsqrt()
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels * _demodulation(kernels)[:, :, None, None, None]
    if input_gain is not None:
        kernels = kernels * input_gain.expand(x.shape[0], x.shape[1])[:, None, :, None, None]

    def convolve(pictures: torch.Tensor, kernels: torch.Tensor, groups: int) -> torch.Tensor:
        return conv2d_resample(pictures, kernels.to(pictures.dtype), padding=padding, groups=groups)

    return _grouped(x, kernels, convolve)


def _grouped(x, kernels, convolve):
    n, c_out = kernels.shape[:2]
    y = convolve(x.reshape(1, -1, *x.shape[2:]), kernels.reshape(n * c_out, *kernels.shape[2:]), n)
    return y.reshape(n, c_out, *y.shape[2:])


def _demodulation(kernels: torch.Tensor) -> torch.Tensor:
    # One factor for every sample and output channel.
    return (kernels.square().sum(dim=(2, 3, 4)) + _EPS).rsqrt()


def _check(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> None:
    if (
        x.ndim != 4
        or weight.ndim != 4
        or weight.shape[1] != x.shape[1]
        or tuple(styles.shape) != (x.shape[0], x.shape[1])
    ):
        raise UsageError(
            f"a modulated convolution takes x (n, c_in, h, w), weight (c_out, c_in, k, k) and styles (n, c_in); "
            f"given are {tuple(x.shape)}, {tuple(weight.shape)} and {tuple(styles.shape)}"
        )
