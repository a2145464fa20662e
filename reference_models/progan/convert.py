"""ProGAN's official files: options, variables of the TensorFlow networks, and the files ported to PyTorch.

Official: tkarras/progressive_growing_of_gans@2504c3f (networks.py, tfutil.py). Names of variables are ours
with ``/`` for ``.``; a fused ``Conv0_up/weight`` is (k, k, out, in), every other kernel (k, k, in, out).

Ported files count layers from the image's coarse side in the generator and from its fine side in the
discriminator. They write the 4x4 dense layer as a 4x4 convolution, and upscaling kernels in the unfused form,
which is the flipped fused one. Where a file's shapes show that it kept the fused form, that is what is read.
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
    EXCHANGED_AND_FLIPPED,
    SAME,
    Array,
    Layout,
    Link,
    shapes_of,
    tf_links,
    their_shapes,
    to_ours,
    to_theirs,
    translate_options,
)
from reference_models.progan.config import DiscriminatorConfig, GeneratorConfig
from reference_models.progan.discriminator import Discriminator
from reference_models.progan.generator import Generator

Config = GeneratorConfig | DiscriminatorConfig

_SIZES = {
    "num_channels": "img_channels",
    "resolution": "img_resolution",
    "label_size": "c_dim",
    "fmap_base": "fmap_base",
    "fmap_decay": "fmap_decay",
    "fmap_max": "fmap_max",
    "use_wscale": "use_wscale",
    "fused_scale": "fused_scale",
}
_GENERATOR = {
    **_SIZES,
    "latent_size": "z_dim",
    "normalize_latents": "normalize_latents",
    "use_pixelnorm": "use_pixelnorm",
    "pixelnorm_epsilon": "pixelnorm_epsilon",
    "use_leakyrelu": "use_leakyrelu",
}
_DISCRIMINATOR = {**_SIZES, "mbstd_group_size": "mbstd_group_size"}
# How the graph is laid out and in what precision it was trained: neither changes what float32 computes.
_IGNORED = frozenset({"dtype", "structure", "is_template_graph"})
# What the official functions take where a file does not say.
_DEFAULTS = {"num_channels": 1, "resolution": 32}


def config_from_official(kwargs: Mapping[str, Any]) -> GeneratorConfig:
    """The generator's config of the official function's options (G_paper).

    Raises:
        CheckpointError: An option is unknown.
    """
    given = {**_DEFAULTS, **kwargs}
    return GeneratorConfig(
        **translate_options(given, fields=_GENERATOR, fixed={}, ignored=_IGNORED, what="progan generator")
    )


def discriminator_config_from_official(kwargs: Mapping[str, Any]) -> DiscriminatorConfig:
    """The discriminator's config of the official function's options (D_paper).

    Raises:
        CheckpointError: An option is unknown.
    """
    given = {**_DEFAULTS, **kwargs}
    return DiscriminatorConfig(
        **translate_options(
            given, fields=_DISCRIMINATOR, fixed={}, ignored=_IGNORED, what="progan discriminator"
        )
    )


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    if isinstance(config, GeneratorConfig):
        return shapes_of(partial(Generator, config))
    return shapes_of(partial(Discriminator, config))


def _what(config: Config) -> str:
    return "progan generator" if isinstance(config, GeneratorConfig) else "progan discriminator"


def tf_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Official names and shapes of all variables."""
    shapes = _shapes(config)
    return their_shapes(tf_links(shapes), shapes)


def from_tf(config: Config, variables: Mapping[str, Array]) -> dict[str, Tensor]:
    """Our state dict of a network's TensorFlow variables.

    Args:
        config: Which network, and its sizes.
        variables: Official names and arrays in the official layout.

    Raises:
        CheckpointError: A variable is missing, left over, of another shape, or not finite.
    """
    shapes = _shapes(config)
    return to_ours(variables, tf_links(shapes), shapes, _what(config))


def to_tf(config: Config, state: Mapping[str, Tensor]) -> dict[str, Array]:
    """The TensorFlow variables of our state dict: the inverse of `from_tf`."""
    shapes = _shapes(config)
    return to_theirs(state, tf_links(shapes), shapes, _what(config))


# ------------------------------------------------------------------------------------------ ported files


