"""ProGAN's discriminator: an image to a score and label logits, at any level of detail.

Paper: Karras et al. 2018 (arXiv:1710.10196), sections 2, 3 and 4 and Table 2. Official:
tkarras/progressive_growing_of_gans@2504c3f, networks.py (D_paper). Names of parameters are the official ones
with ``.`` for ``/``. Deviation: blocks that the level of detail leaves without influence are skipped, which
changes no value.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reference_models import ops
from reference_models.layers.growing import (
    EqualisedConv,
    EqualisedDense,
    activate,
    descend,
    downscale,
)
from reference_models.progan.config import DiscriminatorConfig


class Verdict(NamedTuple):
    """What the discriminator says of a batch."""

    scores: Tensor  # (n, 1)
    logits: Tensor  # (n, c_dim), of width 0 without labels


class Discriminator(nn.Module):
    """Images to scores (larger is more real) and label logits.

    Attributes:
        config: Its sizes.
        c_dim: Number of classes.
        img_resolution: Side of the image.
        img_channels: Channels of the image.
        lod: The stored level of detail, a scalar buffer; 0 is full resolution.
    """

    lod: Tensor

    def __init__(self, config: DiscriminatorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.register_buffer("lod", torch.zeros(()))
        for level in range(config.levels + 1):
            stage = config.levels - level + 1
            maps = config.maps(stage)
            self.add_module(
                f"FromRGB_lod{level}",
                EqualisedConv(config.img_channels, maps, 1, use_wscale=config.use_wscale),
            )
            if level < config.levels:
                self.add_module(self._name(level), _Block(config, maps, config.maps(stage - 1)))
        self.add_module("4x4", _Last(config))

    def _name(self, level: int) -> str:
        side = self.img_resolution >> level
        return f"{side}x{side}"

    def set_lod(self, lod: float) -> None:
        """Stores the level of detail that `forward` takes when it is given none."""
        self.lod.fill_(lod)

    def forward(self, img: Tensor, *, lod: float | None = None) -> Verdict:
        """Scores and label logits of images.

        Args:
            img: ``(n, img_channels, img_resolution, img_resolution)`` in [-1, 1]; n divides by
                ``min(mbstd_group_size, n)``.
            lod: Level of detail; None takes the stored one.
        """
        x = descend(
            img,
            float(self.lod) if lod is None else lod,
            self.config.levels,
            lambda level, img: activate(getattr(self, f"FromRGB_lod{level}")(img), "lrelu"),
            lambda level, x: getattr(self, self._name(level))(x),
        )
        x = getattr(self, "4x4")(x)
        return Verdict(x[:, :1], x[:, 1:])


class _Block(nn.Module):
    # Halves the resolution. Where the two are not fused, the rectifier comes before the means.
    def __init__(self, config: DiscriminatorConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        fused = config.fused_scale
        self._second = "Conv1_down" if fused else "Conv1"
        self._fused = fused
        self.Conv0 = EqualisedConv(in_channels, in_channels, 3, use_wscale=config.use_wscale)
        self.add_module(
            self._second,
            EqualisedConv(
                in_channels,
                out_channels,
                3,
                use_wscale=config.use_wscale,
                resample="down" if fused else "same",
                fused=fused,
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = activate(self.Conv0(x), "lrelu")
        x = activate(getattr(self, self._second)(x), "lrelu")
        return x if self._fused else downscale(x)


class _Last(nn.Module):
    # 4x4: the minibatch's standard deviation, a convolution, two dense layers.
    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self._group = config.mbstd_group_size
        extra = 1 if self._group > 1 else 0
        first, last = config.maps(1), config.maps(0)
        self.Conv = EqualisedConv(first + extra, first, 3, use_wscale=config.use_wscale)
        self.Dense0 = EqualisedDense(16 * first, last, use_wscale=config.use_wscale)
        self.Dense1 = EqualisedDense(last, 1 + config.c_dim, gain=1.0, use_wscale=config.use_wscale)

    def forward(self, x: Tensor) -> Tensor:
        if self._group > 1:
            x = ops.minibatch_std(x, group_size=self._group)
        x = activate(self.Conv(x), "lrelu")
        x = activate(self.Dense0(torch.flatten(x, 1)), "lrelu")
        out: Tensor = self.Dense1(x)
        return out
