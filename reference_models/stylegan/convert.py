"""StyleGAN's official files: options, variables of the TensorFlow networks, and the files ported to PyTorch.

Official: NVlabs/stylegan@1e0d5c7 (training/networks_stylegan.py, dnnlib/tflib/network.py). Names of variables
are ours with ``/`` for ``.``; those of the two parts may start with ``synthesis/`` and ``mapping/`` or, as
the parts call themselves, ``G_synthesis/`` and ``G_mapping/``. All kernels are (k, k, in, out), those of
fused layers too.

Ported files count layers from 4x4 up in the generator and from the image down in the discriminator; apart
from names they hold what ours does. They may hold the blur's kernels, which must be those of the config.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import CheckpointError
from reference_models.convert.layouts import (
    SAME,
    TRANSPOSED,
    Array,
    Link,
    shapes_of,
    tf_links,
    their_shapes,
    to_ours,
    to_theirs,
    translate_options,
)
from reference_models.stylegan.config import DiscriminatorConfig, GeneratorConfig, MappingConfig
from reference_models.stylegan.discriminator import Discriminator
from reference_models.stylegan.generator import Generator
from reference_models.stylegan.layers import Blur

Config = GeneratorConfig | DiscriminatorConfig

_SIZES = {
    "num_channels": "img_channels",
    "resolution": "img_resolution",
    "label_size": "c_dim",
    "fmap_base": "fmap_base",
    "fmap_decay": "fmap_decay",
    "fmap_max": "fmap_max",
    "nonlinearity": "nonlinearity",
    "use_wscale": "use_wscale",
    "fused_scale": "fused_scale",
    "blur_filter": "blur_filter",
}
_GENERATOR = {
    **_SIZES,
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "use_noise": "use_noise",
    "truncation_cutoff": "truncation_cutoff",
    "mapping_layers": "mapping.num_layers",
    "mapping_fmaps": "mapping.layer_features",
    "mapping_lrmul": "mapping.lr_multiplier",
    "mapping_nonlinearity": "mapping.nonlinearity",
    "normalize_latents": "mapping.normalize_latents",
    "dlatent_avg_beta": "mapping.w_avg_beta",
}
_DISCRIMINATOR = {
    **_SIZES,
    "mbstd_group_size": "mbstd_group_size",
    "mbstd_num_features": "mbstd_num_features",
}
# Ablations of the paper's Table 1 that no published network has.
_FIXED: dict[str, tuple[Any, ...]] = {
    "use_styles": (True,),
    "const_input_layer": (True,),
    "use_pixel_norm": (False,),
    "use_instance_norm": (True,),
}
# Training, the graph's form, precision, and what a caller of `sample` chooses.
_IGNORED = frozenset({
    "dtype", "structure", "is_template_graph", "is_training", "is_validation", "force_clean_graph",
    "return_dlatents", "randomize_noise", "style_mixing_prob", "dlatent_broadcast", "truncation_psi",
    "truncation_psi_val", "truncation_cutoff_val",
})  # fmt: skip


def config_from_official(kwargs: Mapping[str, Any]) -> GeneratorConfig:
    """The generator's config of the official function's options (G_style and its two parts).

    Raises:
        CheckpointError: An option is unknown, or asks for an ablation.
    """
    found = translate_options(
        kwargs, fields=_GENERATOR, fixed=_FIXED, ignored=_IGNORED, what="stylegan generator"
    )
    mapping = {name.removeprefix("mapping."): found.pop(name) for name in list(found) if "." in name}
    return GeneratorConfig(**found, mapping=MappingConfig(**mapping))


def discriminator_config_from_official(kwargs: Mapping[str, Any]) -> DiscriminatorConfig:
    """The discriminator's config of the official function's options (D_basic).

    Raises:
        CheckpointError: An option is unknown.
    """
    given = {"num_channels": 1, "resolution": 32, **kwargs}
    found = translate_options(
        given, fields=_DISCRIMINATOR, fixed={}, ignored=_IGNORED, what="stylegan discriminator"
    )
    return DiscriminatorConfig(**found)


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    if isinstance(config, GeneratorConfig):
        return shapes_of(partial(Generator, config))
    return shapes_of(partial(Discriminator, config))


def _what(config: Config) -> str:
    return "stylegan generator" if isinstance(config, GeneratorConfig) else "stylegan discriminator"


def _tf_links(shapes: Mapping[str, tuple[int, ...]]) -> list[Link]:
    return tf_links(shapes, verbatim=lambda name: name.endswith(".const") or ".noise" in name)


def tf_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of all variables."""
    shapes = _shapes(config)
    return their_shapes(_tf_links(shapes), shapes)


