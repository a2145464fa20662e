"""Official StyleGAN3 checkpoints to this package's networks and back.

Official: NVlabs/stylegan3@c233a91, training/networks_stylegan3.py. Names and shapes of tensors are the same
here and there, filters included, so conversion is a check that nothing is missing and nothing is left. The
discriminator of such a file is StyleGAN2's: see `reference_models.stylegan2.convert`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reference_models.convert.arguments import Arguments
from reference_models.convert.state import checked_state, shapes_of
from reference_models.stylegan2.convert import discriminator_config_from_official, mapping_from_official
from reference_models.stylegan3.config import GeneratorConfig
from reference_models.stylegan3.generator import Generator

__all__ = [
    "config_from_official",
    "discriminator_config_from_official",
    "from_official",
    "official_shapes",
    "to_official",
]

_WHAT = "StyleGAN3's generator"
# Arguments that choose a class or a number format, and leave float32 results as they are.
_IGNORED = ("class_name", "num_fp16_res", "use_fp16")


def config_from_official(kwargs: Mapping[str, object]) -> GeneratorConfig:
    """The generator that official constructor arguments describe.

    Raises:
        CheckpointError: An argument is unknown, or of another type.
        UsageError: A size that no generator can have.
    """
    given = Arguments(kwargs, _WHAT)
    given.ignore(*_IGNORED)
    default = GeneratorConfig()
    config = GeneratorConfig(
        z_dim=given.whole("z_dim", default.z_dim),
        c_dim=given.whole("c_dim", default.c_dim),
        w_dim=given.whole("w_dim", default.w_dim),
        img_resolution=given.whole("img_resolution", default.img_resolution),
        img_channels=given.whole("img_channels", default.img_channels),
        channel_base=given.whole("channel_base", default.channel_base),
        channel_max=given.whole("channel_max", default.channel_max),
        num_layers=given.whole("num_layers", default.num_layers),
        num_critical=given.whole("num_critical", default.num_critical),
        first_cutoff=given.number("first_cutoff", default.first_cutoff),
        first_stopband=given.number("first_stopband", default.first_stopband),
        last_stopband_rel=given.number("last_stopband_rel", default.last_stopband_rel),
        margin_size=given.whole("margin_size", default.margin_size),
        output_scale=given.number("output_scale", default.output_scale),
        conv_kernel=given.whole("conv_kernel", default.conv_kernel),
        filter_size=given.whole("filter_size", default.filter_size),
        lrelu_upsampling=given.whole("lrelu_upsampling", default.lrelu_upsampling),
        use_radial_filters=given.flag("use_radial_filters", default.use_radial_filters),
        conv_clamp=given.number_or_none("conv_clamp", default.conv_clamp),
        magnitude_ema_beta=given.number("magnitude_ema_beta", default.magnitude_ema_beta),
        mapping=mapping_from_official(
            given.group("mapping_kwargs"), w_avg_beta=default.mapping.w_avg_beta, num_layers=2
        ),
    )
    given.finish()
    return config


def official_shapes(config: GeneratorConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the generator, without laying one out."""
    with torch.device("meta"):
        return shapes_of(Generator(config))


def from_official(tensors: Mapping[str, object], config: GeneratorConfig) -> dict[str, Tensor]:
    """Official tensors as a state dict that loads with ``strict=True``: float32, checked.

    Args:
        tensors: NumPy arrays or torch tensors by name.
        config: What they should fit.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or not finite; it names them.
    """
    return checked_state(tensors, official_shapes(config), _WHAT)


def to_official(state: Mapping[str, object], config: GeneratorConfig) -> dict[str, Tensor]:
    """A state dict of this package as official tensors: the same ones, checked.

    Raises:
        CheckpointError: As `from_official`.
    """
    return checked_state(state, official_shapes(config), _WHAT)
