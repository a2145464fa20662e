"""Sizes of StyleGAN3: configs by the official argument names, and published presets.

Paper: Karras et al. 2021 (arXiv:2106.12423), the appendix on implementation details. Official:
NVlabs/stylegan3@c233a91. Configuration R takes 1x1 kernels, radially symmetric downsampling filters and
twice the channels of T. The discriminator is StyleGAN2's. Deviations: arguments of half precision do not
exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evalkit.errors import UsageError
from reference_models.layers.checks import check_positive, check_side, check_whole
from reference_models.layers.mapping import MappingConfig
from reference_models.presets import Preset
from reference_models.stylegan2.config import DiscriminatorConfig

_DEEPEST = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """What the generator is made of.

    Attributes:
        z_dim: Width of the latent.
        c_dim: Number of classes; 0 is an unconditional model.
        w_dim: Width of the style.
        img_resolution: Side of the image, a power of two of 8 or more.
        img_channels: Channels of the image.
        channel_base: A layer of cutoff f has ``min(channel_base / (2 f), channel_max)`` channels, rounded.
        channel_max: See ``channel_base``.
        num_layers: Layers between the Fourier input and toRGB.
        num_critical: Layers at the end that are sampled critically.
        first_cutoff: Cutoff frequency of the input.
        first_stopband: Stopband edge of the input.
        last_stopband_rel: Stopband edge of the last layer, relative to its cutoff.
        margin_size: Pixels around the picture that layers compute in addition.
        output_scale: Factor of the image.
        conv_kernel: Side of the kernels, 3 (T) or 1 (R).
        filter_size: Taps of a low-pass filter per unit of its factor.
        lrelu_upsampling: Factor of the rate at which the nonlinearity acts.
        use_radial_filters: Whether downsampling filters are radially symmetric (R).
        conv_clamp: Limit of the absolute value behind the nonlinearity; None is no limit.
        magnitude_ema_beta: Decay of the running mean of squared activations.
        mapping: The mapping network.
    """

    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    img_resolution: int = 1024
    img_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2.0**2.1
    last_stopband_rel: float = 2.0**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256
    magnitude_ema_beta: float = 0.999
    mapping: MappingConfig = field(default_factory=lambda: MappingConfig(num_layers=2))

    def __post_init__(self) -> None:
        what = "StyleGAN3's generator"
        for name in ("z_dim", "w_dim", "img_channels", "channel_max"):
            check_whole(what, name, getattr(self, name), 1)
        check_whole(what, "c_dim", self.c_dim, 0)
        check_side(what, self.img_resolution, 8)
        check_whole(what, "channel_base", self.channel_base, self.img_resolution, 2**30)
        check_whole(what, "num_layers", self.num_layers, 1, _DEEPEST)
        check_whole(what, "num_critical", self.num_critical, 0, self.num_layers - 1)
        check_whole(what, "margin_size", self.margin_size, 0, 1024)
        check_whole(what, "conv_kernel", self.conv_kernel, 1, 63)
        check_whole(what, "filter_size", self.filter_size, 1, 64)
        check_whole(what, "lrelu_upsampling", self.lrelu_upsampling, 1, 16)
        for name in ("first_cutoff", "first_stopband", "last_stopband_rel", "output_scale"):
            check_positive(what, name, getattr(self, name))
        if self.conv_clamp is not None:
            check_positive(what, "conv_clamp", self.conv_clamp)
        if not 0 <= self.magnitude_ema_beta <= 1:
            raise UsageError(f"{what}: magnitude_ema_beta is {self.magnitude_ema_beta!r}; give 0 to 1")
        if self.first_cutoff > self.img_resolution / 2:
            raise UsageError(
                f"{what}: first_cutoff is {self.first_cutoff}, above {self.img_resolution / 2}, the highest "
                f"frequency of {self.img_resolution} pixels; give a lower one or a larger img_resolution"
            )
        if not 0.5 <= self.first_stopband <= self.img_resolution:
            raise UsageError(
                f"{what}: first_stopband is {self.first_stopband}; give 0.5 (a rate of 1) to "
                f"{self.img_resolution}, the picture's rate"
            )
        if self.first_stopband <= self.first_cutoff or not 1 < self.last_stopband_rel <= 2:
            raise UsageError(
                f"{what}: stopbands begin above the cutoffs; first_cutoff is {self.first_cutoff}, "
                f"first_stopband {self.first_stopband}, last_stopband_rel {self.last_stopband_rel} "
                "(above 1, to 2)"
            )

    @property
    def num_ws(self) -> int:
        """Entries of w that the synthesis takes: the input's, one a layer, toRGB's."""
        return self.num_layers + 2


Pair = Preset[GeneratorConfig, DiscriminatorConfig]

# The decay that training sets by its batch: 32 images at the usual one, 64 in the study at half the channels.
_BETA = 0.5 ** (32 / 20000)
_BETA_64 = 0.5 ** (64 / 20000)


def _published(resolution: int, *, radial: bool, base: int = 32768) -> Pair:
    return Preset(
        generator=GeneratorConfig(
            img_resolution=resolution,
            channel_base=base * 2 if radial else base,
            channel_max=1024 if radial else 512,
            conv_kernel=1 if radial else 3,
            use_radial_filters=radial,
            magnitude_ema_beta=_BETA if base == 32768 else _BETA_64,
        ),
        discriminator=DiscriminatorConfig(img_resolution=resolution, channel_base=base),
        about=f"configuration {'R' if radial else 'T'}, {resolution}x{resolution}"
        + ("" if base == 32768 else ", half the channels (the paper's study at 256x256)"),
    )


def _tiny(*, radial: bool) -> Pair:
    return Preset(
        generator=GeneratorConfig(
            z_dim=64,
            w_dim=64,
            img_resolution=32,
            channel_base=1024,
            channel_max=64 if radial else 48,
            num_layers=4,
            margin_size=2,
            conv_kernel=1 if radial else 3,
            use_radial_filters=radial,
            magnitude_ema_beta=_BETA,
        ),
        discriminator=DiscriminatorConfig(img_resolution=32, channel_base=1024, channel_max=64),
        about=f"configuration {'R' if radial else 'T'}, 32x32, under a million parameters in both networks: "
        "for tests and for two cores",
    )


PRESETS: Mapping[str, Pair] = {
    "stylegan3-t": _published(1024, radial=False),
    "stylegan3-r": _published(1024, radial=True),
    "stylegan3-t-1024": _published(1024, radial=False),
    "stylegan3-t-512": _published(512, radial=False),
    "stylegan3-t-256": _published(256, radial=False),
    "stylegan3-t-256-cbase16384": _published(256, radial=False, base=16384),
    "stylegan3-r-1024": _published(1024, radial=True),
    "stylegan3-r-512": _published(512, radial=True),
    "stylegan3-r-256": _published(256, radial=True),
    "stylegan3-r-256-cbase16384": _published(256, radial=True, base=16384),
    "tiny": _tiny(radial=False),
    "tiny-r": _tiny(radial=True),
}
