"""Sizes of ProGAN's networks, and the published ones as presets.

Paper: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation"
(arXiv:1710.10196), Table 2 and appendix D. Official: tkarras/progressive_growing_of_gans@2504c3f, networks.py
and config.py. Names of fields are this project's where all its models share them (``z_dim`` is
``latent_size``, ``c_dim`` is ``label_size``, ``img_resolution`` and ``img_channels`` are ``resolution`` and
``num_channels``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference_models.layers.checks import check_flags, check_positive, check_whole
from reference_models.layers.growing import check_sizes, feature_maps
from reference_models.presets import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """What the generator is made of.

    Attributes:
        img_resolution: Side of the image, a power of two.
        img_channels: 3 for colour, 1 for grey.
        c_dim: Number of classes, 0 without labels.
        z_dim: Width of the latent; None takes the channels of stage 0.
        fmap_base: Stage s has ``min(floor(fmap_base / 2^(s * fmap_decay)), fmap_max)`` channels.
        fmap_decay: See ``fmap_base``.
        fmap_max: See ``fmap_base``.
        fused_scale: Whether upscaling is part of one transposed convolution.
        normalize_latents: Whether the joined latent is normalised to unit root mean square.
        use_wscale: Whether the learning rate is equalised.
        use_pixelnorm: Whether every layer is followed by a normalisation over channels.
        pixelnorm_epsilon: Added to the mean square there.
        use_leakyrelu: Leaky rectifiers of slope 0.2, else plain ones.
    """

    img_resolution: int = 1024
    img_channels: int = 3
    c_dim: int = 0
    z_dim: int | None = None
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    fused_scale: bool = True
    normalize_latents: bool = True
    use_wscale: bool = True
    use_pixelnorm: bool = True
    pixelnorm_epsilon: float = 1e-8
    use_leakyrelu: bool = True

    def __post_init__(self) -> None:
        _check(self, "ProGAN's generator")
        if self.z_dim is not None:
            check_whole("ProGAN's generator", "z_dim", self.z_dim, 1)
        check_positive("ProGAN's generator", "pixelnorm_epsilon", self.pixelnorm_epsilon)
        check_flags(
            "ProGAN's generator",
            normalize_latents=self.normalize_latents,
            use_pixelnorm=self.use_pixelnorm,
            use_leakyrelu=self.use_leakyrelu,
        )

    @property
    def latent_size(self) -> int:
        """Width of the latent."""
        return self.maps(0) if self.z_dim is None else self.z_dim

    @property
    def levels(self) -> int:
        """Index of the 4x4 level."""
        return self.img_resolution.bit_length() - 3

    def maps(self, stage: int) -> int:
        """Channels of a stage; the block of resolution 2^r has stage r - 1."""
        return feature_maps(
            stage, fmap_base=self.fmap_base, fmap_decay=self.fmap_decay, fmap_max=self.fmap_max
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """What the discriminator is made of; fields as in `GeneratorConfig`.

    Attributes:
        mbstd_group_size: Samples over which the minibatch standard deviation is taken; below 2, no such
            channel.
    """

    img_resolution: int = 1024
    img_channels: int = 3
    c_dim: int = 0
    fmap_base: int = 8192
    fmap_decay: float = 1.0
    fmap_max: int = 512
    fused_scale: bool = True
    use_wscale: bool = True
    mbstd_group_size: int = 4

    def __post_init__(self) -> None:
        _check(self, "ProGAN's discriminator")
        check_whole("ProGAN's discriminator", "mbstd_group_size", self.mbstd_group_size, 0)

    @property
    def levels(self) -> int:
        """Index of the 4x4 level."""
        return self.img_resolution.bit_length() - 3

    def maps(self, stage: int) -> int:
        """Channels of a stage; the block of resolution 2^r takes stage r - 1 and gives stage r - 2."""
        return feature_maps(
            stage, fmap_base=self.fmap_base, fmap_decay=self.fmap_decay, fmap_max=self.fmap_max
        )


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
    check_flags(what, use_wscale=config.use_wscale, fused_scale=config.fused_scale)


PRESETS: Mapping[str, Preset[GeneratorConfig, DiscriminatorConfig]] = {
    "celebahq1024": Preset(
        generator=GeneratorConfig(),
        discriminator=DiscriminatorConfig(),
        about="CelebA-HQ, 1024x1024: Table 2 of the paper, fused scaling",
    ),
    "lsun256": Preset(
        generator=GeneratorConfig(img_resolution=256),
        discriminator=DiscriminatorConfig(img_resolution=256),
        about="LSUN categories, 256x256: Table 2 without its two finest stages",
    ),
    "cifar10": Preset(
        generator=GeneratorConfig(img_resolution=32),
        discriminator=DiscriminatorConfig(img_resolution=32),
        about="CIFAR-10, 32x32 without labels: Table 2 up to 32x32; gradient norm target 750",
    ),
    "tiny": Preset(
        generator=GeneratorConfig(img_resolution=32, fmap_base=512, fmap_max=64),
        discriminator=DiscriminatorConfig(img_resolution=32, fmap_base=512, fmap_max=64),
        about="32x32, under a million parameters in both networks: for tests and for two cores",
    ),
}
