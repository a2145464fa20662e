"""What VDVAE minimises: a bound of the negative log likelihood, in nats a dimension.

Paper: Child 2021 (arXiv:2011.10650), equation 1 and section 4. Official: openai/vdvae@ea35b49, vae.py
(``VAE.forward``) and data.py (``preprocess_func``). Differs: nothing; there is no warm-up of the KL terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reference_models.layers import dmol
from reference_models.vdvae.blocks import Latent
from reference_models.vdvae.config import NetworkConfig
from reference_models.vdvae.model import Output


class Terms(NamedTuple):
    """The two parts of the bound, each ``(n,)`` in nats a dimension.

    Attributes:
        distortion: Minus the log likelihood of the image, given the latents drawn.
        rate: KL of posterior and prior, of all latents.
    """

    distortion: Tensor
    rate: Tensor

    @property
    def elbo(self) -> Tensor:
        """Their sum: the negative evidence bound, which the official program calls elbo."""
        return self.distortion + self.rate


def inputs(images: Tensor, config: NetworkConfig) -> Tensor:
    """What the encoder sees of levels: float32 of the same shape, about standardised.

    Args:
        images: uint8 ``(n, c, h, w)``.
        config: Shift and scale.
    """
    return _scaled(images.float(), config.input_shift, config.input_scale, config)


def targets(images: Tensor, config: NetworkConfig) -> Tensor:
    """What the likelihood is one of: levels mapped to [-1, 1]; with 5 bits, floored to multiples of 8 first.

    Args:
        images: uint8 ``(n, c, h, w)``.
        config: Shift, scale and bits.
    """
    levels = images.float()
    if config.low_bit:
        levels = (levels / 8).floor() * 8
    return _scaled(levels, config.loss_shift, config.loss_scale, config)


def terms(output: Output, target: Tensor, config: NetworkConfig) -> Terms:
    """The bound of images.

    Args:
        output: Of the network.
        target: Of `targets`.
        config: Bits of a level.
    """
    dims = target[0].numel()
    rate = torch.stack([latent.kl().sum((1, 2, 3)) for latent in output.latents]).sum(0)
    return Terms(-_log_likelihood(output.params, target, config) / dims, rate / dims)


def log_weights(output: Output, target: Tensor, config: NetworkConfig) -> Tensor:
    """``ln p(x, z) - ln q(z | x)`` of the latents drawn, ``(n,)`` in nats an image, float64.

    Args:
        output: Of the network.
        target: Of `targets`.
        config: Bits of a level.
    """
    return _log_likelihood(output.params, target, config).double() + _log_ratio(output.latents)


def _log_likelihood(params: Tensor, target: Tensor, config: NetworkConfig) -> Tensor:
    return dmol.log_likelihood(params, target, convention=dmol.VDVAE, bits=config.bits).sum((1, 2))


def _log_ratio(latents: Sequence[Latent]) -> Tensor:
    # Of each group in float64: prior and posterior densities nearly cancel.
    return torch.stack(
        [Latent(*(each.double() for each in latent)).log_ratio().sum((1, 2, 3)) for latent in latents]
    ).sum(0)


def _scaled(levels: Tensor, shift: float, scale: float, config: NetworkConfig) -> Tensor:
    return ((levels / 255 if config.unit_range else levels) + shift) * scale
