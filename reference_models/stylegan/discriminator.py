"""StyleGAN's discriminator: an image, and labels where there are some, to a score.

Paper: Karras et al. 2019 (arXiv:1812.04948), appendix C; labels as in Mescheder et al. 2018
    (arXiv:1801.04406).
Official: NVlabs/stylegan@1e0d5c7, training/networks_stylegan.py (D_basic). Names of parameters are the
official ones with ``.`` for ``/``. Deviation: blocks that the level of detail leaves without influence are
skipped, which changes no value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference_models import ops
from reference_models.layers.growing import (
    EqualisedConv,
    EqualisedDense,
    activate,
    check_labels,
    descend,
)
from reference_models.stylegan.config import DiscriminatorConfig
from reference_models.stylegan.layers import Blur


class Discriminator(nn.Module):
    """Images to scores; larger is more real.

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
                self.add_module(self._name(level), _Block(config, stage))
        self.add_module("4x4", _Last(config))

    def _name(self, level: int) -> str:
        side = self.img_resolution >> level
        return f"{side}x{side}"

    def set_lod(self, lod: float) -> None:
        """Stores the level of detail that `forward` takes when it is given none."""
        self.lod.fill_(lod)

    def forward(self, img: Tensor, c: Tensor | None = None, *, lod: float | None = None) -> Tensor:
        """Scores of images.

        Args:
            img: ``(n, img_channels, img_resolution, img_resolution)`` in [-1, 1]; n divides by
                ``min(mbstd_group_size, n)``.
            c: One-hot ``(n, c_dim)``, for a conditional network.
            lod: Level of detail; None takes the stored one.

        Returns:
            ``(n, 1)``; with labels, the output of the sample's own class.

        Raises:
            UsageError: Labels are missing or have another shape.
        """
        c = check_labels(c, len(img), self.c_dim, "StyleGAN's discriminator")
        act = self.config.nonlinearity
        x = descend(
            img,
            float(self.lod) if lod is None else lod,
            self.config.levels,
            lambda level, img: activate(getattr(self, f"FromRGB_lod{level}")(img), act),
            lambda level, x: getattr(self, self._name(level))(x),
        )
        scores: Tensor = getattr(self, "4x4")(x)
        return scores if c is None else (scores * c.to(scores)).sum(dim=1, keepdim=True)


class _Block(nn.Module):
    # Halves the resolution; the blur comes before the convolution that does.
    def __init__(self, config: DiscriminatorConfig, stage: int) -> None:
        super().__init__()
        maps = config.maps(stage)
        self._act = config.nonlinearity
        self.Conv0 = EqualisedConv(maps, maps, 3, use_wscale=config.use_wscale)
        self._blur = Blur(config.blur_filter)
        self.Conv1_down = EqualisedConv(
            maps,
            config.maps(stage - 1),
            3,
            use_wscale=config.use_wscale,
            resample="down",
            fused=config.fused(2 ** (stage + 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self._blur(activate(self.Conv0(x), self._act))
        return activate(self.Conv1_down(x), self._act)


class _Last(nn.Module):
    # 4x4: the minibatch's standard deviation, a convolution, two dense layers.
    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self._act = config.nonlinearity
        self._group = config.mbstd_group_size
        self._features = config.mbstd_num_features if self._group > 1 else 0
        first, last = config.maps(1), config.maps(0)
        self.Conv = EqualisedConv(first + self._features, first, 3, use_wscale=config.use_wscale)
        self.Dense0 = EqualisedDense(16 * first, last, use_wscale=config.use_wscale)
        self.Dense1 = EqualisedDense(last, max(config.c_dim, 1), gain=1.0, use_wscale=config.use_wscale)

    def forward(self, x: Tensor) -> Tensor:
        if self._features:
            x = ops.minibatch_std(x, group_size=self._group, num_channels=self._features)
        x = activate(self.Conv(x), self._act)
        x = activate(self.Dense0(torch.flatten(x, 1)), self._act)
        out: Tensor = self.Dense1(x)
        return out
