"""Cells of NVAE: residual cells with skips at three scales, squeeze and excitation, and the two combiners.

Paper: Vahdat & Kautz 2020 (arXiv:2007.03898), figure 3. Official: NVlabs/NVAE@9fc1a28, model.py and
neural_operations.py. Parameters have the official names. Differs: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.nvae.operations import Bilinear, NormedConv, operation

_RESIDUAL = 0.1


class SqueezeExcite(nn.Module):
    """Scales channels by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.se = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scales ``(n, c, h, w)``."""
        scales: Tensor = self.se(x.mean((2, 3)))
        return x * scales[:, :, None, None]


class Halved(nn.Module):
    """Skip of a cell that halves the side: a quarter of the channels from each of four corners."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.conv_1 = NormedConv(in_channels, quarter, 1, stride=2)
        self.conv_2 = NormedConv(in_channels, quarter, 1, stride=2)
        self.conv_3 = NormedConv(in_channels, quarter, 1, stride=2)
        self.conv_4 = NormedConv(in_channels, out_channels - 3 * quarter, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in, h, w)`` to ``(n, out, h/2, w/2)``."""
        x = F.silu(x)
        parts = (
            self.conv_1(x),
            self.conv_2(x[:, :, 1:, 1:]),
            self.conv_3(x[:, :, :, 1:]),
            self.conv_4(x[:, :, 1:, :]),
        )
        return torch.cat(parts, dim=1)


class Cell(nn.Module):
    """``skip(x) + 0.1 se(operations(x))``; the first operation changes width and side."""

    def __init__(
        self, in_channels: int, out_channels: int, kind: str, operations: Sequence[str], *, use_se: bool
    ) -> None:
        """Takes widths, a kind that begins with ``normal``, ``down`` or ``up``, and names of operations."""
        super().__init__()
        scale = {"normal": 0, "down": -1, "up": 1}[kind.partition("_")[0]]
        self.skip: nn.Module = nn.Identity()
        if scale < 0:
            self.skip = Halved(in_channels, out_channels)
        elif scale > 0:
            self.skip = nn.Sequential(Bilinear(), NormedConv(in_channels, out_channels, 1, bias=False))
        self._ops = nn.ModuleList(
            operation(name, out_channels if place else in_channels, out_channels, 0 if place else scale)
            for place, name in enumerate(operations)
        )
        self.se = SqueezeExcite(out_channels) if use_se else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, in, h, w)`` to ``(n, out, ...)``."""
        y = x
        for each in self._ops:
            y = each(y)
        out: Tensor = self.skip(x) + _RESIDUAL * self.se(y)
        return out


class EncoderCombiner(nn.Module):
    """Adds a feature of the decoder to one of the encoder."""

    def __init__(self, encoder_channels: int, decoder_channels: int) -> None:
        super().__init__()
        self.conv = NormedConv(decoder_channels, encoder_channels, 1)

    def forward(self, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Combines ``(n, enc, h, w)`` and ``(n, dec, h, w)`` to ``(n, enc, h, w)``."""
        out: Tensor = encoded + self.conv(decoded)
        return out


class DecoderCombiner(nn.Module):
    """Joins latents to a feature of the decoder."""

    def __init__(self, channels: int, latents: int) -> None:
        super().__init__()
        self.conv = NormedConv(channels + latents, channels, 1)

    def forward(self, decoded: Tensor, z: Tensor) -> Tensor:
        """Combines ``(n, c, h, w)`` and ``(n, latents, h, w)`` to ``(n, c, h, w)``."""
        out: Tensor = self.conv(torch.cat([decoded, z], dim=1))
        return out
