"""Layers of normalising flows: maps that can be undone, and whose volume change is known.

A `FlowLayer` maps images ``z (n, c, h, w)`` and a condition, a picture of the same size or None, to ``(z',
logdet (n,))``, the logarithm of the absolute determinant of its Jacobian in nats; ``reverse`` undoes it and
returns minus that. `Split` is no such layer, since half of its input leaves.

Papers: Kingma & Dhariwal 2018 (Glow, arXiv:1807.03039), table 1 and section 3; Dinh et al. 2017 (RealNVP,
arXiv:1605.08803), sections 3.6 and 3.7; Lugmayr et al. 2020 (SRFlow, arXiv:2006.14200), section 4.2
(conditional coupling and affine injector). Official: andreas128/SRFlow@5a007ad, models/modules/flow.py,
FlowActNorms.py, Permutations.py, FlowAffineCouplingsAblation.py, Split.py. Parameter names are the official
ones. Differs: the condition may be absent, log-determinants are returned instead of added up, and a 1x1
convolution's inverse is that of float64 in its LU form as well.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.layers.gaussian import log_density

_INIT_STD = 0.05
_LEAST_STD = 1e-6
_LOG_SCALE = 3.0


class FlowLayer(nn.Module, ABC):
    """A map of images that can be undone."""

    @abstractmethod
    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The map.

        Args:
            z: Images ``(n, c, h, w)``.
            cond: ``(n, k, h, w)``, or ``(1, k, h, w)`` for all images alike; None where the layer has none.

        Returns:
            Images, and logarithms of volume change ``(n,)`` in nats.
        """

    @abstractmethod
    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The inverse of the map, and minus the logarithms of its volume change there."""


class Squeeze(FlowLayer):
    """Squares of 2x2 pixels become channels: channel ``4c + 2 dy + dx`` of half the size."""

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`; sides must be even."""
        del cond
        return F.pixel_unshuffle(z, 2), z.new_zeros(len(z))

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        del cond
        return F.pixel_shuffle(z, 2), z.new_zeros(len(z))


class ActNorm(FlowLayer):
    """``(z + bias) e^logs`` a channel, which the first batch of training sets to mean 0 and variance 1.

    Whether that was done is not stored: a layer whose biases are not all zero has been initialised.
    """

    def __init__(self, channels: int) -> None:
        """Starts as the identity."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.logs = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self._known_initialised = False

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`; a forward pass in training mode initialises what is not."""
        del cond
        return self.normalised(z), self._logdet(z)

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        del cond
        return z * torch.exp(-self.logs) - self.bias, -self._logdet(z)

    def normalised(self, z: Tensor) -> Tensor:
        """The images of a forward pass alone."""
        if self.training and not self._known_initialised:
            self._initialise(z)
        return (z + self.bias) * torch.exp(self.logs)

    def _logdet(self, z: Tensor) -> Tensor:
        return (self.logs.sum() * (z.shape[2] * z.shape[3])).expand(len(z))

    @torch.no_grad()
    def _initialise(self, z: Tensor) -> None:
        if not bool(self.bias.any()):
            std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0, keepdim=True)
            self.bias.copy_(-mean)
            self.logs.copy_(-(std + _LEAST_STD).log())
        self._known_initialised = True


