"""Flows of NVAE's posteriors: a pair of masked autoregressive networks, and a flow of mixed logistics.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), section 3.2; Kingma et al. 2016 (IAF, arXiv:1606.04934). The
mixed one: Ho et al. 2019 (Flow++, arXiv:1902.00275), section 3.2. Official: NVlabs/NVAE@9fc1a28,
neural_ar_operations.py and model.py. Differs: features of the encoder, which the released cells take and
ignore, are not taken.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.nvae.operations import NormedConv

_EXPANSION = 6
_MU_SCALE = 0.1
_LOWEST_LOG_SCALE = -7.0


def causal_mask(
    kernel: int,
    in_channels: int,
    out_channels: int,
    *,
    groups: int = 1,
    zero_diag: bool,
    mirror: bool = False,
) -> Tensor:
    """Which weights of a convolution see what comes before a position.

    Positions come in raster order, channels of one position in as many blocks as the smaller of both widths.

    Args:
        kernel: Side of the kernel, odd.
        in_channels: Of the convolution.
        out_channels: Of the convolution.
        groups: Of the convolution.
        zero_diag: Whether a block of channels is blind to its own block at its own position.
        mirror: Whether raster order runs backwards; channels do not.

    Returns:
        0 or 1, ``(out, in / groups, kernel, kernel)``.
    """
    centre, blocks = kernel // 2, min(in_channels, out_channels)
    # On the CPU also where networks are laid out without numbers: no file holds masks.
    mask = torch.zeros(out_channels, in_channels // groups, kernel, kernel, device="cpu")
    mask[:, :, :centre] = 1
    mask[:, :, centre, :centre] = 1
    out = torch.arange(out_channels, device="cpu")[:, None]
    first = out // (out_channels // groups) * (in_channels // groups)
    block_in = (first + torch.arange(in_channels // groups, device="cpu")) * blocks // in_channels
    block_out = out * blocks // out_channels
    mask[:, :, centre, centre] = (block_in < block_out if zero_diag else block_in <= block_out).float()
    return mask.flip(2, 3) if mirror else mask


def _masked(
    in_channels: int, out_channels: int, kernel: int, *, mirror: bool, zero_diag: bool = False, **options: int
) -> NormedConv:
    groups = options.get("groups", 1)
    mask = causal_mask(kernel, in_channels, out_channels, groups=groups, zero_diag=zero_diag, mirror=mirror)
    return NormedConv(
        in_channels, out_channels, kernel, groups=groups, bias=bool(options.get("bias", 0)), mask=mask
    )


class _Hidden(nn.Module):
    # ELU and all: what the shift is made of, ``(n, 6 z, h, w)``.
    def __init__(self, latents: int, *, mirror: bool) -> None:
        super().__init__()
        hidden = _EXPANSION * latents
        self.convz = nn.Sequential(
            _masked(latents, hidden, 3, mirror=mirror, zero_diag=True),
            nn.ELU(),
            _masked(hidden, hidden, 5, mirror=mirror, groups=hidden),
            nn.ELU(),
        )

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.convz(z)
        return out


class _Shift(nn.Module):
    def __init__(self, latents: int, *, mirror: bool) -> None:
        super().__init__()
        self.conv_0 = _masked(_EXPANSION * latents, latents, 1, mirror=mirror, bias=1)
        with torch.no_grad():
            self.conv_0.log_weight_norm.add_(math.log(_MU_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_0(F.elu(x))
        return out


class Cell(nn.Module):
    """One direction: ``z - mu(z)``, where mu of a position sees what comes before it; volume stays."""

    def __init__(self, latents: int, *, mirror: bool) -> None:
        super().__init__()
        self.conv = _Hidden(latents, mirror=mirror)
        self.mu = _Shift(latents, mirror=mirror)

    def forward(self, z: Tensor) -> Tensor:
        """Moves ``(n, z, h, w)``."""
        out: Tensor = z - self.mu(self.conv(z))
        return out


class PairedCell(nn.Module):
    """A cell in raster order, then one in mirrored order; the logarithm of their determinant is 0."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.cell1 = Cell(latents, mirror=False)
        self.cell2 = Cell(latents, mirror=True)

    def forward(self, z: Tensor) -> Tensor:
        """Moves ``(n, z, h, w)``."""
        out: Tensor = self.cell2(self.cell1(z))
        return out


def mix_log_cdf(
    z: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, log_a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """A flow through the distribution function F of mixed logistics: ``e^a (ln F - ln(1 - F)) + b``.

    The released models have it switched off; it is here for who turns it on.

    Args:
        z: ``(n, c, h, w)``.
        logits: Of the components, ``(n, c, k, h, w)``.
        means: Likewise.
        log_scales: Likewise; -7 at least.
        log_a: ``(n, c, 1, h, w)``.
        b: Likewise.

    Returns:
        The new z, and the logarithm of its derivative, ``a - ln F - ln(1 - F) + ln f``; ``(n, c, h, w)``.
    """
    log_scales = log_scales.clamp(min=_LOWEST_LOG_SCALE)
    weights = F.log_softmax(logits, dim=2)
    scaled = (z[:, :, None] - means) * torch.exp(-log_scales)
    below = torch.logsumexp(weights + F.logsigmoid(scaled), dim=2)
    above = torch.logsumexp(weights + F.logsigmoid(-scaled), dim=2)
    density = torch.logsumexp(weights + scaled - log_scales - 2 * F.softplus(scaled), dim=2)
    a = log_a.squeeze(2)
    return torch.exp(a) * (below - above) + b.squeeze(2), a - below - above + density