def _dense_as_conv(maps: int) -> Layout:
    # (16 c, in), channel-major, and a kernel (c, in, 4, 4) that meets a padded 1x1 input.
    def ours(a: Array) -> Array:
        out: Array = a[:, :, ::-1, ::-1].transpose(0, 2, 3, 1).reshape(16 * maps, -1)
        return out

    def theirs(a: Array) -> Array:
        out: Array = a.reshape(maps, 4, 4, -1).transpose(0, 3, 1, 2)[:, :, ::-1, ::-1]
        return out

    return Layout(ours, theirs)


def _ported_links(config: Config, *, fused_file: bool) -> list[Link]:
    # One entry a layer: our module, theirs; each has a weight and a bias.
    pairs: list[tuple[str, str, Layout]]
    levels = config.levels
    sides = {level: f"{config.img_resolution >> level}" for level in range(levels + 1)}
    if isinstance(config, GeneratorConfig):
        up = "Conv0_up" if config.fused_scale else "Conv0"
        across = {  # (our form is fused, their form is fused)
            (False, False): SAME,
            (True, True): SAME,
            (True, False): EXCHANGED_AND_FLIPPED,
            (False, True): EXCHANGED_AND_FLIPPED,
        }[config.fused_scale, fused_file]
        pairs = [("4x4.Dense", "layer0", _dense_as_conv(config.maps(1))), ("4x4.Conv", "layer1", SAME)]
        for block in range(1, levels + 1):
            side = sides[levels - block]
            pairs += [
                (f"{side}x{side}.{up}", f"layer{2 * block}", across),
                (f"{side}x{side}.Conv1", f"layer{2 * block + 1}", SAME),
            ]
        pairs += [(f"ToRGB_lod{levels - block}", f"output{block}", SAME) for block in range(levels + 1)]
    else:
        down = "Conv1_down" if config.fused_scale else "Conv1"
        pairs = [(f"FromRGB_lod{level}", f"input{level}", SAME) for level in range(levels + 1)]
        for level in range(levels):
            side = sides[level]
            pairs += [
                (f"{side}x{side}.Conv0", f"layer{2 * level}", SAME),
                (f"{side}x{side}.{down}", f"layer{2 * level + 1}", SAME),
            ]
        for place, name in enumerate(("Conv", "Dense0", "Dense1")):
            pairs.append((f"4x4.{name}", f"layer{2 * levels + place}", SAME))
    links = [Link("lod", "lod")]
    for ours, theirs, layout in pairs:
        links += [
            Link(f"{ours}.weight", f"{theirs}.weight", layout),
            Link(f"{ours}.bias", f"{theirs}.bias"),
        ]
    return links


def keeps_fused_form(state: Mapping[str, Tensor]) -> bool:
    """Whether a ported generator's shapes show upscaling kernels as (in, out, k, k), the fused form.

    Kernels with as many inputs as outputs tell nothing; where no other is there, the answer is no.

    Raises:
        CheckpointError: Some kernels have one form and some the other.
    """
    found = set()
    block = 1
    while (weight := state.get(f"layer{2 * block}.weight")) is not None:
        below, above = state.get(f"layer{2 * block - 1}.weight"), state.get(f"layer{2 * block + 1}.weight")
        if below is not None and above is not None and weight.ndim == 4 and below.shape[0] != above.shape[0]:
            found.add(tuple(weight.shape[:2]) == (below.shape[0], above.shape[0]))
        block += 1
    if len(found) > 1:
        raise CheckpointError(
            "progan generator: some upscaling kernels are (in, out, k, k) and some (out, in, k, k); the "
            "file was not "
            "written by one program: convert the official pickle instead"
        )
    return True in found


def from_ported(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of a network's ported state dict; ``lod`` may be missing there and is 0 then.

    Raises:
        CheckpointError: A tensor is missing, left over, of another shape, or not finite.
    """
    given = {name: value.detach().cpu().numpy() for name, value in state.items()}
    given.setdefault("lod", np.zeros((), np.float32))
    fused_file = isinstance(config, GeneratorConfig) and keeps_fused_form(state)
    return to_ours(given, _ported_links(config, fused_file=fused_file), _shapes(config), _what(config))


def to_ported(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ported state dict of ours, upscaling kernels in the unfused form: the inverse of `from_ported`."""
    arrays = to_theirs(state, _ported_links(config, fused_file=False), _shapes(config), _what(config))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
