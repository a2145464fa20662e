"""Tensors of a file to a state dict: all of them, none left, float32, finite.

Half precision is widened. A value that is no number stops the load under the tensor's name: it would
otherwise turn into black images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from evalkit.errors import CheckpointError
from reference_models.convert.rules import check_total


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's state dict."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def without_prefix(tensors: Mapping[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """Tensors by the names that the network has, where all of them carry the prefix of parallel training.

    Where only some have it, it stays: such a file fits nothing, and is refused by these names.
    """
    if all(name.startswith(prefix) for name in tensors):
        return {name.removeprefix(prefix): value for name, value in tensors.items()}
    return dict(tensors)


def checked_state(
    tensors: Mapping[str, object], wanted: Mapping[str, tuple[int, ...]], model: str
) -> dict[str, Tensor]:
    """A state dict of exactly the wanted names and shapes.

    Args:
        tensors: NumPy arrays or torch tensors of numbers, by name.
        wanted: Shapes by name.
        model: How messages name the network.

    Returns:
        float32 tensors on the CPU, which share memory with the given ones where they can.

    Raises:
        CheckpointError: Tensors are missing, left over, of another shape, no numbers, or not finite.
    """
    check_total({name: _shape(name, value, model) for name, value in tensors.items()}, wanted, model)
    state = {}
    for name in wanted:
        value = tensors[name]
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise CheckpointError(
                    f"{model}: {name!r} holds {value.dtype}, not numbers; the file is damaged"
                )
            value = torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)).reshape(value.shape))
        assert isinstance(value, Tensor)
        state[name] = value.detach().to("cpu", torch.float32)
        if not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(
                f"{model}: {name!r} holds NaN or infinite values; the training run that wrote the file had "
                "failed or the file is damaged: take an earlier checkpoint"
            )
    return state


def _shape(name: str, value: object, model: str) -> tuple[int, ...]:
    if not isinstance(value, np.ndarray | Tensor):
        raise CheckpointError(
            f"{model}: {name!r} is a {type(value).__name__}, not a tensor; the file is damaged"
        )
    return tuple(value.shape)
