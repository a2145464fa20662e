"""Sizes of StyleGAN2: configs by the official argument names, and published presets.

Papers: Karras et al. 2020a (arXiv:1912.04958), Karras et al. 2020b (arXiv:2006.06676, the presets by data
set). Official: NVlabs/stylegan2-ada-pytorch@d72cc7d and NVlabs/stylegan3@c233a91. Defaults are those of the
latter. Deviations: arguments of half precision and of training speed do not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evalkit.errors import UsageError
from reference_models.layers.checks import check_choice, check_positive, check_side, check_whole
from reference_models.layers.mapping import MappingConfig
from reference_models.ops.bias_act import ACTIVATIONS
from reference_models.presets import Preset

ARCHITECTURES = ("skip", "resnet", "orig")
_MOST_TAPS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """What the generator is made of.

    Attributes:
        z_dim: Width of the latent.
        c_dim: Number of classes; 0 is an unconditional model.
        w_dim: Width of the style.
        img_resolution: Side of the image, a power of two of 4 or more.
        img_channels: Channels of the image.
        channel_base: Resolution r has ``min(channel_base // r, channel_max)`` channels.
        channel_max: See ``channel_base``.
        architecture: ``skip`` (images of all resolutions add up), ``resnet`` or ``orig``.
        conv_clamp: Limit of the absolute value of every layer's result; None is no limit.
        resample_filter: Taps of up- and downsampling.
        use_noise: Whether layers take noise.
        activation: Of the convolutions.
        mapping: The mapping network.
    """

    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    conv_clamp: float | None = 256
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)
    use_noise: bool = True
    activation: str = "lrelu"
    mapping: MappingConfig = field(default_factory=MappingConfig)

    def __post_init__(self) -> None:
        what = "StyleGAN2's generator"
        check_whole(what, "z_dim", self.z_dim, 1)
        check_whole(what, "w_dim", self.w_dim, 1)
        _check(self, what, 4)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the blocks, from 4 to the image's."""
        return _resolutions(self.img_resolution)

    @property
    def num_ws(self) -> int:
        """Entries of w that the synthesis takes."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2

    def channels(self, resolution: int) -> int:
        """Channels of a block."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """What the discriminator is made of; fields as in `GeneratorConfig`, and:

    Attributes:
        cmap_dim: Width of the projection of the labels; None is the channels of the 4x4 block.
        epilogue_activation: Activation of the 4x4 block.
        freeze_layers: Convolutions that are not trained, counted from the image.
        mbstd_group_size: Samples in a group of the minibatch standard deviation; None is the whole batch.
        mbstd_num_channels: Channels it appends; 0 leaves it out.
        mapping: The mapping network of the labels; it keeps no mean.
    """

    c_dim: int = 0
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "resnet"
    conv_clamp: float | None = 256
    cmap_dim: int | None = None
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)
    activation: str = "lrelu"
    epilogue_activation: str = "lrelu"
    freeze_layers: int = 0
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1
    mapping: MappingConfig = field(default_factory=lambda: MappingConfig(w_avg_beta=None))

    def __post_init__(self) -> None:
        what = "StyleGAN2's discriminator"
        _check(self, what, 8)  # the 4x4 block takes features, not images
        check_choice(what, "epilogue_activation", self.epilogue_activation, tuple(ACTIVATIONS))
        check_whole(what, "freeze_layers", self.freeze_layers, 0)
        check_whole(what, "mbstd_num_channels", self.mbstd_num_channels, 0)
        if self.mbstd_group_size is not None:
            check_whole(what, "mbstd_group_size", self.mbstd_group_size, 1)
        if self.cmap_dim is not None:
            check_whole(what, "cmap_dim", self.cmap_dim, 0 if self.c_dim == 0 else 1)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the blocks, from the image's to 4."""
        return _resolutions(self.img_resolution)[::-1]

    @property
    def projection(self) -> int:
        """Width of the projection of the labels; 0 without labels."""
        if self.c_dim == 0:
            return 0
        return self.channels(4) if self.cmap_dim is None else self.cmap_dim

    def channels(self, resolution: int) -> int:
        """Channels of a block."""
        return min(self.channel_base // resolution, self.channel_max)


def _resolutions(side: int) -> tuple[int, ...]:
    return tuple(2**power for power in range(2, side.bit_length()))


def _check(config: GeneratorConfig | DiscriminatorConfig, what: str, smallest: int) -> None:
    check_side(what, config.img_resolution, smallest)
    check_whole(what, "c_dim", config.c_dim, 0)
    check_whole(what, "img_channels", config.img_channels, 1)
    check_whole(what, "channel_max", config.channel_max, 1)
    # Below that, the finest block would have no channels.
    check_whole(what, "channel_base", config.channel_base, config.img_resolution, 2**30)
    check_choice(what, "architecture", config.architecture, ARCHITECTURES)
    check_choice(what, "activation", config.activation, tuple(ACTIVATIONS))
    if config.conv_clamp is not None:
        check_positive(what, "conv_clamp", config.conv_clamp)
    check_whole(what, "the number of taps of resample_filter", len(config.resample_filter), 1, _MOST_TAPS)
    if sum(config.resample_filter) == 0:
        raise UsageError(f"{what}: the taps of resample_filter add up to 0; give taps of a low-pass filter")


PRESETS: Mapping[str, Preset[GeneratorConfig, DiscriminatorConfig]] = {
    "ffhq1024": Preset(
        generator=GeneratorConfig(),
        discriminator=DiscriminatorConfig(),
        about="FFHQ, 1024x1024: configuration F of the paper",
    ),
    "ffhq512": Preset(
        generator=GeneratorConfig(img_resolution=512),
        discriminator=DiscriminatorConfig(img_resolution=512, mbstd_group_size=8),
        about="512x512: configuration F without its finest block (paper512 of StyleGAN2-ADA)",
    ),
    "ffhq256": Preset(
        generator=GeneratorConfig(img_resolution=256, channel_base=16384),
        discriminator=DiscriminatorConfig(img_resolution=256, channel_base=16384, mbstd_group_size=8),
        about="FFHQ, 256x256, half the channels: the baseline of StyleGAN2-ADA's study (paper256)",
    ),
    "cifar10": Preset(
        generator=GeneratorConfig(img_resolution=32, mapping=MappingConfig(num_layers=2, w_avg_beta=0.995)),
        discriminator=DiscriminatorConfig(
            img_resolution=32,
            architecture="orig",
            mbstd_group_size=32,
            mapping=MappingConfig(num_layers=2, w_avg_beta=None),
        ),
        about="CIFAR-10 without labels, 32x32: StyleGAN2-ADA's configuration for it (c_dim=10 adds labels)",
    ),
    "tiny": Preset(
        generator=GeneratorConfig(
            z_dim=64,
            w_dim=64,
            img_resolution=32,
            channel_base=1024,
            channel_max=64,
            mapping=MappingConfig(num_layers=2),
        ),
        discriminator=DiscriminatorConfig(
            img_resolution=32, channel_base=1024, channel_max=64, mapping=MappingConfig(w_avg_beta=None)
        ),
        about="32x32, under a million parameters in both networks: for tests and for two cores",
    ),
}
