"""SRFlow: an exact likelihood of large images given small ones, and samples of it.

Paper: Lugmayr et al. 2020 (arXiv:2006.14200), equations 1 to 3 and section 4. Official:
andreas128/SRFlow@5a007ad, models/modules/SRFlowNet_arch.py and FlowUpsamplerNet.py. Parameter names are the
official ones, so that published state dicts load with ``strict=True``. Differs: random numbers come from the
caller, one small image may serve many large ones, and without ``config.conditional`` the network has no small
image (Glow: Kingma & Dhariwal 2018, arXiv:1807.03039).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.draws import Draws
from reference_models.layers.flow import standard_log_density
from reference_models.srflow.config import NetworkConfig
from reference_models.srflow.flow import Flow
from reference_models.srflow.rrdb import RRDBNet, halved, stacked

# Small images, or what `Network.condition` made of them; None where the network has no condition.
Given = Tensor | Sequence[Tensor] | None


class Encoded(NamedTuple):
    """Images as a forward pass finds them.

    Attributes:
        latents: Standardised latents of the splits in forward order, then the last one.
        logdet: ``(n,)`` nats: logarithms of volume change, and log densities of what the splits took.
    """

    latents: list[Tensor]
    logdet: Tensor

    @property
    def log_prob(self) -> Tensor:
        """``(n,)`` nats: log density of the images."""
        return self.logdet + standard_log_density(self.latents[-1])


class Network(nn.Module):
    """The whole model.

    Attributes:
        config: Its sizes.
        img_resolution: Side of the large images that it is trained on.
        img_channels: 3, or 1 for grey.
        c_dim: 0; it learns no labels.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Draws weights; the flow begins as rotations, and the first batch of training normalises it."""
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels, self.c_dim = config.img_resolution, config.img_channels, 0
        self.RRDB = RRDBNet(config) if config.conditional else None
        self.flowUpsamplerNet = Flow(config)

    def condition(self, lr: Tensor) -> list[Tensor]:
        """What small images say at each level, from the largest down: ``(n, cond_channels, …)``.

        Args:
            lr: ``(n, c, h, w)`` in [0, 1].

        Raises:
            UsageError: The network has no condition.
        """
        if self.RRDB is None:
            raise UsageError(
                "SRFlow: this network was made without a condition (conditional is off); give no small images"
            )
        last, blocks = self.RRDB.trunk(lr)
        doublings = self.config.scale.bit_length() - 1
        # The enlargement to the full size would condition nothing.
        sizes = self.RRDB.enlarged(last, doublings - 1)[::-1]
        if self.config.L > doublings:
            sizes.append(halved(last))
        chosen = [blocks[index] for index in self.config.blocks]
        return [stacked(feature, chosen) for feature in sizes[: self.config.L]]

    def encode(self, hr: Tensor, lr: Given) -> Encoded:
        """Latents and volume change of large images.

        Args:
            hr: ``(n, c, h scale, w scale)`` in [0, 1]; sides are multiples of ``config.multiple``.
            lr: Small images ``(n, c, h, w)`` in [0, 1], or what `condition` made of them; of one small image
                for all large ones as well.

        Raises:
            UsageError: A side is no such multiple, the small images are not of the size that the scale asks
                for, or there is a condition where there should be none, or none where there should be one.
        """
        self.config.latent_shapes(*hr.shape[2:])
        conds = self._conditions(lr)
        if conds is not None and conds[0].shape[2:] != (hr.shape[2] // 2, hr.shape[3] // 2):
            raise UsageError(
                "SRFlow: the small images belong to large ones of "
                f"{2 * conds[0].shape[2]}x{2 * conds[0].shape[3]}, and the large ones are "
                f"{hr.shape[2]}x{hr.shape[3]}; give large images {self.config.scale} times as high and wide "
                "as the small ones"
            )
        return Encoded(*self.flowUpsamplerNet(hr, conds))

    def log_prob(self, hr: Tensor, lr: Given) -> Tensor:
        """Log density of large images given small ones: ``(n,)`` nats, over [0, 1]; see `encode`."""
        return self.encode(hr, lr).log_prob

    def decode(self, latents: Sequence[Tensor], lr: Given) -> Tensor:
        """Large images of latents, about in [0, 1].

        Args:
            latents: As `encode` returns them.
            lr: See `encode`.

        Raises:
            UsageError: See `encode`.
        """
        return self.flowUpsamplerNet.reverse(latents, self._conditions(lr))[0]

    def sample(self, draws: Draws, lr: Given, temperature: float) -> Tensor:
        """Large images, drawn: ``(n, c, h scale, w scale)``, about in [0, 1].

        Args:
            draws: Standard normal numbers, first of the last latent, then of the splits from the last to the
                first.
            lr: Small images, one an image or one for all; None without a condition. See `encode`.
            temperature: Factor of the normal numbers, from 0 up; at 0 all are zeros.

        Raises:
            UsageError: See `encode`.
        """
        conds = self._conditions(lr)
        side = self.config.img_resolution
        size = (side, side) if conds is None else (2 * conds[0].shape[2], 2 * conds[0].shape[3])
        shapes = self.config.latent_shapes(*size)
        latents = [draws.normal(shape) * temperature for shape in shapes[::-1]]
        return self.decode(latents[::-1], conds)

    def forward(self, hr: Tensor, lr: Tensor | None) -> Tensor:
        """See `log_prob`."""
        return self.log_prob(hr, lr)

    def _conditions(self, lr: Given) -> Sequence[Tensor] | None:
        if lr is None and self.config.conditional:
            raise UsageError("SRFlow: the network is conditional; give small images")
        return self.condition(lr) if isinstance(lr, Tensor) else lr