def from_tf(config: Config, variables: Mapping[str, Array]) -> dict[str, Tensor]:
    """Our state dict of a network's TensorFlow variables.

    Args:
        config: Which network, and its sizes.
        variables: Official names and arrays in the official layout.

    Raises:
        CheckpointError: A variable is missing, left over, of another shape, or not finite.
    """
    shapes = _shapes(config)
    plain = {name.removeprefix("G_"): array for name, array in variables.items()}
    return to_ours(plain, _tf_links(shapes), shapes, _what(config))


def to_tf(config: Config, state: Mapping[str, Tensor]) -> dict[str, Array]:
    """The TensorFlow variables of our state dict: the inverse of `from_tf`."""
    shapes = _shapes(config)
    return to_theirs(state, _tf_links(shapes), shapes, _what(config))


# ------------------------------------------------------------------------------------------ ported files


def _ported_generator(config: GeneratorConfig) -> list[Link]:
    links = [
        Link("lod", "lod"),
        Link("synthesis.lod", "synthesis.lod"),
        Link("dlatent_avg", "truncation.w_avg"),
    ]
    for layer in range(config.mapping.num_layers):
        links += [
            Link(f"mapping.Dense{layer}.{part}", f"mapping.dense{layer}.{part}")
            for part in ("weight", "bias")
        ]
    if config.c_dim:
        links.append(Link("mapping.LabelConcat.weight", "mapping.label_weight", TRANSPOSED))
    for layer in range(config.num_ws):
        side = 4 << (layer // 2)
        name = ("Const", "Conv") if layer < 2 else ("Conv0_up", "Conv1")
        ours, theirs = f"synthesis.{side}x{side}.{name[layer % 2]}", f"synthesis.layer{layer}"
        own = "const" if layer == 0 else "weight"
        links += [
            Link(f"{ours}.{own}", f"{theirs}.{own}"),
            Link(f"{ours}.bias", f"{theirs}.bias"),
            Link(f"{ours}.StyleMod.weight", f"{theirs}.style.weight"),
            Link(f"{ours}.StyleMod.bias", f"{theirs}.style.bias"),
        ]
        if config.use_noise:
            links += [
                Link(f"{ours}.Noise.weight", f"{theirs}.apply_noise.weight"),
                Link(f"synthesis.noise{layer}", f"{theirs}.apply_noise.noise"),
            ]
    for block in range(config.levels + 1):
        for part in ("weight", "bias"):
            ours = f"synthesis.ToRGB_lod{config.levels - block}.{part}"
            links.append(Link(ours, f"synthesis.output{block}.{part}"))
    return links


def _ported_discriminator(config: DiscriminatorConfig) -> list[Link]:
    levels = config.levels
    pairs = [(f"FromRGB_lod{level}", f"input{level}") for level in range(levels + 1)]
    for level in range(levels):
        side = config.img_resolution >> level
        pairs += [
            (f"{side}x{side}.Conv0", f"layer{2 * level}"),
            (f"{side}x{side}.Conv1_down", f"layer{2 * level + 1}"),
        ]
    names = enumerate(("Conv", "Dense0", "Dense1"))
    pairs += [(f"4x4.{name}", f"layer{2 * levels + place}") for place, name in names]
    links = [Link("lod", "lod")]
    for ours, theirs in pairs:
        links += [Link(f"{ours}.{part}", f"{theirs}.{part}", SAME) for part in ("weight", "bias")]
    return links


def _ported_links(config: Config) -> list[Link]:
    if isinstance(config, GeneratorConfig):
        return _ported_generator(config)
    return _ported_discriminator(config)


def from_ported(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of a network's ported state dict; levels of detail may be missing there and are 0 then.

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, or not finite, or a blur differs.
    """
    given = {name: value.detach().cpu().numpy() for name, value in state.items()}
    for name in [name for name in given if name.endswith(".blur.kernel")]:
        _check_blur(config, name, given.pop(name))
    given.setdefault("lod", np.zeros((), np.float32))
    if isinstance(config, GeneratorConfig):
        given.setdefault("synthesis.lod", given["lod"])
    return to_ours(given, _ported_links(config), _shapes(config), _what(config))


def _check_blur(config: Config, name: str, kernel: Array) -> None:
    own = Blur(config.blur_filter).kernel.numpy()
    if kernel.shape[-2:] != own.shape or not np.allclose(kernel, own, rtol=1e-5, atol=1e-7):
        raise CheckpointError(
            f"{_what(config)}: {name!r} is not the blur of {config.blur_filter}; give a config with the "
            "file's blur"
        )


def to_ported(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ported state dict of ours, without blur kernels: the inverse of `from_ported`."""
    arrays = to_theirs(state, _ported_links(config), _shapes(config), _what(config))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
