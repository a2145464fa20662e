"""Official NVAE checkpoints to this package's network and back.

Official: NVlabs/NVAE@9fc1a28, train.py: files of torch.save with ``state_dict`` and ``args``, an
``argparse.Namespace`` of all options, of which those of the network are read and those of training are not.
Names and shapes are the same here and there, but for two: a weight of an inverted residual comes twice, as
``weight`` and ``weight_normalized``, of which either is left out here; and batch norms count their passes
(``num_batches_tracked``), which decides nothing, and is 0 on the way back. Some early files hold a
``weight_normalized`` of other convolutions too, computed from what else they hold: it is dropped. A file
without ``args`` is taken for the preset whose tensors it has.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evalkit.errors import CheckpointError, nearest
from reference_models.convert.arguments import Arguments
from reference_models.convert.rules import check_total
from reference_models.convert.state import checked_state, shapes_of
from reference_models.nvae.config import PRESETS, NetworkConfig
from reference_models.nvae.model import Network
from reference_models.nvae.objective import convolutions
from reference_models.nvae.operations import BatchNorm, PlainConv

_NAME = "NVAE"
_TWIN, _COUNT, _STATISTICS = ".weight_normalized", ".num_batches_tracked", ("running_mean", "running_var")
_BINARY = ("mnist", "omniglot")
_SIDES: Mapping[str, int] = {"mnist": 32, "omniglot": 32, "cifar10": 32, "ffhq": 256}
_SIDED = re.compile(r"\w+_(?P<side>\d+)")
# Options of whole numbers with what files from before there was the option mean.
_SIZES: Mapping[str, int] = {
    "num_x_bits": 8,
    "num_latent_scales": 1,
    "num_groups_per_scale": 10,
    "num_latent_per_group": 20,
    "min_groups_per_scale": 1,
    "num_channels_enc": 32,
    "num_preprocess_blocks": 2,
    "num_preprocess_cells": 3,
    "num_cell_per_cond_enc": 1,
    "num_channels_dec": 32,
    "num_postprocess_blocks": 2,
    "num_postprocess_cells": 3,
    "num_cell_per_cond_dec": 1,
    "num_mixture_dec": 10,
    "num_nf": 0,
}


def read_official(path: str | Path) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Sizes and tensors of a file.

    Raises:
        CheckpointError: It cannot be read safely, does not say its sizes, or its tensors do not fit.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), Path(path).open("rb") as file:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}; give a checkpoint of NVAE"
        ) from None
    except Exception as error:  # torch raises whatever its readers of two formats meet
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is no checkpoint of NVAE that can be read safely ({first}); accepted are tensors, plain "
            "containers and an argparse.Namespace of options: get the file from where it was published"
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} holds a {type(loaded).__name__}; a checkpoint of NVAE is a dictionary with state_dict "
            "and args"
        )
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path}: its state_dict is no dictionary of tensors by name; it is damaged")
    args = loaded.get("args")
    if args is None:
        config = config_from_state(state, str(path))
    elif isinstance(args, argparse.Namespace):
        config = config_from_official(vars(args))
    else:
        raise CheckpointError(
            f"{path}: its args are a {type(args).__name__}, where NVAE has an argparse.Namespace of options; "
            "it was written by another program"
        )
    return config, from_official(state, config)


def config_from_official(args: Mapping[str, object], *, img_resolution: int | None = None) -> NetworkConfig:
    """The network that options of the official program describe.

    Args:
        args: All of them; those that are not the network's have no influence, and those that a file is too
            old to have get the value of its time.
        img_resolution: Side of the images; None reads it off the name of the data set, as the program does.

    Raises:
        CheckpointError: An option is of another type, or the data set is unknown.
        UsageError: Sizes that no network can have.
    """
    given = Arguments(args, _NAME)
    dataset = given.word("dataset", "")
    default = NetworkConfig()
    return NetworkConfig(
        img_resolution=side_of(dataset) if img_resolution is None else img_resolution,
        img_channels=1 if dataset in _BINARY else 3,
        binary=dataset in _BINARY,
        arch_instance=given.word("arch_instance", default.arch_instance),
        ada_groups=given.flag("ada_groups", False),
        use_se=given.flag("use_se", False),
        res_dist=given.flag("res_dist", False),
        **{name: given.whole(name, value) for name, value in _SIZES.items()},
    )


def side_of(dataset: str) -> int:
    """Side of the images of a data set by its official name.

    Raises:
        CheckpointError: There is no such data set.
    """
    sided = _SIDED.fullmatch(dataset)
    if dataset not in _SIDES and sided is None:
        known = [*_SIDES, "celeba_64", "celeba_256", "imagenet_32", "lsun_bedroom_256"]
        raise CheckpointError(
            f"{_NAME}: its data set is {dataset!r} (nearest: {nearest(dataset, known)}), and the side of its "
            f"images follows from the name: {', '.join(_SIDES)} or NAME_SIDE, such as celeba_64"
        )
    return _SIDES[dataset] if sided is None else int(sided["side"])


def config_from_state(state: Mapping[str, Any], where: str) -> NetworkConfig:
    """The config of the preset that has these tensors.

    Args:
        state: Tensors by name.
        where: How messages name the file.

    Raises:
        CheckpointError: No preset has them.
    """
    given = {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
    for preset in PRESETS.values():
        config = preset.network
        top = (config.num_channels_dec << (config.num_preprocess_blocks + config.num_latent_scales - 1),)
        if given.get("prior_ftr0") == top + (config.smallest_side,) * 2:
            wanted = _state_shapes(config)
            if all(given.get(name) == shape for name, shape in wanted.items()):
                return config
    raise CheckpointError(
        f"{where} holds tensors of NVAE and no args, which say its sizes, and no preset "
        f"({', '.join(PRESETS)}) has these tensors; give the checkpoint that the training program wrote"
    )


def _outline(config: NetworkConfig) -> Network:
    with torch.device("meta"):
        return Network(config)


def _state_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    return shapes_of(_outline(config))


def _twins(network: Network, *, plain: bool) -> list[str]:
    # Names of convolutions whose weight an official file may hold a second time.
    return [name for name, module in convolutions(network) if isinstance(module, PlainConv) == plain]


def _counts(network: Network) -> list[str]:
    return [name + _COUNT for name, module in network.named_modules() if isinstance(module, BatchNorm)]


def official_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of an official file, without laying one out."""
    network = _outline(config)
    shapes = shapes_of(network)
    shapes.update({name + _TWIN: shapes[f"{name}.weight"] for name in _twins(network, plain=True)})
    shapes.update(dict.fromkeys(_counts(network), ()))
    return shapes


