"""What SRFlow minimises, bits a pixel; its noise; and bits a dimension that can be compared.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), equation 3. Official: andreas128/SRFlow@5a007ad,
models/modules/SRFlowNet_arch.py (``normal_flow``). The released loss is of the density of images in [0, 1]
without noise, counted a pixel and not a channel. With noise the program subtracts ``ln quant`` once a pixel
though an image has three channels; `released_offset` does that, `bits_per_dim` does not.
"""

from __future__ import annotations

import math

from torch import Tensor


def bits_per_pixel(log_prob: Tensor, pixels: int) -> Tensor:
    """The released negative log likelihood, ``(n,)``: ``-log_prob / (ln 2 pixels)``.

    Args:
        log_prob: ``(n,)`` nats.
        pixels: Of a large image, height times width.
    """
    return -log_prob / (math.log(2) * pixels)


def with_noise(hr: Tensor, uniform: Tensor, levels: int) -> Tensor:
    """Images with centred noise of one level's width: ``hr + (u - 1/2) / levels``.

    Args:
        hr: ``(n, c, h, w)`` in [0, 1].
        uniform: From 0 to 1, of the same shape.
        levels: How many levels 0 to 1 is divided into.
    """
    return hr + (uniform - 0.5) / levels


def released_offset(pixels: int, levels: int) -> float:
    """What the program adds to the log density of images with noise, in nats: ``-ln(levels)`` a pixel."""
    return -math.log(levels) * pixels


def bits_per_dim(nll: Tensor, channels: int, levels: int) -> Tensor:
    """Bits a dimension of images of whole levels, from `bits_per_pixel`: a bound, as dequantisation gives.

    ``nll / channels + log2(levels)``, of a density on [0, 1] at images with noise of one level's width.

    Args:
        nll: Bits a pixel of images with noise, of any shape.
        channels: Of an image.
        levels: Of the noise; 255 or 256 for images of 8 bits.
    """
    return nll / channels + math.log2(levels)
