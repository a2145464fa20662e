"""StyleGAN3's generator, configurations T and R.

Paper: Karras et al. 2021 (arXiv:2106.12423). Official: NVlabs/stylegan3@c233a91,
training/networks_stylegan3.py. Names of parameters and buffers are the official ones. Deviations: float32
throughout; the input's transform can be given with a call, besides the stored one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.mapping import MappingNetwork, StyleGenerator
from reference_models.stylegan3.config import GeneratorConfig
from reference_models.stylegan3.layers import SynthesisInput, SynthesisLayer
from reference_models.stylegan3.plan import plan


class SynthesisNetwork(nn.Module):
    """Styles to images.

    Attributes:
        num_ws: Entries of w that it takes: one for the input, one a layer.
        layer_names: Names of the layers in order.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        """Makes the input and the layers of the plan."""
        super().__init__()
        self.num_ws, self.w_dim, self.output_scale = config.num_ws, config.w_dim, config.output_scale
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        laid_out = plan(config)
        self.layer_names = tuple(laid_out.layers)
        self.input = SynthesisInput(config.w_dim, laid_out.input)
        for name, layer in laid_out.layers.items():
            self.add_module(
                name,
                SynthesisLayer(
                    config.w_dim,
                    layer,
                    conv_clamp=config.conv_clamp,
                    magnitude_ema_beta=config.magnitude_ema_beta,
                ),
            )

    def forward(self, ws: Tensor, *, update_emas: bool = False, transform: Tensor | None = None) -> Tensor:
        """Makes images.

        Args:
            ws: ``(n, num_ws, w_dim)``.
            update_emas: Whether the running means of magnitudes take in this pass; they are used at once.
            transform: Inverse transform of the picture in place of the stored one, ``(3, 3)``, ``(n, 3, 3)``.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``, in about [-1, 1].

        Raises:
            UsageError: Another shape of ws or of the transform.
        """
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(
                f"StyleGAN3's synthesis takes w of shape (n, {self.num_ws}, {self.w_dim}); given is "
                f"{tuple(ws.shape)}"
            )
        first, *others = ws.unbind(dim=1)
        x: Tensor = self.input(first, transform)
        for name, w in zip(self.layer_names, others, strict=True):
            x = getattr(self, name)(x, w, update_emas=update_emas)
        return x * self.output_scale


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
            what="StyleGAN3's generator",
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        transform: torch.Tensor | None = None,
    ) -> Tensor:
        """Images of latents.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot labels ``(n, c_dim)``, for a conditional network.
            truncation_psi: What is left of the distance from the mean style; 1 is all.
            truncation_cutoff: Entries of w that are truncated; None is all.
            update_emas: Whether ``mapping.w_avg`` and the running magnitudes take in this pass.
            transform: Inverse transform of the picture, in place of the stored one.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``.

        Raises:
            UsageError: Latents, labels or the transform of another shape, or labels missing.
        """
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_emas=update_emas,
        )
        img: Tensor = self.synthesis(ws, update_emas=update_emas, transform=transform)
        return img
