"""Discretised mixture of logistics: probability of image levels, samples and mean images of the mixture.

Papers: Salimans et al. 2017 (PixelCNN++, arXiv:1701.05517), section 2.1; as used by Child 2021
(arXiv:2011.10650) and Vahdat & Kautz 2020 (arXiv:2007.03898). Official: openai/vdvae@ea35b49, vae_helpers.py;
NVlabs/NVAE@9fc1a28, distributions.py. Their constants differ, see `Convention`.

A pixel of three channels has ``10 K`` parameters: K logits, then for red, green and blue K means, K log
scales and K raw coefficients each. Green's mean moves with red, blue's with red and green. Differs: grey
images, which neither mixture was published for, have ``3 K`` parameters, K logits, K means and K log scales,
of the same logistic. All functions keep the type of their input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_LOWEST_LOG_SCALE: Final = -7.0
_LEFT_EDGE: Final = -0.999
_THIN: Final = 1e-5
_MARGIN: Final = 1e-5
_PER_CHANNELS: Final = {1: 3, 3: 10}


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """Constants in which two releases of one formula differ.

    Attributes:
        floor: Smallest probability inside the logarithm.
        right_edge: Targets above it get the whole upper tail. NVAE's 0.99 lies below level 254 of 8 bits
            (0.9922), so that 254 and 255 both get it, and the probabilities of all levels sum to more than 1.
    """

    floor: float
    right_edge: float


VDVAE: Final = Convention(floor=1e-12, right_edge=0.999)
NVAE: Final = Convention(floor=1e-10, right_edge=0.99)


class _Mixture(NamedTuple):
    """Parameters apart: logits ``(n, K, h, w)``, the others ``(n, channels, K, h, w)``.

    Grey has no coefficients.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor | None


def num_parameters(channels: int, mixtures: int) -> int:
    """How many channels the parameters have.

    Args:
        channels: Of the image, 1 or 3.
        mixtures: K.
    """
    return _PER_CHANNELS[channels] * mixtures


def _split(params: Tensor, channels: int) -> _Mixture:
    mixtures, odd = divmod(params.shape[1], _PER_CHANNELS[channels])
    if odd:
        raise ValueError(
            f"{params.shape[1]} parameters a pixel are none of a mixture for {channels} channels"
        )
    logits, rest = params[:, :mixtures], params[:, mixtures:]
    rest = rest.reshape(len(rest), channels, -1, mixtures, *rest.shape[2:])
    coefficients = torch.tanh(rest[:, :, 2]) if channels == 3 else None
    return _Mixture(logits, rest[:, :, 0], rest[:, :, 1].clamp(min=_LOWEST_LOG_SCALE), coefficients)


def logistic_log_mass(
    x: Tensor, means: Tensor, log_scales: Tensor, *, convention: Convention, bits: int = 8
) -> Tensor:
    """Log probability of the bin around ``x`` under a logistic; all of both tails for the outermost bins.

    Args:
        x: Centres of bins, in [-1, 1]; broadcast against the others.
        means: Of the logistic.
        log_scales: Natural logarithms of its scale, as they are; a mixture has none below -7.
        convention: Constants.
        bits: Levels are ``2^bits``, and half a bin is ``1 / (2^bits - 1)``.

    Returns:
        Nats. Where the bin holds less than 1e-5, density at the centre times width of the bin.
    """
    last = 2**bits - 1
    centred, inverse = x - means, torch.exp(-log_scales)
    upper, lower = inverse * (centred + 1 / last), inverse * (centred - 1 / last)
    middle = inverse * centred
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    inside = torch.where(
        mass > _THIN,
        mass.clamp(min=convention.floor).log(),
        middle - log_scales - 2 * F.softplus(middle) - math.log(last / 2),
    )
    inside = torch.where(x > convention.right_edge, -F.softplus(lower), inside)
    return torch.where(x < _LEFT_EDGE, upper - F.softplus(upper), inside)


