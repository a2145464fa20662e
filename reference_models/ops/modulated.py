"""Modulated convolutions: one set of weights, scaled per sample and input channel by a style.

StyleGAN2 (Karras et al. 2020, section 2.2 and equations 1 and 3) and StyleGAN3 (Karras et al. 2021, where
weights and styles are normalised first and an input gain follows the demodulation).

Official: NVlabs/stylegan3@c233a919a6faee6e36a316ddd4eddababad1adf9, training/networks_stylegan2.py and
networks_stylegan3.py. Differs: the fast path computes the demodulation factors from sums over the kernel,
without laying out one set of weights a sample.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from evalkit.errors import UsageError
from reference_models.ops.conv2d_resample import conv2d_resample
from reference_models.ops.switch import is_fast
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
        fused: Scale the weights (one set a sample); False scales the activations instead. The fast path does
            the latter anyway, in single precision, where it is less work.

    Returns:
        ``(n, c_out, h', w')``.

    Raises:
        UsageError: Shapes do not fit.
    """
    _check(x, weight, styles)
    if demodulate and x.dtype in _HALF:
        # Without this, products of large weights and styles overflow; demodulation takes the factors out
        # again.
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

    if fused and not _activations_are_cheaper(x, weight, up):
        kernels = weight[None] * styles[:, None, :, None, None]
        if demodulate:
            kernels = kernels * _demodulation(weight, styles)[:, :, None, None, None]
        y = _per_sample(x, kernels, convolve)
    else:
        y = convolve(x * styles.to(x.dtype)[:, :, None, None], weight, 1)
        if demodulate:
            y = _in_place_or_not(torch.mul, y, _demodulation(weight, styles).to(x.dtype)[:, :, None, None])
    return y if noise is None else _in_place_or_not(torch.add, y, noise.to(x.dtype))


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
        demodulate: Normalise weights and styles (over the whole batch) first, then scale every sample's
            output channels to unit weight norm.
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
    gain = None
    if input_gain is not None:
        if tuple(input_gain.shape) not in ((), (x.shape[1],), tuple(styles.shape)):
            raise UsageError(
                f"the input gain has shape (), ({x.shape[1]},) or {tuple(styles.shape)}; given is "
                f"{tuple(input_gain.shape)}"
            )
        gain = input_gain.expand(styles.shape)

    def convolve(pictures: torch.Tensor, kernels: torch.Tensor, groups: int) -> torch.Tensor:
        return conv2d_resample(pictures, kernels.to(pictures.dtype), padding=padding, groups=groups)

    if _activations_are_cheaper(x, weight, 1):
        scales = styles if gain is None else styles * gain
        y = convolve(x * scales.to(x.dtype)[:, :, None, None], weight, 1)
        if not demodulate:
            return y
        return _in_place_or_not(torch.mul, y, _demodulation(weight, styles).to(x.dtype)[:, :, None, None])
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels * _demodulation(weight, styles)[:, :, None, None, None]
    if gain is not None:
        kernels = kernels * gain[:, None, :, None, None]
    return _per_sample(x, kernels, convolve)


Convolve = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


def _per_sample(x: torch.Tensor, kernels: torch.Tensor, convolve: Convolve) -> torch.Tensor:
    # Every sample has its own weights: one convolution in as many groups as there are samples.
    n, c_out = kernels.shape[:2]
    y = convolve(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), n)
    return y.reshape(n, c_out, *y.shape[2:])


def _activations_are_cheaper(x: torch.Tensor, weight: torch.Tensor, up: int) -> bool:
    # Whether scaling a sample's activations, before and after, is less work than a set of weights for it. The
    # number of samples does not count, so that it cannot change a sample's rounding. Half precision keeps to
    # what the caller asked for: its range is why both forms exist.
    if not is_fast() or x.dtype in _HALF:
        return False
    pixels = x.shape[2] * x.shape[3]
    return pixels * (weight.shape[1] + weight.shape[0] * up**2) <= weight.numel()


def _in_place_or_not(
    operation: Callable[..., torch.Tensor], y: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    # ``y`` is a convolution's result that nobody else has seen: it may change where autograd does not look.
    pairs = zip(reversed(other.shape), reversed(y.shape), strict=False)
    fits = other.ndim <= y.ndim and all(mine in (1, size) for mine, size in pairs)
    if is_fast() and fits and not torch.is_grad_enabled():
        return operation(y, other, out=y)
    return operation(y, other)


def _demodulation(weight: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
    # (n, c_out): one over the norm of every sample's weights of an output channel.
    if is_fast():
        power = styles.square() @ weight.square().sum(dim=(2, 3)).T
    else:
        power = (weight[None] * styles[:, None, :, None, None]).square().sum(dim=(2, 3, 4))
    return (power + _EPS).rsqrt()


def _check(x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor) -> None:
    if (
        x.ndim != 4
        or weight.ndim != 4
        or weight.shape[1] != x.shape[1]
        or tuple(styles.shape) != (x.shape[0], x.shape[1])
    ):
        raise UsageError(
            "a modulated convolution takes x (n, c_in, h, w), weight (c_out, c_in, k, k) and styles "
            f"(n, c_in); given are {tuple(x.shape)}, {tuple(weight.shape)} and {tuple(styles.shape)}"
        )
