"""SRFlow's encoder: residual-in-residual dense blocks, whose features at several sizes condition the flow.

Papers: Wang et al. 2018 (ESRGAN, arXiv:1809.00219), section 3.1; Lugmayr et al. 2020 (arXiv:2006.14200),
section 4.3. Official: andreas128/SRFlow@5a007ad, models/modules/RRDBNet_arch.py. Parameter names are the
official ones. Unlike ESRGAN's network, the skip around ``trunk_conv`` starts behind the trunk. Differs: there
are as many enlargements as the scale asks for, where the program has at least two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_models.srflow.config import NetworkConfig

_SLOPE = 0.2
_RESIDUAL = 0.2
_INIT_SCALE = 0.1
_CONVS = 5


class Trunk(NamedTuple):
    """Features of the small image's size.

    Attributes:
        last: Of the trunk's end, ``(n, nf, h, w)``.
        blocks: Of every block, in order.
    """

    last: Tensor
    blocks: list[Tensor]


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it made."""

    def __init__(self, nf: int, gc: int) -> None:
        """Draws weights: a tenth of He et al.'s (2015), and no biases."""
        super().__init__()
        for index in range(1, _CONVS + 1):
            conv = _conv(nf + (index - 1) * gc, gc if index < _CONVS else nf)
            nn.init.kaiming_normal_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.weight.mul_(_INIT_SCALE)
            self.add_module(f"conv{index}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(n, nf, h, w)`` of features."""
        *inner, last = self.children()
        found = [x]
        for conv in inner:
            found.append(_activated(conv(torch.cat(found, dim=1))))
        grown: Tensor = last(torch.cat(found, dim=1))
        return _RESIDUAL * grown + x


class RRDB(nn.Module):
    """Three dense blocks and a skip around them."""

    def __init__(self, nf: int, gc: int) -> None:
        """Draws weights."""
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (DenseBlock(nf, gc) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(n, nf, h, w)`` of features."""
        grown: Tensor = self.RDB3(self.RDB2(self.RDB1(x)))
        return _RESIDUAL * grown + x


class RRDBNet(nn.Module):
    """The encoder, and the image that it made in its own training."""

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights: those of dense blocks smaller, all others as PyTorch does."""
        super().__init__()
        nf = config.nf
        self.conv_first = _conv(config.img_channels, nf)
        self.RRDB_trunk = nn.Sequential(*(RRDB(nf, config.gc) for _ in range(config.nb)))
        self.trunk_conv = _conv(nf, nf)
        self._doublings = config.scale.bit_length() - 1
        for index in range(1, self._doublings + 1):
            self.add_module(f"upconv{index}", _conv(nf, nf))
        self.HRconv = _conv(nf, nf)
        self.conv_last = _conv(nf, config.img_channels)

    def forward(self, lr: Tensor) -> Tensor:
        """The large image ``(n, c, h scale, w scale)`` of the encoder alone; the flow has no use for it.

        Args:
            lr: Small images ``(n, c, h, w)`` in [0, 1].
        """
        image: Tensor = self.conv_last(
            _activated(self.HRconv(self.enlarged(self.trunk(lr).last, self._doublings)[-1]))
        )
        return image

    def trunk(self, lr: Tensor) -> Trunk:
        """Features of small images ``(n, c, h, w)`` in [0, 1]."""
        x, blocks = self.conv_first(lr), []
        for block in self.RRDB_trunk:
            x = block(x)
            blocks.append(x)
        return Trunk(x + self.trunk_conv(x), blocks)

    def enlarged(self, last: Tensor, doublings: int) -> list[Tensor]:
        """The trunk's end at its own size, which is not activated, and at twice that size, four times, …

        Args:
            last: Of `trunk`.
            doublings: How often it is enlarged.
        """
        found = [last]
        for index in range(1, doublings + 1):
            conv = cast("nn.Conv2d", self.get_submodule(f"upconv{index}"))
            found.append(_activated(conv(F.interpolate(found[-1], scale_factor=2.0, mode="nearest"))))
        return found


def halved(last: Tensor) -> Tensor:
    """The trunk's end at half its size, bilinear."""
    return F.interpolate(last, scale_factor=0.5, mode="bilinear", align_corners=False)


def stacked(feature: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """A condition: a feature, and the features of chosen blocks brought to its size by nearest neighbours.

    Args:
        feature: ``(n, nf, h, w)``.
        blocks: Each ``(n, nf, h', w')``; there may be none.
    """
    if not blocks:
        return feature
    others = F.interpolate(torch.cat(list(blocks), dim=1), size=feature.shape[2:], mode="nearest")
    return torch.cat([feature, others], dim=1)
