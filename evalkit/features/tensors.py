"""Named tensors from weight files that hold numbers and nothing that runs: .pth, .npz, .safetensors."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import WeightsError

if TYPE_CHECKING:
    import torch

SUFFIXES = (".pth", ".pt", ".npz", ".safetensors")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a weight file, by name, on the CPU.

    Raises:
        WeightsError: The file is of another kind, is damaged, or holds more than named tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = path.suffix.lower()
    check_suffix(path)
    try:
        if kind == ".safetensors":
            return load_file(path)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects beside tensors, and evalkit never runs what a weight file says; "
            f"save its state dict alone (torch.save(model.state_dict(), …)) or as safetensors"
        ) from error
    except (
        SafetensorError,
        zipfile.BadZipFile,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        first = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"{path} cannot be read as a {kind} file of tensors ({first}); it is damaged or something else: "
            f"get it again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path} is not a plain state dict of named tensors; save model.state_dict() alone, or as "
            "safetensors"
        )
    return dict(state)


def check_suffix(path: Path) -> None:
    """Refuses a file of a kind that `read_tensors` does not read.

    Raises:
        WeightsError: The file's name ends otherwise.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(f"{path} is no weight file evalkit reads; give a {', '.join(SUFFIXES)} file")
