"""VDVAE's residual blocks, and one group of latents of the decoder.

Paper: Child 2021 (arXiv:2011.10650), figure 3 and appendix. Official: openai/vdvae@ea35b49, vae.py. Parameter
names are the official ones. Differs: nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.layers import gaussian


def uses_3x3(side: int) -> bool:
    """Whether inner convolutions at a resolution are 3x3; at 2x2 and below they would see mostly padding."""
    return side > 2


def plain_conv(in_width: int, out_width: int, size: int = 1) -> nn.Conv2d:
    """A convolution that keeps the side, its weights as PyTorch draws them and its biases 0."""
    made = nn.Conv2d(in_width, out_width, size, padding=size // 2)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made


def pad_channels(x: Tensor, width: int) -> Tensor:
    """``(n, c, h, w)`` with channels of zeros appended up to ``width``."""
    return F.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))


class Block(nn.Module):
    """Bottleneck of four convolutions, each after a GELU: 1x1, 3x3, 3x3, 1x1.

    Attributes:
        down_rate: Factor of the average pooling at the end; None without.
        residual: Whether the input is added.
    """

    def __init__(
        self,
        in_width: int,
        middle_width: int,
        out_width: int,
        *,
        down_rate: int | None = None,
        residual: bool = False,
        use_3x3: bool = True,
        zero_last: bool = False,
    ) -> None:
        """Draws weights; those of the last convolution are 0 with ``zero_last``."""
        super().__init__()
        self.down_rate, self.residual = down_rate, residual
        inner = 3 if use_3x3 else 1
        self.c1 = plain_conv(in_width, middle_width)
        self.c2 = plain_conv(middle_width, middle_width, inner)
        self.c3 = plain_conv(middle_width, middle_width, inner)
        self.c4 = plain_conv(middle_width, out_width)
        if zero_last:
            nn.init.zeros_(self.c4.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, in_width, h, w)`` to ``(n, out_width, h, w)``, pooled where there is a rate."""
        y = x
        for conv in (self.c1, self.c2, self.c3, self.c4):
            y = conv(F.gelu(y))
        y = x + y if self.residual else y
        return y if self.down_rate is None else F.avg_pool2d(y, self.down_rate)


class Latent(NamedTuple):
    """One group of latents, each ``(n, zdim, side, side)``; log sigmas are natural logarithms.

    Attributes:
        z: The sample.
        q_mean: Of the posterior.
        q_logsigma: Of the posterior.
        p_mean: Of the prior.
        p_logsigma: Of the prior.
    """

    z: Tensor
    q_mean: Tensor
    q_logsigma: Tensor
    p_mean: Tensor
    p_logsigma: Tensor

    def kl(self) -> Tensor:
        """KL(q || p) of every element, in nats."""
        return gaussian.kl_of_log_std(self.q_mean, self.q_logsigma, self.p_mean, self.p_logsigma)

    def log_ratio(self) -> Tensor:
        """``ln p(z) - ln q(z)`` of every element."""
        prior = gaussian.log_density(self.z, self.p_mean, self.p_logsigma)
        return prior - gaussian.log_density(self.z, self.q_mean, self.q_logsigma)


class DecBlock(nn.Module):
    """One group of latents: prior, posterior, and what the sample does to the features.

    Attributes:
        side: Resolution.
        mixed: Resolution that is mixed in first; None without.
    """

    def __init__(self, side: int, mixed: int | None, *, width: int, middle_width: int, zdim: int) -> None:
        """Draws weights; the prior begins as a standard normal."""
        super().__init__()
        self.side, self.mixed, self.width, self.zdim = side, mixed, width, zdim
        use_3x3 = uses_3x3(side)
        self.enc = Block(2 * width, middle_width, 2 * zdim, use_3x3=use_3x3)
        self.prior = Block(width, middle_width, 2 * zdim + width, use_3x3=use_3x3, zero_last=True)
        self.z_proj = plain_conv(zdim, width)
        self.resnet = Block(width, middle_width, width, residual=True, use_3x3=use_3x3)

    def mixed_in(self, x: Tensor, below: Tensor | None) -> Tensor:
        """``x`` plus the first channels of a smaller resolution, enlarged; ``x`` alone without one."""
        if below is None:
            return x
        return x + F.interpolate(below[:, : x.shape[1]], size=x.shape[2:], mode="nearest")

    def infer(self, x: Tensor, activation: Tensor, eps: Tensor) -> tuple[Tensor, Latent]:
        """Features and latents, drawn from the posterior.

        Args:
            x: Features ``(n, width, side, side)``.
            activation: Of the encoder, likewise.
            eps: Standard normal ``(n, zdim, side, side)``.
        """
        q_mean, q_logsigma = self.enc(torch.cat([x, activation], dim=1)).chunk(2, dim=1)
        p_mean, p_logsigma, feature = self._prior(x)
        z = q_mean + q_logsigma.exp() * eps
        return self._with(x + feature, z), Latent(z, q_mean, q_logsigma, p_mean, p_logsigma)

    def generate(
        self, x: Tensor, eps: Tensor | None, temperature: float, given: Tensor | None = None
    ) -> Tensor:
        """Features, with latents drawn from the prior.

        Args:
            x: Features ``(n, width, side, side)``.
            eps: Standard normal ``(n, zdim, side, side)``; None where latents are given.
            temperature: Factor of the prior's sigma.
            given: Latents instead.
        """
        p_mean, p_logsigma, feature = self._prior(x)
        if given is None:
            assert eps is not None
            shift = math.log(temperature) if temperature > 0 else -math.inf
            given = p_mean + (p_logsigma + shift).exp() * eps
        return self._with(x + feature, given)

    def _prior(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_sigma, feature = self.prior(x).split([self.zdim, self.zdim, self.width], dim=1)
        return mean, log_sigma, feature

    def _with(self, x: Tensor, z: Tensor) -> Tensor:
        out: Tensor = self.resnet(x + self.z_proj(z))
        return out
