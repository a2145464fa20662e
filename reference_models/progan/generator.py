"""ProGAN's generator: a latent to an image, at any level of detail.

Paper: Karras et al. 2018 (arXiv:1710.10196), sections 2 and 4 and Table 2. Official:
tkarras/progressive_growing_of_gans@2504c3f, networks.py (G_paper). Names of parameters are the official ones
with ``.`` for ``/``. Deviation: blocks that the level of detail leaves without influence are skipped, which
changes no value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.growing import (
    SQRT2,
    EqualisedConv,
    EqualisedDense,
    activate,
    ascend,
    check_labels,
    pixel_norm,
)
from reference_models.progan.config import GeneratorConfig


class Generator(nn.Module):
    """z and labels to an image in about [-1, 1].

    Attributes:
        config: Its sizes.
        z_dim: Width of the latent.
        c_dim: Number of classes.
        img_resolution: Side of the image.
        img_channels: Channels of the image.
        lod: The stored level of detail, a scalar buffer; 0 is full resolution.
    """

    lod: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim = config.latent_size, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.register_buffer("lod", torch.zeros(()))
        self.add_module("4x4", _First(config))
        self.add_module(f"ToRGB_lod{config.levels}", self._to_rgb(config.maps(1)))
        for level in range(config.levels - 1, -1, -1):
            stage = config.levels - level + 1
            self.add_module(_name(config, level), _Block(config, config.maps(stage - 1), config.maps(stage)))
            self.add_module(f"ToRGB_lod{level}", self._to_rgb(config.maps(stage)))

    def _to_rgb(self, channels: int) -> EqualisedConv:
        return EqualisedConv(channels, self.img_channels, 1, gain=1.0, use_wscale=self.config.use_wscale)

    def set_lod(self, lod: float) -> None:
        """Stores the level of detail that `forward` takes when it is given none."""
        self.lod.fill_(lod)

    def join(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The network's input: ``z (n, z_dim)`` and one-hot labels ``(n, c_dim)`` side by side.

        Raises:
            UsageError: The latents or the labels have another shape, or labels are missing.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise UsageError(
                f"ProGAN's generator was given latents of shape {tuple(z.shape)}; it takes (n, {self.z_dim})"
            )
        c = check_labels(c, len(z), self.c_dim, "ProGAN's generator")
        return z if c is None else torch.cat([z, c.to(z)], dim=1)

    def synthesis(self, joined: Tensor, *, lod: float | None = None) -> Tensor:
        """What `join` returned, to images."""
        config = self.config
        if config.normalize_latents:
            joined = pixel_norm(joined, config.pixelnorm_epsilon)
        x = getattr(self, "4x4")(joined)
        return ascend(
            x,
            float(self.lod) if lod is None else lod,
            config.levels,
            lambda level, x: getattr(self, _name(config, level))(x),
            lambda level, x: getattr(self, f"ToRGB_lod{level}")(x),
        )

    def forward(self, z: Tensor, c: Tensor | None = None, *, lod: float | None = None) -> Tensor:
        """Images of latents.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot ``(n, c_dim)``, for a conditional network.
            lod: Level of detail; None takes the stored one.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``, always at full resolution.

        Raises:
            UsageError: The latents or the labels have another shape, or labels are missing.
        """
        return self.synthesis(self.join(z, c), lod=lod)


def _name(config: GeneratorConfig, level: int) -> str:
    side = config.img_resolution >> level
    return f"{side}x{side}"


class _Layer(nn.Module):
    # What follows every convolution: the rectifier, then the normalisation.
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self._act = "lrelu" if config.use_leakyrelu else "relu"
        self._epsilon = config.pixelnorm_epsilon if config.use_pixelnorm else None

    def finish(self, x: Tensor) -> Tensor:
        x = activate(x, self._act)
        return x if self._epsilon is None else pixel_norm(x, self._epsilon)


class _First(_Layer):
    # 4x4: a dense layer and a convolution.
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        maps = config.maps(1)
        self.Dense = EqualisedDense(
            config.latent_size + config.c_dim,
            16 * maps,
            gain=SQRT2 / 4.0,
            use_wscale=config.use_wscale,
            bias_features=maps,
        )
        self.Conv = EqualisedConv(maps, maps, 3, use_wscale=config.use_wscale)

    def forward(self, joined: Tensor) -> Tensor:
        x = self.Dense.product(joined).reshape(len(joined), -1, 4, 4)
        x = self.finish(x + self.Dense.scaled_bias().view(1, -1, 1, 1))
        return self.finish(self.Conv(x))


class _Block(_Layer):
    # Doubles the resolution: two convolutions, the first of which upscales.
    def __init__(self, config: GeneratorConfig, in_channels: int, out_channels: int) -> None:
        super().__init__(config)
        self._first = "Conv0_up" if config.fused_scale else "Conv0"
        self.add_module(
            self._first,
            EqualisedConv(
                in_channels,
                out_channels,
                3,
                use_wscale=config.use_wscale,
                resample="up",
                fused=config.fused_scale,
                # The official fused weight is (k, k, out, in): reversed like all others it is (in, out, k,
                # k).
                stored_in_out=config.fused_scale,
            ),
        )
        self.Conv1 = EqualisedConv(out_channels, out_channels, 3, use_wscale=config.use_wscale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.finish(getattr(self, self._first)(x))
        return self.finish(self.Conv1(x))
