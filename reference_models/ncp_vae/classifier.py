"""The classifier of a group: latents and what they depend on to one logit, the logarithm of the reweighting.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3.2 and appendix. Recalled of it, not read again: a 3x3
convolution, residual blocks with batch norm, swish and squeeze-and-excitation, blocks that halve the side and
double the channels, a spatial average and a linear layer; the context is the feature of the frozen decoder
from which the base prior is made. Those blocks are NVAE's cells of that kind. Differs: latents without a side
go through dense layers; the last layer begins at zero, so that an untrained prior is the base prior itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reference_models.ncp_vae.config import ClassifierConfig
from reference_models.ncp_vae.flat_vae import dense
from reference_models.nvae.cells import Cell
from reference_models.nvae.operations import BatchNormSwish, NormedConv

_OPERATIONS = ("res_bnswish", "res_bnswish")


class Classifier(nn.Module):
    """Tells draws of the aggregate posterior, positive logits, from draws of the base prior."""

    def __init__(self, latent_shape: Sequence[int], context_channels: int, config: ClassifierConfig) -> None:
        """Draws random weights; every logit is 0.

        Args:
            latent_shape: Channels, height and width of the group.
            context_channels: Of its context, of the same height and width; 0 for none.
            config: Sizes.
        """
        super().__init__()
        channels, side, width = latent_shape[0] + context_channels, latent_shape[1], config.width
        self.body: nn.Sequential
        if side == 1:
            self.body = nn.Sequential(
                nn.Flatten(), dense([channels, *[width] * (config.depth + 1)]), nn.SiLU()
            )
        else:
            layers: list[nn.Module] = [NormedConv(channels, width, 3)]
            for halved in range(min(config.halvings, side.bit_length() - 1) + 1):
                if halved:
                    layers.append(Cell(width, 2 * width, "down", _OPERATIONS, use_se=True))
                    width *= 2
                layers += [
                    Cell(width, width, "normal", _OPERATIONS, use_se=True) for _ in range(config.depth)
                ]
            layers += [BatchNormSwish(width), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Logits, which are ``ln r``.

        Args:
            z: ``(n, c, h, w)``.
            context: ``(n, context_channels, h, w)``.

        Returns:
            ``(n,)`` nats.
        """
        logits: Tensor = self.head(self.body(torch.cat([z, context], dim=1)))
        return logits[:, 0]