def log_likelihood(params: Tensor, x: Tensor, *, convention: Convention, bits: int = 8) -> Tensor:
    """Log probability of pixels.

    Args:
        params: ``(n, 10 K, h, w)``, or ``(n, 3 K, h, w)`` for grey.
        x: Levels mapped to [-1, 1], ``(n, 3 or 1, h, w)``.
        convention: Constants.
        bits: Of the levels, 8 or 5. VDVAE maps 5 bits so that levels lie 16/255 apart and never reach the
            right edge; the probabilities then sum to less than 1, as published.

    Returns:
        Nats ``(n, h, w)``, sums over channels.
    """
    mixture = _split(params, x.shape[1])
    means = mixture.means
    if mixture.coefficients is not None:
        red, green = x[:, 0, None], x[:, 1, None]
        of_red, of_green_blue, of_blue = mixture.coefficients.unbind(1)
        means = torch.stack(
            [
                means[:, 0],
                means[:, 1] + of_red * red,
                means[:, 2] + of_green_blue * red + of_blue * green,
            ],
            dim=1,
        )
    masses = logistic_log_mass(
        x[:, :, None], means, mixture.log_scales, convention=convention, bits=bits
    ).sum(1)
    return torch.logsumexp(masses + F.log_softmax(mixture.logits, dim=1), dim=1)


def inside(uniform: Tensor) -> Tensor:
    """Uniform numbers from [0, 1) moved to (1e-5, 1 - 1e-5), where logarithms of both tails are finite."""
    return uniform * (1 - 2 * _MARGIN) + _MARGIN


def sample(params: Tensor, select: Tensor, value: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Draws pixels of the mixture.

    Args:
        params: As for `log_likelihood`.
        select: Uniform `inside` ``(n, K, h, w)``, that pick components.
        value: Uniform `inside` ``(n, 3 or 1, h, w)``, that the logistics are drawn by.
        temperature: Of NVAE's previews. It divides logits and, as in the release, also scales, so that a low
            one adds noise.

    Returns:
        ``(n, 3 or 1, h, w)`` in [-1, 1], not rounded to levels.
    """
    mixture = _split(params, value.shape[1])
    chosen = (mixture.logits / temperature - (-select.log()).log()).argmax(1, keepdim=True)[:, None]

    def of_chosen(of_all: Tensor) -> Tensor:
        return of_all.gather(2, chosen.expand(-1, of_all.shape[1], -1, -1, -1)).squeeze(2)

    scales = of_chosen(mixture.log_scales).exp() / temperature
    drawn = of_chosen(mixture.means) + scales * (value.log() - (1 - value).log())
    return _chained(drawn, None if mixture.coefficients is None else of_chosen(mixture.coefficients))


def mean_image(params: Tensor, *, channels: int) -> Tensor:
    """Means and coefficients averaged over components by their weights, then put together as a sample is.

    Args:
        params: As for `log_likelihood`.
        channels: 3 or 1.

    Returns:
        ``(n, channels, h, w)`` in [-1, 1].
    """
    mixture = _split(params, channels)
    weights = mixture.logits.softmax(1)[:, None]
    coefficients = mixture.coefficients
    return _chained(
        (weights * mixture.means).sum(2), None if coefficients is None else (weights * coefficients).sum(2)
    )


def _chained(drawn: Tensor, coefficients: Tensor | None) -> Tensor:
    """Adds to each channel its share of the clipped ones before it, ``(n, c, h, w)``."""
    if coefficients is None:
        return drawn.clamp(-1, 1)
    red = drawn[:, 0].clamp(-1, 1)
    green = (drawn[:, 1] + coefficients[:, 0] * red).clamp(-1, 1)
    blue = (drawn[:, 2] + coefficients[:, 1] * red + coefficients[:, 2] * green).clamp(-1, 1)
    return torch.stack([red, green, blue], dim=1)


def to_levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8: ``(y + 1) 127.5``, cut off and not rounded, as VDVAE's release does."""
    return ((images + 1) * 127.5).clamp(0, 255).to(torch.uint8)