def from_official(tensors: Mapping[str, object], config: NetworkConfig) -> dict[str, Tensor]:
    """Official tensors as a state dict that loads with ``strict=True``: float32, checked.

    Args:
        tensors: NumPy arrays or torch tensors by name; second names and counts may be there or not.
        config: What they should fit.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, or not finite; statistics of batch
            norms are missing; or a weight and its second name differ. It names them.
    """
    network, left = _outline(config), dict(tensors)
    wanted = shapes_of(network)
    for name in _counts(network):
        left.pop(name, None)
    for name in _twins(network, plain=False):
        _check_twin(left, name, wanted)
    for name in _twins(network, plain=True):
        twin = _check_twin(left, name, wanted)
        # Either name holds the weight.
        if twin is not None and not _equal(left.setdefault(f"{name}.weight", twin), twin):
            raise CheckpointError(
                f"{_NAME}: {name}.weight and {name}{_TWIN} are two names of one tensor and differ; the file "
                "was changed after training: get it again"
            )
    statistics = [name for name in wanted if name.endswith(_STATISTICS) and name not in left]
    if statistics:
        raise CheckpointError(
            f"{_NAME}: the file lacks running statistics of batch norms, without which no image can be "
            f"computed: {', '.join(statistics)}; give the whole state dict, buffers included"
        )
    return checked_state(left, wanted, _NAME)


def _check_twin(left: dict[str, object], name: str, wanted: Mapping[str, tuple[int, ...]]) -> object | None:
    twin = left.pop(name + _TWIN, None)
    if twin is not None:
        shape = tuple(twin.shape) if isinstance(twin, np.ndarray | Tensor) else ()
        check_total({name + _TWIN: shape}, {name + _TWIN: wanted[f"{name}.weight"]}, _NAME)
    return twin


def _equal(first: object, second: object) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def to_official(state: Mapping[str, object], config: NetworkConfig) -> dict[str, Tensor]:
    """A state dict of this package as official tensors, checked; weights have both names, counts are 0.

    Raises:
        CheckpointError: As `from_official`.
    """
    network = _outline(config)
    found = checked_state(state, shapes_of(network), _NAME)
    found.update({name + _TWIN: found[f"{name}.weight"] for name in _twins(network, plain=True)})
    found.update({name: torch.zeros((), dtype=torch.int64) for name in _counts(network)})
    return found
