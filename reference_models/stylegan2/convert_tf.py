"""StyleGAN2's TensorFlow networks: options and variables, both ways.

Official: NVlabs/stylegan2, training/networks_stylegan2.py (G_main, G_mapping, G_synthesis_stylegan2,
D_stylegan2). The networks are those of the later PyTorch programs but for these points:

- Channels of resolution r are ``fmap_base / (r / 2)``, so ``channel_base`` is twice ``fmap_base``.
- Kernels are (k, k, in, out), dense weights (in, out). A kernel that upsamples is stored unflipped, there
flipped. - One is added to the result of a style's affine layer, which is part of the bias there. - Filters
for resampling are no variables: they come from the config. - Activations are not clamped.

Not covered: labels (they are joined to the latent without the later embedding), and the data augmentation's
program, whose TensorFlow files nobody needs since the PyTorch ones exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evalkit.errors import CheckpointError
from reference_models import ops
from reference_models.convert.layouts import (
    SAME,
    TF_CONV,
    TRANSPOSED,
    Array,
    Layout,
    Link,
    shapes_of,
    their_shapes,
    to_ours,
    to_theirs,
    translate_options,
)
from reference_models.layers.mapping import MappingConfig
from reference_models.stylegan2.config import DiscriminatorConfig, GeneratorConfig
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator

Config = GeneratorConfig | DiscriminatorConfig

_FILTER = "resample_filter"
# Scalars that some files carry and that this architecture does not use.
_UNUSED = ("lod", "synthesis/lod")

_SIZES = {
    "num_channels": "img_channels",
    "resolution": "img_resolution",
    "fmap_base": "channel_base",
    "fmap_max": "channel_max",
    "architecture": "architecture",
    "nonlinearity": "activation",
    "resample_kernel": "resample_filter",
}
_GENERATOR = {
    **_SIZES,
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "mapping_layers": "mapping.num_layers",
    "mapping_fmaps": "mapping.layer_features",
    "mapping_lrmul": "mapping.lr_multiplier",
    "mapping_nonlinearity": "mapping.activation",
    "dlatent_avg_beta": "mapping.w_avg_beta",
}
_DISCRIMINATOR = {
    **_SIZES,
    "mbstd_group_size": "mbstd_group_size",
    "mbstd_num_features": "mbstd_num_channels",
}
_FIXED: dict[str, tuple[Any, ...]] = {
    "label_size": (0,),
    "fmap_decay": (1.0, 1),
    "fmap_min": (1,),
    "normalize_latents": (True,),
    "synthesis_func": ("G_synthesis_stylegan2",),
    "mapping_func": ("G_mapping",),
}
# Training, the graph's form, precision, and what a caller of `sample` chooses.
_IGNORED = frozenset({
    "dtype", "fused_modconv", "is_template_graph", "is_training", "is_validation", "return_dlatents",
    "randomize_noise", "style_mixing_prob", "dlatent_broadcast", "truncation_psi", "truncation_psi_val",
    "truncation_cutoff", "truncation_cutoff_val",
})  # fmt: skip


def config_from_tf(kwargs: Mapping[str, Any], variables: Mapping[str, Array]) -> GeneratorConfig:
    """The generator's config of the official function's options (G_main and its two parts).

    Args:
        kwargs: The options.
        variables: The network's variables, which show labels whatever the options say.

    Raises:
        CheckpointError: An option is unknown or asks for what cannot be rebuilt, or the network has labels.
        UsageError: A size that no generator can have.
    """
    if "mapping/LabelConcat/weight" in variables:
        raise CheckpointError(
            "stylegan2 generator: a TensorFlow network with labels cannot be rebuilt, since the later "
            "program embeds "
            "them otherwise; give the PyTorch pickle of the network"
        )
    found = _translated(kwargs, _GENERATOR, "stylegan2 generator")
    mapping = {name.removeprefix("mapping."): found.pop(name) for name in list(found) if "." in name}
    return GeneratorConfig(
        **found,
        conv_clamp=None,
        mapping=MappingConfig(**{"w_avg_beta": 0.995, "layer_features": 512, **mapping}),
    )


def discriminator_config_from_tf(kwargs: Mapping[str, Any]) -> DiscriminatorConfig:
    """The discriminator's config of the official function's options (D_stylegan2).

    Raises:
        CheckpointError: An option is unknown or asks for what cannot be rebuilt.
        UsageError: A size that no discriminator can have.
    """
    found = _translated(kwargs, _DISCRIMINATOR, "stylegan2 discriminator")
    # One nonlinearity serves the whole network there.
    last = found.get("activation", "lrelu")
    return DiscriminatorConfig(**found, epilogue_activation=last, conv_clamp=None)


def _translated(kwargs: Mapping[str, Any], fields: Mapping[str, str], what: str) -> dict[str, Any]:
    found = translate_options(kwargs, fields=fields, fixed=_FIXED, ignored=_IGNORED, what=what)
    base = found.get("channel_base", 16384)
    if not isinstance(base, int):
        raise CheckpointError(f"{what}: option fmap_base is a {type(base).__name__}, not a whole number")
    found["channel_base"] = 2 * base
    return found


# ------------------------------------------------------------------------------------------------------
# variables

_FLIPPED = Layout(
    lambda a: a.transpose(3, 2, 0, 1)[:, :, ::-1, ::-1], lambda a: a[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)
)
_PLUS_ONE = Layout(lambda a: a + 1, lambda a: a - 1)
_FIRST = Layout(lambda a: a[0], lambda a: a[None])  # (1, c, 4, 4) and (c, 4, 4)
_MAP = Layout(lambda a: a[0, 0], lambda a: a[None, None])  # (1, 1, h, w) and (h, w)
_PARTS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
_D_PARTS = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
_D_LAST = {"conv": "4x4/Conv", "fc": "4x4/Dense0", "out": "Output", "fromrgb": "4x4/FromRGB"}


def _generator_link(name: str) -> Link:
    if name == "mapping.w_avg":
        return Link(name, "dlatent_avg")
    part, *path = name.split(".")
    if part == "mapping":  # fcK.weight, fcK.bias
        dense = path[0].replace("fc", "Dense")
        return Link(name, f"mapping/{dense}/{path[1]}", TRANSPOSED if path[1] == "weight" else SAME)
    side = path[0].removeprefix("b")
    scope = f"synthesis/{side}x{side}"
    if path[1] == "const":
        return Link(name, f"{scope}/Const/const", _FIRST)
    layer = f"{scope}/Conv" if (side, path[1]) == ("4", "conv1") else f"{scope}/{_PARTS[path[1]]}"
    tail = ".".join(path[2:])
    if tail == "noise_const":
        place = 2 * (int(side).bit_length() - 1) - (5 if path[1] == "conv0" else 4)
        return Link(name, f"synthesis/noise{place}", _MAP)
    if tail == "weight":
        return Link(name, f"{layer}/weight", _FLIPPED if path[1] in ("conv0", "skip") else TF_CONV)
    renamed = {"affine.weight": ("mod_weight", TRANSPOSED), "affine.bias": ("mod_bias", _PLUS_ONE)}
    theirs, layout = renamed.get(tail, (tail, SAME))
    return Link(name, f"{layer}/{theirs}", layout)


def _discriminator_link(name: str) -> Link:
    block, part, tail = name.split(".")
    side = block.removeprefix("b")
    layer = _D_LAST[part] if side == "4" else f"{side}x{side}/{_D_PARTS[part]}"
    if tail == "bias":
        return Link(name, f"{layer}/bias")
    return Link(name, f"{layer}/weight", TRANSPOSED if part in ("fc", "out") else TF_CONV)


def _table(config: Config) -> tuple[list[Link], dict[str, tuple[int, ...]], str]:
    if config.c_dim:
        raise CheckpointError(
            "stylegan2: networks with labels have no form in the TensorFlow program's variables; only those "
            "without "
            "labels can be converted"
        )
    if isinstance(config, GeneratorConfig):
        shapes = shapes_of(lambda: Generator(config))
        link, what = _generator_link, "stylegan2 generator"
    else:
        shapes = shapes_of(lambda: Discriminator(config))
        link, what = _discriminator_link, "stylegan2 discriminator"
    trained = {name: shape for name, shape in shapes.items() if not name.endswith(_FILTER)}
    return [link(name) for name in trained], shapes, what


def tf_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of all variables.

    Raises:
        CheckpointError: The network has labels.
    """
    links, shapes, _ = _table(config)
    return their_shapes(links, shapes)


