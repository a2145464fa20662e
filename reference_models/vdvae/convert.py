"""Official VDVAE checkpoints to this package's network and back.

Official: openai/vdvae@ea35b49, train_helpers.py (``save_model``): files ``*-model.th`` of the network as it
was trained in parallel, all of whose names begin with ``module.``, and ``*-model-ema.th`` of its average.
Both are plain state dicts, and names and shapes are the same here and there. A file does not say its sizes:
they are those of the preset whose tensors are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from reference_models.convert.ported import read_ported
from reference_models.convert.rules import check_total
from reference_models.convert.state import checked_state, shapes_of, without_prefix
from reference_models.layers.dmol import num_parameters
from reference_models.vdvae.config import PRESETS, NetworkConfig
from reference_models.vdvae.model import Network

_ENC_BLOCK = re.compile(r"encoder\.enc_blocks\.\d+\.c1\.weight")
_DEC_BLOCK = re.compile(r"decoder\.dec_blocks\.\d+\.z_proj\.weight")
_NAME = "VDVAE"


def read_official(path: str | Path) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Sizes and tensors of a file.

    Raises:
        CheckpointError: It cannot be read, its tensors are those of no preset, or some are not finite.
    """
    state = without_prefix(read_ported(path).get("G_ema", {}))
    config = config_from_state(state, str(path))
    return config, from_official(state, config)


def config_from_state(state: Mapping[str, Tensor], where: str) -> NetworkConfig:
    """The config of the preset that has exactly these tensors.

    The scaling of images is the preset's as well. ``ffhq256`` and ``ffhq256-8bit`` have the same tensors; it
    is then the published one, of 5 bits.

    Args:
        state: Tensors by name, without prefix.
        where: How messages name the file.

    Raises:
        CheckpointError: No preset has these tensors; it says what is missing or left over beside the nearest.
    """
    given = {name: tuple(value.shape) for name, value in state.items()}
    outline = (
        given.get("encoder.in_conv.weight"),
        given.get("decoder.out_net.out_conv.weight"),
        sum(bool(_ENC_BLOCK.fullmatch(name)) for name in given),
        sum(bool(_DEC_BLOCK.fullmatch(name)) for name in given),
    )

    def alike(preset: str) -> int:
        return sum(a == b for a, b in zip(outline, _outline(PRESETS[preset].network), strict=True))

    nearest = max(PRESETS, key=alike)  # of equals the first, which is the published one
    what = f"{where}: VDVAE's presets are {', '.join(PRESETS)}, of which {nearest} is the nearest"
    check_total(given, official_shapes(PRESETS[nearest].network), what)
    return PRESETS[nearest].network


def _outline(config: NetworkConfig) -> tuple[object, ...]:
    # What tells presets apart, without the seconds that laying each of them out takes.
    width, channels = config.width_at(config.img_resolution), config.img_channels
    return (
        (width, channels, 3, 3),
        (num_parameters(channels, config.num_mixtures), width, 1, 1),
        len(config.encoder_entries),
        len(config.decoder_entries),
    )


def official_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a network, without laying one out."""
    with torch.device("meta"):
        return shapes_of(Network(config))


def from_official(tensors: Mapping[str, object], config: NetworkConfig) -> dict[str, Tensor]:
    """Official tensors as a state dict that loads with ``strict=True``: float32, checked.

    Args:
        tensors: NumPy arrays or torch tensors by name, without prefix.
        config: What they should fit.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or not finite; it names them.
    """
    return checked_state(tensors, official_shapes(config), _NAME)


def to_official(state: Mapping[str, object], config: NetworkConfig) -> dict[str, Tensor]:
    """A state dict of this package as official tensors: the same ones, checked.

    Raises:
        CheckpointError: As `from_official`.
    """
    return checked_state(state, official_shapes(config), _NAME)
