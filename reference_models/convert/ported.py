"""Reads the PyTorch files that ProGAN and StyleGAN were widely ported to, and tells which network one holds.

Such a file is a dict of state dicts (``generator``, ``discriminator``, ``generator_smooth``) or one state
dict. Names are ``layer{i}`` and ``output{i}`` or ``input{i}``, StyleGAN's below ``mapping.``, ``truncation.``
and ``synthesis.``. A file holds no config: `progan_config` and `stylegan_config` read sizes off the shapes.
What shapes do not show (ProGAN's fused scaling, the split of its input into latent and labels) is the
caller's, with the published settings as defaults.

Files are read by torch's own restricted reader (``weights_only``), which rebuilds tensors and plain
containers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalkit.errors import CheckpointError
from reference_models.layers.growing import feature_maps
from reference_models.progan.config import GeneratorConfig as ProganConfig
from reference_models.stylegan.config import GeneratorConfig as StyleganConfig
from reference_models.stylegan.config import MappingConfig

_KEYS = {
    "generator": "G",
    "discriminator": "D",
    "generator_smooth": "G_ema",
    # XPixelGroup/BasicSR's files.
    "params": "G",
    "params_ema": "G_ema",
    # One state dict in a wrapper, as many trainers write it.
    "state_dict": "G_ema",
}


def read_ported(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """State dicts of a file, by ``G``, ``D`` and ``G_ema``; a file of one state dict gives ``G_ema`` alone.

    Raises:
        CheckpointError: The file cannot be read, or holds something else.
    """
    try:
        file = Path(path).open("rb")
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}; give a file of state dicts"
        ) from None
    try:
        with file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers of two formats meet
        # Only its first sentence: the second tells how to load the file in spite of it.
        first = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise CheckpointError(
            f"{path} is not a file of state dicts that can be read safely ({first}); give one that "
            "torch.save wrote of tensors alone"
        ) from None
    if isinstance(loaded, dict) and any(key in loaded for key in _KEYS):
        return {ours: _state(loaded[key], f"{path}, {key}") for key, ours in _KEYS.items() if key in loaded}
    return {"G_ema": _state(loaded, str(path))}


def _state(given: object, where: str) -> dict[str, Tensor]:
    if not isinstance(given, dict) or not given:
        raise CheckpointError(f"{where}: it holds a {type(given).__name__}, not a dict of tensors")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{where}: {name!r} is a {type(value).__name__}, not a tensor; give a state dict of tensors "
                "alone"
            )
    return dict(given)


def identify(state: Mapping[str, Tensor], where: str = "the file") -> str:
    """Which generator a ported state dict is: ``progan`` or ``stylegan``.

    Args:
        state: Tensors by name.
        where: How messages name the file.

    Raises:
        CheckpointError: It is neither.
    """
    if "synthesis.layer0.const" in state and "mapping.dense0.weight" in state:
        return "stylegan"
    if "layer0.weight" in state and "output0.weight" in state and state["layer0.weight"].ndim == 4:
        return "progan"
    raise CheckpointError(
        f"{where}: the state dict is no ported generator of ProGAN or StyleGAN (its first tensors are "
        f"{', '.join(list(state)[:3])}), and numbers do not say what to compute; write a factory that builds "
        "the network and loads them, and give file.py:factory in place of the file"
    )


def progan_config(state: Mapping[str, Tensor], *, c_dim: int = 0) -> ProganConfig:
    """Sizes of a ported ProGAN generator; upscaling is taken as unfused, which is how ported files write it.

    Args:
        state: Its state dict.
        c_dim: How many of its inputs are labels; shapes cannot tell.

    Raises:
        CheckpointError: The shapes are none of such a generator.
    """
    blocks = _count(state, "output{}.weight")
    widths = [_size(state, f"output{block}.weight", 1) for block in range(blocks)]
    what = "progan generator"
    return ProganConfig(
        img_resolution=_resolution(blocks, what),
        img_channels=_size(state, "output0.weight", 0),
        c_dim=c_dim,
        z_dim=_size(state, "layer0.weight", 1) - c_dim,
        fused_scale=False,
        **_maps(widths, what),
    )


def stylegan_config(state: Mapping[str, Tensor]) -> StyleganConfig:
    """Sizes of a ported StyleGAN generator.

    Raises:
        CheckpointError: The shapes are none of such a generator.
    """
    blocks = _count(state, "synthesis.output{}.weight")
    widths = [_size(state, f"synthesis.output{block}.weight", 1) for block in range(blocks)]
    what = "stylegan generator"
    layers = _count(state, "mapping.dense{}.weight")
    labels = state.get("mapping.label_weight")
    c_dim = 0 if labels is None else int(labels.shape[0])
    return StyleganConfig(
        img_resolution=_resolution(blocks, what),
        img_channels=_size(state, "synthesis.output0.weight", 0),
        c_dim=c_dim,
        z_dim=_size(state, "mapping.dense0.weight", 1) // (2 if c_dim else 1),
        w_dim=_size(state, "synthesis.layer0.style.weight", 1),
        use_noise="synthesis.layer0.apply_noise.weight" in state,
        mapping=MappingConfig(num_layers=layers, layer_features=_size(state, "mapping.dense0.weight", 0)),
        **_maps(widths, what),
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    num = 0
    while pattern.format(num) in state:
        num += 1
    return num


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    value = state.get(name)
    if value is None or value.ndim <= axis:
        raise CheckpointError(
            f"the state dict has no tensor {name!r} of more than {axis} axes; its sizes cannot be told"
        )
    return int(value.shape[axis])


def _resolution(blocks: int, what: str) -> int:
    if not 1 <= blocks <= 12:
        raise CheckpointError(f"{what}: {blocks} output layers; between 1 (4x4) and 12 can be read")
    return 4 << (blocks - 1)


def _maps(widths: list[int], what: str) -> dict[str, Any]:
    # Widths of stages 1, 2, ...: the largest is fmap_max, and fmap_base is the least that gives them all.
    top = max(widths)
    base = max(width << stage for stage, width in enumerate(widths, start=1))
    found = {"fmap_base": base, "fmap_decay": 1.0, "fmap_max": top}
    rebuilt = [
        feature_maps(stage, fmap_base=base, fmap_decay=1.0, fmap_max=top)
        for stage in range(1, len(widths) + 1)
    ]
    if rebuilt != widths:
        raise CheckpointError(
            f"{what}: channels {', '.join(map(str, widths))} from 4x4 up do not halve from a maximum; give "
            "the config"
        )
    return found