def from_tf(config: Config, variables: Mapping[str, Array]) -> dict[str, Tensor]:
    """Our state dict of a network's TensorFlow variables.

    Args:
        config: Which network, and its sizes.
        variables: Official names and arrays in the official layout.

    Raises:
        CheckpointError: A variable is missing, left over, of another shape, or not finite.
    """
    links, shapes, what = _table(config)
    given = {name: array for name, array in variables.items() if name not in _UNUSED or array.ndim}
    trained = {link.ours: shapes[link.ours] for link in links}
    state = to_ours(given, links, trained, what)
    taps = ops.setup_filter(list(config.resample_filter))
    return {**state, **{name: taps.clone() for name in shapes if name.endswith(_FILTER)}}


def to_tf(config: Config, state: Mapping[str, Tensor]) -> dict[str, Array]:
    """The TensorFlow variables of our state dict: the inverse of `from_tf`.

    Raises:
        CheckpointError: A tensor is missing, left over or of another shape, or a filter is not the config's.
    """
    links, shapes, what = _table(config)
    taps = ops.setup_filter(list(config.resample_filter))
    for name in shapes:
        if (
            name.endswith(_FILTER)
            and name in state
            and not torch.equal(state[name].detach().cpu().float(), taps)
        ):
            raise CheckpointError(
                f"{what}: {name!r} is not the filter of {config.resample_filter}; the TensorFlow program "
                "has one for "
                "all layers"
            )
    trained = {link.ours: shapes[link.ours] for link in links}
    given = {name: value for name, value in state.items() if not name.endswith(_FILTER)}
    return to_theirs(given, links, trained, what)
