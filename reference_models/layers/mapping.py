"""The mapping network of StyleGAN2 and StyleGAN3: latents and labels to styles w, with the truncation trick.

Karras et al. 2019 (arXiv:1812.04948), section 2 and appendix B (truncation towards the mean w). z and the
embedded labels are each brought to unit root mean square and joined; ``fc0, fc1, ...`` follow, with a
learning rate of their own. In front of a synthesis network, w is repeated once for every layer that takes
one, and a running mean ``w_avg`` is kept; in the discriminator neither happens, and there is no z.

Official: NVlabs/stylegan3@c233a91, training/networks_stylegan2.py and networks_stylegan3.py, which compute
the same here. Names of parameters are the official ones. Differs: ``w_avg`` is updated on request alone,
never by the mode of the module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice, check_positive, check_whole
from reference_models.layers.equalised import FullyConnected
from reference_models.layers.growing import check_labels, pixel_norm
from reference_models.ops.bias_act import ACTIVATIONS

_DEEPEST = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingConfig:
    """What a mapping network is made of, by the official names.

    Attributes:
        num_layers: Dense layers.
        embed_features: Width of the embedded label; None is that of the result.
        layer_features: Width between the layers; None is that of the result.
        activation: Of every dense layer.
        lr_multiplier: Of every dense layer but the embedding.
        w_avg_beta: Decay of the running mean of w; None keeps none.
    """

    num_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    activation: str = "lrelu"
    lr_multiplier: float = 0.01
    w_avg_beta: float | None = 0.998

    def __post_init__(self) -> None:
        what = "the mapping network"
        check_whole(what, "num_layers", self.num_layers, 1, _DEEPEST)
        for name in ("embed_features", "layer_features"):
            if (width := getattr(self, name)) is not None:
                check_whole(what, name, width, 1)
        check_choice(what, "activation", self.activation, tuple(ACTIVATIONS))
        check_positive(what, "lr_multiplier", self.lr_multiplier)
        if self.w_avg_beta is not None and not 0 <= self.w_avg_beta <= 1:
            raise UsageError(f"{what}: w_avg_beta is {self.w_avg_beta!r}; give 0 to 1, or None")


class MappingNetwork(nn.Module):
    """z and labels to w.

    Attributes:
        w_avg: Running mean of w, ``(w_dim,)``; None where none is kept.
    """

    w_avg: Tensor | None

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, num_ws: int | None, config: MappingConfig, *, what: str
    ) -> None:
        """Makes the layers.

        Args:
            z_dim: Width of the latent; 0 for a network of labels alone.
            c_dim: Width of the labels; 0 for a network of latents alone.
            w_dim: Width of the result.
            num_ws: How often w is repeated; None returns it as it is.
            config: Depth and widths.
            what: How messages name the network.
        """
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        self.what, self.num_layers, self.w_avg_beta = what, config.num_layers, config.w_avg_beta
        embedded = 0
        self.embed: FullyConnected | None = None
        if c_dim > 0:
            embedded = w_dim if config.embed_features is None else config.embed_features
            self.embed = FullyConnected(c_dim, embedded)
        inner = w_dim if config.layer_features is None else config.layer_features
        widths = [z_dim + embedded, *[inner] * (config.num_layers - 1), w_dim]
        for index in range(config.num_layers):
            layer = FullyConnected(
                widths[index],
                widths[index + 1],
                activation=config.activation,
                lr_multiplier=config.lr_multiplier,
            )
            self.add_module(f"fc{index}", layer)
        if num_ws is not None and config.w_avg_beta is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))
        else:
            self.w_avg = None

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Maps latents and labels.

        Args:
            z: ``(n, z_dim)``; None where z_dim is 0.
            c: One-hot labels ``(n, c_dim)``; None or of width 0 where there are none.
            truncation_psi: What is left of the distance from ``w_avg``: 1 is all, 0 is ``w_avg`` itself.
            truncation_cutoff: Entries of w that are truncated, from the first; None is all.
            update_emas: Whether ``w_avg`` takes in the mean of this batch (before truncation).

        Returns:
            ``(n, num_ws, w_dim)``, or ``(n, w_dim)`` where num_ws is None.

        Raises:
            UsageError: Latents or labels of another shape; labels that are missing; truncation without w_avg.
        """
        # Styles decide everything behind them: in mixed precision too, they are made in float32.
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            x = self._join(z, c)
            for index in range(self.num_layers):
                x = getattr(self, f"fc{index}")(x)
        if update_emas and self.w_avg is not None and self.w_avg_beta is not None:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        if self.num_ws is not None:
            x = x[:, None].repeat(1, self.num_ws, 1)
        return x if truncation_psi == 1 else self._truncate(x, truncation_psi, truncation_cutoff)

    def _join(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        parts = []
        dtype = next(self.parameters()).dtype
        if self.z_dim > 0:
            if z is None or z.ndim != 2 or z.shape[1] != self.z_dim:
                given = "none" if z is None else f"some of shape {tuple(z.shape)}"
                raise UsageError(
                    f"{self.what} takes latents of shape (n, {self.z_dim}) and was given {given}"
                )
            parts.append(pixel_norm(z.to(dtype)))
        num = len(parts[0]) if parts else (0 if c is None else len(c))
        c = check_labels(c, num, self.c_dim, self.what)
        if self.embed is not None and c is not None:
            parts.append(pixel_norm(self.embed(c.to(dtype))))
        return torch.cat(parts, dim=1)

    def _truncate(self, ws: Tensor, psi: float, cutoff: int | None) -> Tensor:
        if self.w_avg is None:
            raise UsageError(
                f"{self.what} keeps no w_avg, towards which truncation_psi={psi} would pull; give 1"
            )
        if cutoff is None:
            return self.w_avg.lerp(ws, psi)
        if cutoff < 0:
            raise UsageError(
                f"truncation_cutoff is {cutoff}; give how many entries of w to truncate, or None"
            )
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)


class StyleGenerator(nn.Module):
    """What the generators of StyleGAN2 and StyleGAN3 have in common: a mapping in front of a synthesis.

    Attributes:
        z_dim: Width of the latent.
        c_dim: Number of classes.
        w_dim: Width of the style.
        num_ws: Entries of w that the synthesis takes.
        img_resolution: Side of the image.
        img_channels: Channels of the image.
        mapping: z and labels to w.
        synthesis: w to images.
    """

    z_dim: int
    c_dim: int
    w_dim: int
    num_ws: int
    img_resolution: int
    img_channels: int
    mapping: MappingNetwork
    synthesis: nn.Module
