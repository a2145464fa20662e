"""Official checkpoints of SRFlow to this package's network and back, and networks its encoder starts from.

Official: andreas128/SRFlow@5a007ad: a plain state dict with the names that the network has here, all of which
may begin with ``module.``. A file does not say its sizes, and shapes cannot say which blocks are stacked:
they are those of the preset whose tensors are the same.

The encoder starts from an RRDB network that was trained to enlarge. Three namings are read: SRFlow's own
(``RRDB_trunk.0.RDB1.conv1``), ESRGAN's first one (xinntao/ESRGAN, ``model.1.sub.0.RDB1.conv1.0``) and
XPixelGroup/BasicSR's (``body.0.rdb1.conv1``). ESRGAN's networks put the skip around ``trunk_conv`` at the
trunk's beginning and SRFlow's at its end, so that theirs are a start, and no encoder that is trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from evalkit.errors import CheckpointError
from reference_models.convert.ported import read_ported
from reference_models.convert.rules import check_total
from reference_models.convert.state import checked_state, shapes_of, without_prefix
from reference_models.srflow.config import PRESETS, NetworkConfig
from reference_models.srflow.model import Network
from reference_models.srflow.rrdb import RRDBNet

_NAME = "SRFlow"
_TRUNK = re.compile(r"RRDB_trunk\.(\d+)\.RDB([123])\.(conv\d)\.(\w+)")
_UPCONV = re.compile(r"upconv(\d+)\.(\w+)")
_BASICSR = {"trunk_conv": "conv_body", "HRconv": "conv_hr"}


def read_official(path: str | Path) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Sizes and tensors of a file.

    Raises:
        CheckpointError: It cannot be read, its tensors are those of no preset, or some are not finite.
    """
    state = _network_of(path)
    config = config_from_state(state, str(path))
    return config, from_official(state, config)


def _network_of(path: str | Path) -> dict[str, Tensor]:
    # The network of a file; its average where there is one.
    states = read_ported(path)
    return without_prefix(states.get("G_ema") or states.get("G") or {})


def config_from_state(state: Mapping[str, Tensor], where: str) -> NetworkConfig:
    """The config of the preset that has exactly these tensors.

    Args:
        state: Tensors by name, without prefix.
        where: How messages name the file.

    Raises:
        CheckpointError: No preset has these tensors; it says what is missing or left over beside the nearest.
    """
    given = {name: tuple(value.shape) for name, value in state.items()}
    outline = (
        given.get("RRDB.conv_first.weight"),
        sum(bool(re.fullmatch(r"RRDB\.RRDB_trunk\.\d+\.RDB1\.conv1\.weight", name)) for name in given),
        sum(name.startswith("RRDB.upconv") and name.endswith(".weight") for name in given),
        sum(name.endswith(".invconv.weight") for name in given),
    )

    def alike(preset: str) -> int:
        return sum(a == b for a, b in zip(outline, _outline(PRESETS[preset].network), strict=True))

    nearest = max(PRESETS, key=alike)  # of equals the first, which is a published one
    what = f"{where}: {_NAME}'s presets are {', '.join(PRESETS)}, of which {nearest} is the nearest"
    check_total(given, official_shapes(PRESETS[nearest].network), what)
    return PRESETS[nearest].network


def _outline(config: NetworkConfig) -> tuple[object, ...]:
    # What tells presets apart, without the seconds that laying each of them out takes.
    steps = config.L * (config.n_noaff + config.K)
    if not config.conditional:
        return (None, 0, 0, steps)
    first = (config.nf, config.img_channels, 3, 3)
    return (first, config.nb, config.scale.bit_length() - 1, steps)


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


def read_encoder(path: str | Path, config: NetworkConfig) -> dict[str, Tensor]:
    """Tensors of an RRDB network, as a state dict of ``Network.RRDB``; of an average where a file has one.

    Args:
        path: The file, in one of the namings above.
        config: Sizes of the encoder, all of which the file must have.

    Raises:
        CheckpointError: It cannot be read, is no such network, or its tensors are missing, left over, of
            another shape or not finite; names are those of the file.
    """
    given = _network_of(path)
    their_name = _naming(given, str(path))
    with torch.device("meta"):
        wanted = shapes_of(RRDBNet(config))
    theirs = {name: their_name(name, config) for name in wanted}
    what = (
        f"{path}: the encoder of {_NAME} with {config.nb} blocks of {config.nf} features and a scale of "
        f"{config.scale}"
    )
    state = checked_state(given, {theirs[name]: shape for name, shape in wanted.items()}, what)
    return {name: state[theirs[name]] for name in wanted}


def _naming(given: Mapping[str, Tensor], where: str) -> Callable[[str, NetworkConfig], str]:
    if "model.1.sub.0.RDB1.conv1.0.weight" in given:
        return _first_esrgan
    if "body.0.rdb1.conv1.weight" in given:
        return _basicsr
    if "RRDB_trunk.0.RDB1.conv1.weight" in given:
        return lambda name, config: name
    raise CheckpointError(
        f"{where} holds no RRDB network (its first tensors are {', '.join(list(given)[:3]) or 'none'}); give "
        "one of SRFlow's RRDB_*.pth, or of ESRGAN's networks by its first names or BasicSR's"
    )


def _first_esrgan(name: str, config: NetworkConfig) -> str:
    if match := _TRUNK.fullmatch(name):
        block, dense, conv, kind = match.groups()
        return f"model.1.sub.{block}.RDB{dense}.{conv}.0.{kind}"
    # Behind the trunk: an upsampling, a convolution and an activation each time, then the last two.
    if match := _UPCONV.fullmatch(name):
        return f"model.{3 * int(match[1])}.{match[2]}"
    layer, kind = name.split(".")
    behind = 3 * (config.scale.bit_length() - 1) + 2
    index = {
        "conv_first": "0",
        "trunk_conv": f"1.sub.{config.nb}",
        "HRconv": str(behind),
        "conv_last": str(behind + 2),
    }
    return f"model.{index[layer]}.{kind}"


def _basicsr(name: str, config: NetworkConfig) -> str:
    del config
    if match := _TRUNK.fullmatch(name):
        block, dense, conv, kind = match.groups()
        return f"body.{block}.rdb{dense}.{conv}.{kind}"
    layer, kind = name.split(".")
    return f"{_BASICSR.get(layer, layer.replace('upconv', 'conv_up'))}.{kind}"
