"""Official StyleGAN2 checkpoints to this package's networks and back.

Official: NVlabs/stylegan2-ada-pytorch@d72cc7d (arguments of the synthesis network nested in
``synthesis_kwargs``, other defaults) and NVlabs/stylegan3@c233a91 (all arguments flat). Names and shapes of
tensors are the same here and there, so conversion is a check that nothing is missing and nothing is left.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reference_models.convert.arguments import Arguments
from reference_models.convert.state import checked_state, shapes_of
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2.config import DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.convert_tf import config_from_tf as config_from_tf
from reference_models.stylegan2.convert_tf import from_tf as from_tf
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator

# Arguments that choose a class, a number format or a route, and leave float32 results as they are.
_IGNORED = (
    "class_name",
    "num_fp16_res",
    "use_fp16",
    "fused_modconv_default",
    "fp16_channels_last",
    "channels_last",
)
_ADA_W_AVG_BETA = 0.995


def config_from_official(kwargs: Mapping[str, object]) -> GeneratorConfig:
    """The generator that official constructor arguments describe, in either layout.

    A dictionary ``synthesis_kwargs`` tells the layout of StyleGAN2-ADA, whose defaults are ``conv_clamp``
    None and ``w_avg_beta`` 0.995.

    Raises:
        CheckpointError: An argument is unknown, or of another type.
        UsageError: A size that no generator can have.
    """
    top = Arguments(kwargs, "StyleGAN2's generator")
    nested = "synthesis_kwargs" in top
    synthesis = top.group("synthesis_kwargs") if nested else top
    default = GeneratorConfig()
    mapping = mapping_from_official(
        top.group("mapping_kwargs"), w_avg_beta=_ADA_W_AVG_BETA if nested else default.mapping.w_avg_beta
    )
    for arguments in (top, synthesis):
        arguments.ignore(*_IGNORED)
    config = GeneratorConfig(
        z_dim=top.whole("z_dim", default.z_dim),
        c_dim=top.whole("c_dim", default.c_dim),
        w_dim=top.whole("w_dim", default.w_dim),
        img_resolution=top.whole("img_resolution", default.img_resolution),
        img_channels=top.whole("img_channels", default.img_channels),
        channel_base=synthesis.whole("channel_base", default.channel_base),
        channel_max=synthesis.whole("channel_max", default.channel_max),
        architecture=synthesis.word("architecture", default.architecture),
        conv_clamp=synthesis.number_or_none("conv_clamp", None if nested else default.conv_clamp),
        resample_filter=synthesis.numbers("resample_filter", default.resample_filter),
        use_noise=synthesis.flag("use_noise", default.use_noise),
        activation=synthesis.word("activation", default.activation),
        mapping=mapping,
    )
    synthesis.finish()
    top.finish()
    return config


def discriminator_config_from_official(
    kwargs: Mapping[str, object], *, ada: bool = False
) -> DiscriminatorConfig:
    """The discriminator that official constructor arguments describe.

    Args:
        kwargs: The arguments.
        ada: Whether they are StyleGAN2-ADA's (the generator of such a file has ``synthesis_kwargs``), where
            no ``conv_clamp`` means None.

    Raises:
        CheckpointError: An argument is unknown, or of another type.
        UsageError: A size that no discriminator can have.
    """
    top = Arguments(kwargs, "StyleGAN2's discriminator")
    block, epilogue = top.group("block_kwargs"), top.group("epilogue_kwargs")
    default = DiscriminatorConfig()
    for arguments in (top, block):
        arguments.ignore(*_IGNORED)
    config = DiscriminatorConfig(
        c_dim=top.whole("c_dim", default.c_dim),
        img_resolution=top.whole("img_resolution", default.img_resolution),
        img_channels=top.whole("img_channels", default.img_channels),
        channel_base=top.whole("channel_base", default.channel_base),
        channel_max=top.whole("channel_max", default.channel_max),
        architecture=top.word("architecture", default.architecture),
        conv_clamp=top.number_or_none("conv_clamp", None if ada else default.conv_clamp),
        cmap_dim=top.whole_or_none("cmap_dim", default.cmap_dim),
        resample_filter=block.numbers("resample_filter", default.resample_filter),
        activation=block.word("activation", default.activation),
        epilogue_activation=epilogue.word("activation", default.epilogue_activation),
        freeze_layers=block.whole("freeze_layers", default.freeze_layers),
        mbstd_group_size=epilogue.whole_or_none("mbstd_group_size", default.mbstd_group_size),
        mbstd_num_channels=epilogue.whole("mbstd_num_channels", default.mbstd_num_channels),
        mapping=mapping_from_official(top.group("mapping_kwargs"), w_avg_beta=None),
    )
    for arguments in (block, epilogue, top):
        arguments.finish()
    return config


def mapping_from_official(
    arguments: Arguments, *, w_avg_beta: float | None, num_layers: int = 8
) -> MappingConfig:
    """The mapping network that ``mapping_kwargs`` describe; the other arguments are the defaults.

    Raises:
        CheckpointError: An argument is unknown, or of another type.
        UsageError: A size that no mapping network can have.
    """
    default = MappingConfig()
    config = MappingConfig(
        num_layers=arguments.whole("num_layers", num_layers),
        embed_features=arguments.whole_or_none("embed_features", default.embed_features),
        layer_features=arguments.whole_or_none("layer_features", default.layer_features),
        activation=arguments.word("activation", default.activation),
        lr_multiplier=arguments.number("lr_multiplier", default.lr_multiplier),
        w_avg_beta=arguments.number_or_none("w_avg_beta", w_avg_beta),
    )
    arguments.finish()
    return config


def official_shapes(config: GeneratorConfig | DiscriminatorConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a network, without laying one out."""
    with torch.device("meta"):
        return shapes_of(Generator(config) if isinstance(config, GeneratorConfig) else Discriminator(config))


def from_official(
    tensors: Mapping[str, object], config: GeneratorConfig | DiscriminatorConfig
) -> dict[str, Tensor]:
    """Official tensors as a state dict that loads with ``strict=True``: float32, checked.

    Args:
        tensors: NumPy arrays or torch tensors by name.
        config: What they should fit.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or not finite; it names them.
    """
    return checked_state(tensors, official_shapes(config), _name(config))


def to_official(
    state: Mapping[str, object], config: GeneratorConfig | DiscriminatorConfig
) -> dict[str, Tensor]:
    """A state dict of this package as official tensors: the same ones, checked.

    Raises:
        CheckpointError: As `from_official`.
    """
    return checked_state(state, official_shapes(config), _name(config))


def _name(config: GeneratorConfig | DiscriminatorConfig) -> str:
    return "StyleGAN2's generator" if isinstance(config, GeneratorConfig) else "StyleGAN2's discriminator"
