"""StyleGAN2's generator: latents and labels to images, in its skip, resnet and orig architectures.

Paper: Karras et al. 2020 (arXiv:1912.04958), figures 2 and 7. Official: NVlabs/stylegan3@c233a91,
training/networks_stylegan2.py, which computes what NVlabs/stylegan2-ada-pytorch@d72cc7d does. Names of
parameters and buffers are the official ones. Deviations: float32 throughout; noise is that of `Rendering`;
``w_avg`` is updated on request alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from evalkit.imaging.moved_grid import moved_grid
from reference_models.layers.equalised import ResampledConv2d
from reference_models.layers.mapping import MappingNetwork, StyleGenerator
from reference_models.ops import setup_filter, upsample2d
from reference_models.stylegan2.config import GeneratorConfig
from reference_models.stylegan2.layers import Generators, Rendering, SynthesisLayer, ToRGB

_HALF = math.sqrt(0.5)


class SynthesisBlock(nn.Module):
    """The layers of one resolution.

    Attributes:
        num_conv: Styled convolutions, each of which takes one entry of w.
        const: The learned input ``(channels, 4, 4)``, in the first block.
        resample_filter: Filter for the image.
    """

    resample_filter: Tensor

    def __init__(self, resolution: int, config: GeneratorConfig) -> None:
        """Makes the layers of one side of ``config.resolutions``."""
        super().__init__()
        channels = config.channels(resolution)
        self.is_first, is_last = resolution == 4, resolution == config.img_resolution
        self.architecture = config.architecture
        self.num_conv = 1 if self.is_first else 2
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if self.is_first:
            self.const = nn.Parameter(torch.randn(channels, 4, 4))
        else:
            below = config.channels(resolution // 2)
            self.conv0 = SynthesisLayer(below, channels, resolution, config, up=2)
            if config.architecture == "resnet":
                self.skip = ResampledConv2d(
                    below, channels, 1, bias=False, up=2, resample_filter=config.resample_filter
                )
        self.conv1 = SynthesisLayer(channels, channels, resolution, config)
        self.torgb = ToRGB(channels, config) if is_last or config.architecture == "skip" else None

    def forward(
        self, x: Tensor | None, img: Tensor | None, ws: Tensor, how: Rendering
    ) -> tuple[Tensor, Tensor | None]:
        """Runs the block.

        Args:
            x: Features of the block below, None in the first block.
            img: Image of the block below, where there is one.
            ws: ``(n, num_conv + 1, w_dim)``; the last entry is toRGB's.
            how: Noise and route.

        Returns:
            Features, and the image so far.
        """
        if x is None:
            const = self.const if how.transform is None else moved_grid(self.const[None], how.transform)[0]
            x = self.conv1(const[None].repeat(len(ws), 1, 1, 1), ws[:, 0], how)
        elif self.architecture == "resnet":
            shortcut = self.skip(x, _HALF)
            x = shortcut + self.conv1(self.conv0(x, ws[:, 0], how), ws[:, 1], how, _HALF)
        else:
            x = self.conv1(self.conv0(x, ws[:, 0], how), ws[:, 1], how)
        if img is not None:
            img = upsample2d(img, self.resample_filter)
        if self.torgb is not None:
            y = self.torgb(x, ws[:, self.num_conv], how)
            img = y if img is None else img + y
        return x, img


class SynthesisNetwork(nn.Module):
    """Styles to images.

    Attributes:
        num_ws: Entries of w that it takes.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        """Makes a block for every resolution, named ``b4``, ``b8`` and so on."""
        super().__init__()
        self.resolutions, self.num_ws, self.w_dim = config.resolutions, config.num_ws, config.w_dim
        for resolution in config.resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(resolution, config))

    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: str = "const",
        generator: Generators = None,
        fused: bool = True,
        update_emas: bool = False,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Makes images.

        Args:
            ws: ``(n, num_ws, w_dim)``.
            noise_mode: ``const``, ``random`` or ``none``.
            generator: Source of random noise: one for the batch, or one a sample; None is torch's own.
            fused: Whether styles scale the weights or the activations: two routes to the same images.
            update_emas: Nothing in this network; StyleGAN3's takes it.
            transform: Inverse transform of the picture, ``(3, 3)``: the learned constant is read at the
                transformed places (`evalkit.imaging.moved_grid`); noise stays where it is.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``, in about [-1, 1].

        Raises:
            UsageError: Another shape of ws, an unknown noise mode, or not one generator a sample.
        """
        del update_emas
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(
                f"StyleGAN2's synthesis takes w of shape (n, {self.num_ws}, {self.w_dim}); given is "
                f"{tuple(ws.shape)}"
            )
        how = Rendering(noise_mode=noise_mode, generator=generator, fused=fused, transform=transform)
        x: Tensor | None = None
        img: Tensor | None = None
        start = 0
        for resolution in self.resolutions:
            block: SynthesisBlock = getattr(self, f"b{resolution}")
            # toRGB takes the entry behind the block's own, which it shares with the next block's first layer.
            x, img = block(x, img, ws[:, start : start + block.num_conv + 1], how)
            start += block.num_conv
        assert img is not None  # the last block has a toRGB in every architecture
        return img


class Generator(StyleGenerator):
    """z and labels to images in about [-1, 1].

    Attributes:
        config: Its sizes.
    """

    synthesis: SynthesisNetwork

    def __init__(self, config: GeneratorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws = config.num_ws
        self.synthesis = SynthesisNetwork(config)
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.num_ws,
            config.mapping,
            what="StyleGAN2's generator",
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
        generator: Generators = None,
        fused: bool = True,
        update_emas: bool = False,
    ) -> Tensor:
        """Images of latents.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot labels ``(n, c_dim)``, for a conditional network.
            truncation_psi: What is left of the distance from the mean style; 1 is all.
            truncation_cutoff: Entries of w that are truncated; None is all.
            noise_mode: ``const``, ``random`` or ``none``.
            generator: Source of random noise.
            fused: Which of two routes the modulated convolutions take.
            update_emas: Whether ``mapping.w_avg`` takes in this batch.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``.

        Raises:
            UsageError: Latents or labels of another shape, labels missing, an unknown noise mode.
        """
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_emas=update_emas,
        )
        img: Tensor = self.synthesis(ws, noise_mode=noise_mode, generator=generator, fused=fused)
        return img
