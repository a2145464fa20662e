"""Sizes of StyleGAN's networks, and the published ones as presets.

Paper: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks"
(arXiv:1812.04948), section 2 and appendix C. Official: NVlabs/stylegan@1e0d5c7, training/networks_stylegan.py
and train.py. Names of fields are this project's where all its models share them (``z_dim`` is
``latent_size``, ``w_dim`` is ``dlatent_size``, ``c_dim`` is ``label_size``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice, check_flags, check_positive, check_whole
from reference_models.layers.growing import check_sizes, feature_maps
from reference_models.presets import Preset

Fused = bool | Literal["auto"]
# "auto" fuses where the larger side of the two is at least this.
FUSED_FROM = 128
NONLINEARITIES = ("lrelu", "relu")
_MOST_TAPS = 255


def _fused(setting: Fused, resolution: int) -> bool:
    return resolution >= FUSED_FROM if setting == "auto" else setting


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingConfig:
    """What the mapping network is made of.

    Attributes:
        num_layers: Dense layers.
        layer_features: Width of all of them but the last.
        lr_multiplier: Factor of their learning rate.
        normalize_latents: Whether its input is normalised to unit root mean square.
        nonlinearity: ``lrelu`` or ``relu``.
        w_avg_beta: What the running average of w keeps at every update.
    """

    num_layers: int = 8
    layer_features: int = 512
    lr_multiplier: float = 0.01
    normalize_latents: bool = True
    nonlinearity: str = "lrelu"
    w_avg_beta: float = 0.995

    def __post_init__(self) -> None:
        what = "StyleGAN's mapping"
        check_whole(what, "num_layers", self.num_layers, 1, 1024)
        check_whole(what, "layer_features", self.layer_features, 1)
        check_positive(what, "lr_multiplier", self.lr_multiplier)
        check_choice(what, "nonlinearity", self.nonlinearity, NONLINEARITIES)
        check_flags(what, normalize_latents=self.normalize_latents)
        check_positive(what, "w_avg_beta", self.w_avg_beta)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """What the generator is made of.

    Attributes:
        img_resolution: Side of the image, a power of two.
        img_channels: 3 for colour, 1 for grey.
        c_dim: Number of classes, 0 without labels.
        z_dim: Width of the latent.
        w_dim: Width of the intermediate latent.
        fmap_base: Stage s has ``min(floor(fmap_base / 2^(s * fmap_decay)), fmap_max)`` channels.
        fmap_decay: See ``fmap_base``.
        fmap_max: See ``fmap_base``.
        fused_scale: Whether upscaling is part of one transposed convolution; ``auto`` from 128x128 on.
        blur_filter: Taps of the blur behind every upscaling; None for no blur.
        nonlinearity: ``lrelu`` or ``relu``, in the synthesis.
        use_noise: Whether layers add noise.
        use_wscale: Whether the learning rate is equalised.
        truncation_cutoff: How many layers truncation reaches when the caller does not say; None for all.
        mapping: The mapping network.
    """

    img_resolution: int = 1024
    img_channels: int = 3
    c_dim: int = 0
    z_dim: int = 512
    w_dim: int = 512
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    fused_scale: Fused = "auto"
    blur_filter: tuple[float, ...] | None = (1.0, 2.0, 1.0)
    nonlinearity: str = "lrelu"
    use_noise: bool = True
    use_wscale: bool = True
    truncation_cutoff: int | None = 8
    mapping: MappingConfig = field(default_factory=MappingConfig)

    def __post_init__(self) -> None:
        _check(self, "StyleGAN's generator")
        check_whole("StyleGAN's generator", "z_dim", self.z_dim, 1)
        check_whole("StyleGAN's generator", "w_dim", self.w_dim, 1)
        if self.truncation_cutoff is not None:
            check_whole("StyleGAN's generator", "truncation_cutoff", self.truncation_cutoff, 0)
        check_flags("StyleGAN's generator", use_noise=self.use_noise)

    @property
    def levels(self) -> int:
        """Index of the 4x4 level."""
        return self.img_resolution.bit_length() - 3

    @property
    def num_ws(self) -> int:
        """Layers with a style: two at every resolution."""
        return 2 * self.levels + 2

    def maps(self, stage: int) -> int:
        """Channels of a stage; the block of resolution 2^r has stage r - 1."""
        return feature_maps(
            stage, fmap_base=self.fmap_base, fmap_decay=self.fmap_decay, fmap_max=self.fmap_max
        )

    def fused(self, resolution: int) -> bool:
        """Whether the upscaling to a resolution is fused."""
        return _fused(self.fused_scale, resolution)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """What the discriminator is made of; fields as in `GeneratorConfig`.

    Attributes:
        mbstd_group_size: Samples over which the minibatch standard deviation is taken; below 2, no such
            channels.
        mbstd_num_features: Channels that it appends.
    """

    img_resolution: int = 1024
    img_channels: int = 3
    c_dim: int = 0
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    fused_scale: Fused = "auto"
    blur_filter: tuple[float, ...] | None = (1.0, 2.0, 1.0)
    nonlinearity: str = "lrelu"
    use_wscale: bool = True
    mbstd_group_size: int = 4
    mbstd_num_features: int = 1

    def __post_init__(self) -> None:
        _check(self, "StyleGAN's discriminator")
        check_whole("StyleGAN's discriminator", "mbstd_group_size", self.mbstd_group_size, 0)
        check_whole("StyleGAN's discriminator", "mbstd_num_features", self.mbstd_num_features, 1)

    @property
    def levels(self) -> int:
        """Index of the 4x4 level."""
        return self.img_resolution.bit_length() - 3

    def maps(self, stage: int) -> int:
        """Channels of a stage; the block of resolution 2^r takes stage r - 1 and gives stage r - 2."""
        return feature_maps(
            stage, fmap_base=self.fmap_base, fmap_decay=self.fmap_decay, fmap_max=self.fmap_max
        )

    def fused(self, resolution: int) -> bool:
        """Whether the downscaling from a resolution is fused."""
        return _fused(self.fused_scale, resolution)


def _check(config: GeneratorConfig | DiscriminatorConfig, what: str) -> None:
    check_sizes(
        what,
        img_resolution=config.img_resolution,
        img_channels=config.img_channels,
        c_dim=config.c_dim,
        fmap_base=config.fmap_base,
        fmap_decay=config.fmap_decay,
        fmap_max=config.fmap_max,
    )
    check_choice(what, "nonlinearity", config.nonlinearity, NONLINEARITIES)
    check_flags(what, use_wscale=config.use_wscale)
    if config.fused_scale != "auto" and not isinstance(config.fused_scale, bool):
        raise UsageError(f"{what}: fused_scale is {config.fused_scale!r}; give True, False or 'auto'")
    taps = config.blur_filter
    if taps is not None and not (
        isinstance(taps, tuple)
        and len(taps) % 2 == 1
        and len(taps) <= _MOST_TAPS
        and all(isinstance(tap, int | float) and math.isfinite(tap) for tap in taps)
        and sum(taps) != 0
    ):
        raise UsageError(
            f"{what}: blur_filter is {taps!r}; give an odd number of taps whose sum is not 0, or None for "
            "no blur"
        )


PRESETS: Mapping[str, Preset[GeneratorConfig, DiscriminatorConfig]] = {
    "ffhq1024": Preset(
        generator=GeneratorConfig(),
        discriminator=DiscriminatorConfig(),
        about="FFHQ, 1024x1024: non-saturating loss with R1, gamma 10",
    ),
    "celebahq1024": Preset(
        generator=GeneratorConfig(),
        discriminator=DiscriminatorConfig(),
        about="CelebA-HQ, 1024x1024: WGAN-GP loss in the paper's tables",
    ),
    "bedrooms256": Preset(
        generator=GeneratorConfig(img_resolution=256),
        discriminator=DiscriminatorConfig(img_resolution=256),
        about="LSUN bedrooms, 256x256",
    ),
    "tiny": Preset(
        generator=GeneratorConfig(
            img_resolution=32,
            z_dim=64,
            w_dim=64,
            fmap_base=512,
            fmap_max=64,
            truncation_cutoff=None,
            mapping=MappingConfig(num_layers=4, layer_features=64),
        ),
        discriminator=DiscriminatorConfig(img_resolution=32, fmap_base=512, fmap_max=64),
        about="32x32, under a million parameters in both networks: for tests and for two cores",
    ),
}