class InvertibleConv1x1(FlowLayer):
    """A learned rotation of channels: ``W z`` of every pixel, with a square matrix that begins orthogonal."""

    def __init__(self, channels: int, *, lu: bool = False) -> None:
        """Draws a random rotation.

        Args:
            channels: Of the images.
            lu: Whether the factors ``P L (U + diag(sign_s e^log_s))`` are learned (Glow, equation 10), of
                which P and the signs stay as drawn, in place of the matrix itself.
        """
        super().__init__()
        self.lu = lu
        drawn = torch.linalg.qr(torch.randn(channels, channels))[0]
        if not lu:
            self.weight = nn.Parameter(drawn)
            return
        p, lower, upper = torch.linalg.lu(drawn)
        diagonal = upper.diagonal()
        self.p: Tensor
        self.sign_s: Tensor
        self.register_buffer("p", p)
        self.register_buffer("sign_s", diagonal.sign())
        self.l, self.u = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_s = nn.Parameter(diagonal.abs().log())

    def matrix(self) -> Tensor:
        """W, square."""
        if not self.lu:
            return self.weight
        lower, upper = self._factors()
        return self.p @ lower @ upper

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        del cond
        return F.conv2d(z, self.matrix()[:, :, None, None]), self._logdet(z)

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`; the matrix is inverted in float64."""
        del cond
        inverse = self.matrix().double().inverse().to(z.dtype)
        return F.conv2d(z, inverse[:, :, None, None]), -self._logdet(z)

    def _factors(self) -> tuple[Tensor, Tensor]:
        unit = torch.eye(len(self.log_s), dtype=self.log_s.dtype, device=self.log_s.device)
        return self.l.tril(-1) + unit, self.u.triu(1) + torch.diag(self.sign_s * self.log_s.exp())

    def _logdet(self, z: Tensor) -> Tensor:
        of_pixel = self.log_s.sum() if self.lu else torch.linalg.slogdet(self.weight)[1]
        return (of_pixel * (z.shape[2] * z.shape[3])).expand(len(z))


class NormedConv(nn.Conv2d):
    """A convolution that keeps the size, with `ActNorm` in place of a bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        """Draws weights of N(0, 0.05^2)."""
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        nn.init.normal_(self.weight, std=_INIT_STD)
        self.actnorm = ActNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised features."""
        return self.actnorm.normalised(super().forward(x))


class ZeroConv(nn.Conv2d):
    """A 3x3 convolution that begins as zero: its output is multiplied by ``e^(3 logs)`` a channel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Starts with zeros."""
        super().__init__(in_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.logs = nn.Parameter(torch.zeros(out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled features."""
        return super().forward(x) * torch.exp(self.logs * _LOG_SCALE)


class Affine(NamedTuple):
    """``(z + shift) scale``, element by element."""

    shift: Tensor
    scale: Tensor

    def apply(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images and logarithms of volume change."""
        return (z + self.shift) * self.scale, self._logdet(z)

    def undo(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse, and minus those."""
        return z / self.scale - self.shift, -self._logdet(z)

    def _logdet(self, z: Tensor) -> Tensor:
        return self.scale.log().sum((1, 2, 3)).expand(len(z))


class _AffineNet(nn.Sequential):
    # Features to shifts and scales.

    def __init__(self, in_channels: int, out_channels: int, hidden: int, eps: float) -> None:
        super().__init__(
            NormedConv(in_channels, hidden, 3),
            nn.ReLU(),
            NormedConv(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv(hidden, 2 * out_channels),
        )
        self._eps = eps

    def values(self, x: Tensor) -> Affine:
        for layer in self:
            x = layer(x)
        return Affine(x[:, 0::2], torch.sigmoid(x[:, 1::2] + 2) + self._eps)


class AffineInjector(_AffineNet, FlowLayer):
    """Shifts and scales all channels by what the condition says; the images themselves have no say."""

    def __init__(self, channels: int, cond_channels: int, *, hidden: int = 64, eps: float = 1e-4) -> None:
        """Draws weights.

        Args:
            channels: Of the images.
            cond_channels: Of the condition.
            hidden: Features between.
            eps: Least scale.
        """
        super().__init__(cond_channels, channels, hidden, eps)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`; the condition cannot be absent."""
        assert cond is not None
        return self.values(cond).apply(z)

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        assert cond is not None
        return self.values(cond).undo(z)


class AffineCoupling(_AffineNet, FlowLayer):
    """Shifts and scales the second half of the channels by what the first half and the condition say."""

    def __init__(self, channels: int, cond_channels: int = 0, *, hidden: int = 64, eps: float = 1e-4) -> None:
        """Draws weights.

        Args:
            channels: Of the images, at least 2; of an odd number the second half is the larger.
            cond_channels: Of the condition; 0 where there is none.
            hidden: Features between.
            eps: Least scale.
        """
        super().__init__(channels // 2 + cond_channels, channels - channels // 2, hidden, eps)
        self._kept = channels // 2

    def forward(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        kept, moved = z[:, : self._kept], z[:, self._kept :]
        moved, logdet = self.of(kept, cond).apply(moved)
        return torch.cat([kept, moved], dim=1), logdet

    def reverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `FlowLayer`."""
        kept, moved = z[:, : self._kept], z[:, self._kept :]
        moved, logdet = self.of(kept, cond).undo(moved)
        return torch.cat([kept, moved], dim=1), logdet

    def of(self, kept: Tensor, cond: Tensor | None = None) -> Affine:
        """Shift and scale of the second half, given the first."""
        if cond is None:
            return self.values(kept)
        return self.values(torch.cat([kept, cond.expand(len(kept), -1, -1, -1)], dim=1))


class SplitOff(NamedTuple):
    """What a split makes of images.

    Attributes:
        z: The channels that go on.
        logdet: Log density of those that leave, given these: ``(n,)`` in nats.
        eps: Those that leave, standardised.
    """

    z: Tensor
    logdet: Tensor
    eps: Tensor


class Split(nn.Module):
    """Half of the channels leave, as a Gaussian whose mean and spread the other half says."""

    def __init__(self, channels: int) -> None:
        """Starts with standard Gaussians; ``round(channels / 2)`` channels leave."""
        super().__init__()
        self.leaving = round(channels / 2)
        self.conv = ZeroConv(channels - self.leaving, 2 * self.leaving)

    def forward(self, z: Tensor) -> SplitOff:
        """Splits.

        The log density of what leaves is that of its standardised form under N(0, 1), plus the volume change
        of standardising.

        Args:
            z: Images ``(n, c, h, w)``.
        """
        stays = z.shape[1] - self.leaving
        kept, gone = z[:, :stays], z[:, stays:]
        mean, logs = self.prior(kept)
        density = log_density(gone, mean, logs).sum((1, 2, 3))
        return SplitOff(kept, density, (gone - mean) * torch.exp(-logs))

    def reverse(self, z: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Puts both halves together again.

        Args:
            z: The channels that went on.
            eps: Those that left, standardised: standard normal numbers in a sample.

        Returns:
            Images, and minus the log density of what had left.
        """
        mean, logs = self.prior(z)
        gone = mean + eps * torch.exp(logs)
        return torch.cat([z, gone], dim=1), -log_density(gone, mean, logs).sum((1, 2, 3))

    def prior(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of what leaves, given what stays."""
        found = self.conv(kept)
        return found[:, 0::2], found[:, 1::2]


def standard_log_density(z: Tensor) -> Tensor:
    """Log density of images under N(0, 1), ``(n,)`` in nats."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum((1, 2, 3))
