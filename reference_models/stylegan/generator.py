"""StyleGAN's generator: mapping, truncation or mixing of styles, synthesis at any level of detail.

Paper: Karras et al. 2019 (arXiv:1812.04948), sections 2 and 3.1, appendices B and C. Official:
NVlabs/stylegan@1e0d5c7, training/networks_stylegan.py (G_style). Names of parameters are the official ones
with ``.`` for ``/`` and without the ``G_`` of the two parts. Deviations: truncation is off unless asked for;
blocks that the level of detail leaves without influence are skipped, which changes no value; the noise is
drawn from a generator that the caller gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evalkit.errors import UsageError, nearest
from reference_models.layers.growing import EqualisedConv, ascend, lerp, split_lod
from reference_models.stylegan.config import GeneratorConfig
from reference_models.stylegan.layers import ConstLayer, ConvLayer, MappingNetwork

# The stored maps, none, or one map (n or 1, 1, h, w) a layer.
Noise = str | Sequence[Tensor]
NOISE_MODES = ("const", "none", "random")


class Synthesis(nn.Module):
    """Styles to an image.

    Attributes:
        config: Its sizes.
        num_ws: Layers with a style.
        lod: The stored level of detail, a scalar buffer.
        noise0: The stored noise map of layer 0, ``(1, 1, 4, 4)``; ``noise1`` and on for the others.
    """

    lod: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        self.register_buffer("lod", torch.zeros(()))
        if config.use_noise:
            for layer, side in enumerate(self.noise_sides()):
                self.register_buffer(f"noise{layer}", torch.randn(1, 1, side, side))
        self.add_module("4x4", _First(config))
        self.add_module(f"ToRGB_lod{config.levels}", self._to_rgb(config.maps(1)))
        for level in range(config.levels - 1, -1, -1):
            stage = config.levels - level + 1
            self.add_module(self._name(level), _Block(config, stage))
            self.add_module(f"ToRGB_lod{level}", self._to_rgb(config.maps(stage)))

    def _to_rgb(self, channels: int) -> EqualisedConv:
        config = self.config
        return EqualisedConv(channels, config.img_channels, 1, gain=1.0, use_wscale=config.use_wscale)

    def _name(self, level: int) -> str:
        side = self.config.img_resolution >> level
        return f"{side}x{side}"

    def noise_sides(self) -> list[int]:
        """Sides of the noise maps, one a layer: 4, 4, 8, 8, ..."""
        return [2 ** (2 + layer // 2) for layer in range(self.num_ws)]

    def noise_maps(
        self, num: int, noise: Noise = "const", rng: torch.Generator | None = None
    ) -> list[Tensor | None]:
        """One noise map a layer, as `forward` takes them.

        Args:
            num: How many samples.
            noise: ``const`` (the stored maps), ``none``, ``random``, or the maps themselves.
            rng: What ``random`` draws from: one normal map a sample and layer, from coarse to fine.

        Raises:
            UsageError: The mode is unknown, ``random`` has no generator, or the maps are not one a layer.
        """
        sides = self.noise_sides()
        if not isinstance(noise, str):
            if len(noise) != len(sides):
                raise UsageError(f"{len(noise)} noise maps were given; this network has {len(sides)} layers")
            return list(noise)
        if noise not in NOISE_MODES:
            raise UsageError(
                f"unknown noise mode {noise!r} (nearest: {nearest(noise, list(NOISE_MODES))}); give "
                f"{', '.join(map(repr, NOISE_MODES))}, or one map a layer"
            )
        if noise == "none" or not self.config.use_noise:
            return [None] * len(sides)
        if noise == "const":
            return [getattr(self, f"noise{layer}") for layer in range(len(sides))]
        if rng is None:
            raise UsageError("noise 'random' needs a torch.Generator to draw from; give rng")
        return [torch.randn(num, 1, side, side, generator=rng, device=rng.device) for side in sides]

    def forward(
        self,
        ws: Tensor,
        *,
        noise: Noise = "const",
        rng: torch.Generator | None = None,
        lod: float | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """Images of styles.

        Args:
            ws: ``(n, num_ws, w_dim)``.
            noise: ``const``, ``none``, ``random``, or one map a layer.
            rng: What ``random`` draws from.
            lod: Level of detail; None takes the stored one.
            transform: Inverse transform of the picture, ``(3, 3)``: the learned constant is read at the
                transformed places (`evalkit.imaging.moved_grid`); noise stays where it is.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``, always at full resolution.

        Raises:
            UsageError: The styles or the transform have another shape, or see `noise_maps`.
        """
        config = self.config
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, config.w_dim):
            raise UsageError(
                f"StyleGAN's synthesis was given styles of shape {tuple(ws.shape)}; it takes "
                f"(n, {self.num_ws}, {config.w_dim})"
            )
        maps = self.noise_maps(len(ws), noise, rng)

        def block(level: int, x: Tensor) -> Tensor:
            first = 2 * (config.levels - level)
            out: Tensor = getattr(self, self._name(level))(
                x, ws[:, first : first + 2], maps[first : first + 2]
            )
            return out

        return ascend(
            getattr(self, "4x4")(ws[:, :2], maps[:2], transform),
            float(self.lod) if lod is None else lod,
            config.levels,
            block,
            lambda level, x: getattr(self, f"ToRGB_lod{level}")(x),
        )


class _First(nn.Module):
    # 4x4: the constant and a convolution.
    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.Const = ConstLayer(config)
        self.Conv = ConvLayer(config, config.maps(1), config.maps(1))

    def forward(self, ws: Tensor, maps: Sequence[Tensor | None], transform: Tensor | None = None) -> Tensor:
        x = self.Const(ws[:, 0], maps[0], transform)
        out: Tensor = self.Conv(x, ws[:, 1], maps[1])
        return out


class _Block(nn.Module):
    # Doubles the resolution: two convolutions, the first of which upscales.
    def __init__(self, config: GeneratorConfig, stage: int) -> None:
        super().__init__()
        out = config.maps(stage)
        self.Conv0_up = ConvLayer(config, config.maps(stage - 1), out, up_to=2 ** (stage + 1))
        self.Conv1 = ConvLayer(config, out, out)

    def forward(self, x: Tensor, ws: Tensor, maps: Sequence[Tensor | None]) -> Tensor:
        x = self.Conv0_up(x, ws[:, 0], maps[0])
        out: Tensor = self.Conv1(x, ws[:, 1], maps[1])
        return out


class Generator(nn.Module):
    """z and labels to an image in about [-1, 1].

    Attributes:
        config: Its sizes.
        z_dim: Width of the latent.
        c_dim: Number of classes.
        w_dim: Width of the intermediate latent.
        num_ws: Layers with a style.
        img_resolution: Side of the image.
        img_channels: Channels of the image.
        lod: The stored level of detail, a scalar buffer.
        dlatent_avg: Running average of w, ``(w_dim,)``; `w_avg` is the same under the other models' name.
    """

    lod: Tensor
    dlatent_avg: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        """Builds the network with random weights from torch's current generator."""
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws = config.num_ws
        self.register_buffer("lod", torch.zeros(()))
        self.register_buffer("dlatent_avg", torch.zeros(config.w_dim))
        self.mapping = MappingNetwork(config)
        self.synthesis = Synthesis(config)

    @property
    def w_avg(self) -> Tensor:
        """Running average of w, ``(w_dim,)``."""
        return self.dlatent_avg

    def set_lod(self, lod: float) -> None:
        """Stores the level of detail that `forward` takes when it is given none."""
        self.lod.fill_(lod)
        self.synthesis.lod.fill_(lod)

    def truncate(self, ws: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Draws styles toward the average: ``w_avg + psi (w - w_avg)`` in the layers before a cutoff.

        Args:
            ws: ``(n, num_ws, w_dim)``.
            psi: 1 leaves them as they are, 0 gives the average.
            cutoff: How many layers it reaches; None takes the config's ``truncation_cutoff``, there None is
                all.
        """
        reach = self.config.truncation_cutoff if cutoff is None else cutoff
        reach = self.num_ws if reach is None else min(max(reach, 0), self.num_ws)
        if psi == 1.0 or reach == 0:
            return ws
        return torch.cat([lerp(self.w_avg, ws[:, :reach], psi), ws[:, reach:]], dim=1)

    def map(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Styles of latents, the same for all layers before truncation.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot ``(n, c_dim)``, for a conditional network.
            truncation_psi: See `truncate`.
            truncation_cutoff: See `truncate`.

        Returns:
            ``(n, num_ws, w_dim)``.
        """
        ws = self.mapping(z, c).unsqueeze(1).repeat(1, self.num_ws, 1)
        return self.truncate(ws, truncation_psi, truncation_cutoff)

    def update_w_avg(self, w: Tensor) -> None:
        """Moves the running average toward the mean of a batch ``(n, w_dim)``."""
        with torch.no_grad():
            mean = w.detach().mean(dim=0)
            self.dlatent_avg.copy_(lerp(mean, self.dlatent_avg, self.config.mapping.w_avg_beta))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise: Noise = "const",
        rng: torch.Generator | None = None,
        lod: float | None = None,
    ) -> Tensor:
        """Images of latents.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot ``(n, c_dim)``, for a conditional network.
            truncation_psi: See `truncate`.
            truncation_cutoff: See `truncate`.
            noise: ``const``, ``none``, ``random``, or one map a layer.
            rng: What ``random`` draws from.
            lod: Level of detail; None takes the stored one.

        Returns:
            ``(n, img_channels, img_resolution, img_resolution)``, always at full resolution.

        Raises:
            UsageError: Latents or labels have another shape, labels are missing, or the noise cannot be had.
        """
        ws = self.map(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        out: Tensor = self.synthesis(ws, noise=noise, rng=rng, lod=float(self.lod) if lod is None else lod)
        return out

    def training_images(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        z_mix: Tensor | None = None,
        cutoff: int | None = None,
        noise: Noise = "random",
        rng: torch.Generator | None = None,
        lod: float | None = None,
    ) -> Tensor:
        """Images as training makes them: the average of w moves, and two latents may share an image.

        Args:
            z: ``(n, z_dim)``.
            c: One-hot ``(n, c_dim)``, for both latents.
            z_mix: Second latents ``(n, z_dim)``; None for no mixing.
            cutoff: The first layer of the second latents' styles (`objective.mixing_cutoff`).
            noise: As in `forward`.
            rng: As in `forward`.
            lod: As in `forward`.

        Raises:
            UsageError: As `forward`, or second latents without a cutoff.
        """
        w = self.mapping(z, c)
        self.update_w_avg(w)
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        if z_mix is not None:
            if cutoff is None:
                raise UsageError("second latents were given without a cutoff; give the first layer they rule")
            second = self.mapping(z_mix, c).unsqueeze(1).expand(-1, self.num_ws, -1)
            ws = torch.cat([ws[:, :cutoff], second[:, cutoff:]], dim=1)
        out: Tensor = self.synthesis(ws, noise=noise, rng=rng, lod=float(self.lod) if lod is None else lod)
        return out


def active_layers(num_ws: int, lod: float) -> int:
    """Layers with influence at a level of detail: two fewer for every whole level."""
    level, _ = split_lod(lod, num_ws // 2 - 1)
    return num_ws - 2 * level
