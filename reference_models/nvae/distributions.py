"""Distributions of NVAE: the softly clamped Normal of latents, and what decoders say of pixels.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), section 3.2 and appendix A. Official: NVlabs/NVAE@9fc1a28,
distributions.py and utils.py. Means and log sigmas go through ``5 tanh(v / 5)``, and 0.01 is added to sigma,
so that a prior of mean 0 and log sigma 0 has sigma 1.01. Differs: nothing.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_models.layers import dmol
from reference_models.layers.draws import Draws
from reference_models.layers.gaussian import kl_of_std
from reference_models.nvae.config import BINARY_PIXELS, NetworkConfig

_CLAMP, _LEAST_SIGMA = 5.0, 0.01
_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def wide(value: Tensor) -> Tensor:
    """A tensor of a half type as float32: exponents and sums of likelihoods need its digits."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def soft_clamp(value: Tensor) -> Tensor:
    """``5 tanh(value / 5)``: near to the value about 0, never beyond 5."""
    return torch.tanh(value / _CLAMP) * _CLAMP


class Normal:
    """A diagonal Normal whose parameters are clamped.

    Attributes:
        unclamped: Mean and log sigma as networks gave them.
        mean: After the soft clamp.
        sigma: Standard deviation, of a temperature.
    """

    def __init__(self, mean: Tensor, log_sigma: Tensor, temperature: float = 1.0) -> None:
        """Takes parameters as networks give them; the temperature multiplies sigma, 0.01 included."""
        self.unclamped = wide(mean), wide(log_sigma)
        self.mean = soft_clamp(self.unclamped[0])
        self.sigma = (torch.exp(soft_clamp(self.unclamped[1])) + _LEAST_SIGMA) * temperature

    def sample(self, eps: Tensor) -> Tensor:
        """``mean + sigma eps``."""
        return self.mean + self.sigma * eps

    def log_density(self, x: Tensor) -> Tensor:
        """Log density of every element, in nats."""
        scaled = (x - self.mean) / self.sigma
        return -0.5 * scaled.square() - self.sigma.log() - _HALF_LOG_TAU

    def kl(self, other: Normal) -> Tensor:
        """KL(self || other) of every element, in nats."""
        return kl_of_std(self.mean, self.sigma, other.mean, other.sigma)


def normal_of(params: Tensor, temperature: float = 1.0) -> Normal:
    """The Normal of means and log sigmas that lie behind each other, ``(n, 2 c, h, w)``."""
    mean, log_sigma = params.chunk(2, dim=1)
    return Normal(mean, log_sigma, temperature)


class Decoder(Protocol):
    """What a decoder says of the pixels of images ``(n, c, h, w)`` in [0, 1]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats of pixels, ``(n, h, w)`` or ``(n, c, h, w)``."""
        ...

    def sample(self, draws: Draws, temperature: float = 1.0) -> Tensor:
        """Images in [0, 1]."""
        ...

    def mean(self) -> Tensor:
        """The mean image, in [0, 1]."""
        ...


class Bernoulli:
    """Pixels that are 0 or 1."""

    def __init__(self, logits: Tensor) -> None:
        """Takes ``(n, 1, h, w)``."""
        self.logits = logits

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats ``(n, 1, h, w)``."""
        return -F.binary_cross_entropy_with_logits(self.logits, x, reduction="none")

    def sample(self, draws: Draws, temperature: float = 1.0) -> Tensor:
        """Pixels 0 or 1; the temperature has no influence."""
        del temperature
        return (draws.uniform(self.logits.shape[1:]) < self.mean()).to(self.logits.dtype)

    def mean(self) -> Tensor:
        """Probabilities of 1."""
        return torch.sigmoid(self.logits)


class Mixture:
    """A discretised mixture of logistics, `reference_models.layers.dmol`, in NVAE's convention."""

    def __init__(self, params: Tensor, *, channels: int, bits: int = 8) -> None:
        """Takes ``(n, 10 k, h, w)``, or ``(n, 3 k, h, w)`` for grey."""
        self.params, self._channels, self._bits = params, channels, bits

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats ``(n, h, w)``, sums over channels."""
        return dmol.log_likelihood(self.params, 2 * x - 1, convention=dmol.NVAE, bits=self._bits)

    def sample(self, draws: Draws, temperature: float = 1.0) -> Tensor:
        """Images in [0, 1]; the temperature divides logits and scales, as in the release's previews."""
        size = self.params.shape[2:]
        mixtures = self.params.shape[1] // dmol.num_parameters(self._channels, 1)
        select = dmol.inside(draws.uniform((mixtures, *size)))
        value = dmol.inside(draws.uniform((self._channels, *size)))
        return dmol.sample(self.params, select, value, temperature=temperature) / 2 + 0.5

    def mean(self) -> Tensor:
        """The mean image."""
        return dmol.mean_image(self.params, channels=self._channels) / 2 + 0.5


class NormalDecoder:
    """A density of images on [-1, 1], without dequantisation: what one component amounts to."""

    def __init__(self, params: Tensor) -> None:
        """Takes means and log sigmas, ``(n, 2 c, h, w)``."""
        self._params = params
        self._normal = normal_of(params)

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats ``(n, c, h, w)`` of a density on [-1, 1]."""
        return self._normal.log_density(2 * x - 1)

    def sample(self, draws: Draws, temperature: float = 1.0) -> Tensor:
        """Images in [0, 1]; the temperature multiplies sigma."""
        normal = normal_of(self._params, temperature)
        return self._to_unit(normal.sample(draws.normal(normal.mean.shape[1:])))

    def mean(self) -> Tensor:
        """The mean image."""
        return self._to_unit(self._normal.mean)

    @staticmethod
    def _to_unit(signed: Tensor) -> Tensor:
        return signed.clamp(-1, 1) / 2 + 0.5


def num_parameters(config: NetworkConfig) -> int:
    """How many channels a decoder needs."""
    if config.binary:
        return config.img_channels
    if config.num_mixture_dec == 1:
        return 2 * config.img_channels
    return dmol.num_parameters(config.img_channels, config.num_mixture_dec)


def decoder(config: NetworkConfig, logits: Tensor) -> Decoder:
    """What the network's output says of images."""
    logits = wide(logits)
    if config.binary:
        return Bernoulli(logits)
    if config.num_mixture_dec == 1:
        return NormalDecoder(logits)
    return Mixture(logits, channels=config.img_channels, bits=config.num_x_bits)


def log_likelihood(config: NetworkConfig, logits: Tensor, x: Tensor) -> Tensor:
    """Nats of images, of the pixels that are counted.

    Args:
        config: Of the network.
        logits: Its output.
        x: Images in [0, 1], ``(n, c, h, w)``, of as many bits as it takes.

    Returns:
        ``(n,)``.
    """
    pixels = decoder(config, logits).log_prob(x)
    if config.binary:
        pixels = pixels[..., BINARY_PIXELS, BINARY_PIXELS]
    return pixels.flatten(1).sum(1)


def reduce_bits(x: Tensor, bits: int) -> Tensor:
    """Images in [0, 1] of 8 bits with levels of fewer: ``floor(255 x / 8) / 31`` for 5."""
    if bits == 8:
        return x
    levels: Tensor = torch.floor(x * 255 / (1 << (8 - bits)))
    return levels / ((1 << bits) - 1)
